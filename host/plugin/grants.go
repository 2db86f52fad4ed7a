// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"net"
	"net/http"
)

// Grants are the handles that an instance may use, each under the name that the manifest gives it. What is not here is not
// there. They belong to the component, not to the instance: one that replaces another gets the same listeners and servers, so that no
// connection is refused meanwhile. No address of them ever reaches a guest that could choose it.
type Grants struct {
	Dial    map[string]Dialer
	Listen  map[string]Listener
	HTTP    map[string]HTTPClient
	Serve   Server // nil: none
	Env     map[string]string
	Secrets map[string]string
}

// Dialer connects to one granted address. What it looks up in the DNS it checks at each call.
type Dialer func(ctx context.Context) (net.Conn, error)

// Listener is one granted address to listen on; one of the two is set. All instances of the component have the same.
type Listener struct {
	Conns  <-chan net.Conn // accepted, and then the receiver's; never closed while an instance may receive
	Packet net.PacketConn
	Addr   net.Addr
}

// HTTPClient sends requests to one granted URL.
type HTTPClient struct {
	Base   string // requests go to paths below it
	Client *http.Client
}

// Server hands out the requests that come in at one granted address. All instances of the component have the same.
type Server interface {
	// Next waits for a request. Those that nobody takes for a while are refused with status 503 by the server itself.
	Next(ctx context.Context) (*Exchange, error)
}

// Exchange is one request, read whole, and its answer.
type Exchange struct {
	Request *http.Request // its body has been read
	Body    []byte
	// Answer sends the answer; the second time it does nothing. It does not wait for the client. An exchange that is never answered
	// keeps its client waiting until the server's own deadline.
	Answer func(status int, header http.Header, body []byte)
}
