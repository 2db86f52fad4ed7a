// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/address"
)

// Grants are the handles that an instance may use, each under the name that the manifest gives it. What is not here is not
// there. They belong to the component, not to the instance: one that replaces another gets the same listeners and servers, so that no
// connection is refused meanwhile. No address of them ever reaches a guest that could choose it.
type Grants struct {
	Dial    map[string]Dialer
	Listen  map[string]Listener
	HTTP    map[string]HTTPClient
	Serve   <-chan *Exchange // requests that come in at a granted address; all instances of the component have the same; nil: none
	Env     map[string]string
	Secrets map[string]string
}

// ErrForbidden is wrapped where what was granted turned out to lie where grants do not reach, e.g. a name that resolves to loopback.
var ErrForbidden = errors.New("not granted")

// Dialer connects to one granted address. What it looks up in the DNS it checks at each call: [ErrForbidden].
type Dialer func(ctx context.Context) (net.Conn, error)

// Listener is one granted address to listen on; one of the two is set. All instances of the component have the same.
type Listener struct {
	Conns  <-chan net.Conn // accepted, and then the receiver's; never closed while an instance may receive
	Packet net.PacketConn
	Addr   net.Addr
	// Pass takes over a connection that came from Conns, for whoever receives next; a [Passed], if some of it was read already. It does not wait.
	// nil: there is none.
	Pass func(net.Conn)
}

// Passed is a connection on its way from one instance to the next.
type Passed struct {
	net.Conn
	Rest   []byte   // what was read of it and not handed over: it comes before what is read of Conn
	Unsent [][]byte // what was written to it, may leave, and has not: it goes before what is written to Conn
}

// lastWords is how long the other end of a connection that nobody takes may take for what was not sent.
const lastWords = 200 * time.Millisecond

// Close sends what has waited, if that does not take long, and ends the connection: no instance came for it.
func (p *Passed) Close() error {
	_ = p.SetWriteDeadline(time.Now().Add(lastWords))
	for _, data := range p.Unsent {
		if _, err := p.Write(data); err != nil {
			break // its end says so
		}
	}
	return p.Conn.Close()
}

// Size is how many bytes it keeps.
func (p *Passed) Size() (n int) {
	for _, data := range p.Unsent {
		n += len(data)
	}
	return n + len(p.Rest)
}

// HTTPClient sends requests to one granted URL, and to what lies below it.
type HTTPClient struct {
	Base        *url.URL
	Client      *http.Client // knows no redirects, and reaches what was granted alone
	MaxResponse int64        // bytes of a response's body
}

// URL is where a guest's path leads: "", or "/" and what follows, and perhaps "?" and a query. An error says why it is not below Base.
func (c HTTPClient) URL(path string) (*url.URL, error) {
	p, query, _ := strings.Cut(path, "?")
	switch {
	case p != "" && p[0] != '/', strings.HasPrefix(p, "//"):
		return nil, fmt.Errorf("path %q: it begins with one slash", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '#' || r == 0x7f }):
		return nil, fmt.Errorf("path %q: blanks and # are written as %%20 and %%23", path)
	case address.GoesUp(p):
		return nil, fmt.Errorf("path %q: it may not go up, and what follows a %% is two hex digits", path)
	}
	u := *c.Base
	if p != "" {
		u.RawPath = strings.TrimSuffix(c.Base.EscapedPath(), "/") + p
		u.Path, _ = url.PathUnescape(u.RawPath) // both parts have been read before
	}
	u.RawQuery = query
	return &u, nil
}

// Exchange is one request, read whole, and its answer. Whoever receives it answers it; until then the client waits, up to the server's
// own deadline.
type Exchange struct {
	Request *http.Request // its body has been read
	Body    []byte
	// Answer sends the answer; the second time it does nothing. It does not wait for the client, which may have gone. It keeps what it is
	// handed.
	Answer func(status int, header http.Header, body []byte)
}

// RetryAfter is how long clients are bidden to wait that are refused because there is no room, or because the plugin went away.
const RetryAfter = time.Second

// Refuse answers 503, and bids the client come again.
func (e *Exchange) Refuse(why string) {
	e.Answer(http.StatusServiceUnavailable, http.Header{
		"Retry-After":  {strconv.Itoa(int(RetryAfter.Seconds()))},
		"Content-Type": {"text/plain; charset=utf-8"},
	}, []byte(why+"\n"))
}
