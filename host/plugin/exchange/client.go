// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// MaxSent is how many requests an instance may have open at once: as many connections as a client has.
	MaxSent = 64
	// fetchChunk is how much of a response is read at a time, and maxChunks how many of those may wait for the plugin.
	fetchChunk = 32 << 10
	maxChunks  = 2
	// maxFetch bounds a request with its response for which the plugin named no bound.
	maxFetch = time.Hour
)

// Client is what an instance has of the requests that it sends.
type Client struct {
	caller Caller
	grants map[string]plugin.HTTPClient
	log    *report.Log
	open   map[int32]*fetch
	last   int32 // id
	work   sync.WaitGroup
}

// NewClient makes one without requests.
func NewClient(caller Caller, grants map[string]plugin.HTTPClient, log *report.Log) *Client {
	return &Client{caller: caller, grants: grants, log: log, open: map[int32]*fetch{}}
}

// fetch is one request and its response. A goroutine fills it in.
type fetch struct {
	cancel context.CancelFunc
	headed chan struct{}  // closed when what follows is set
	resp   *http.Response // nil: err says why
	err    error          // also why the body has ended early: to be read when chunks is closed
	chunks chan []byte    // of the body; closed at its end
	came   chan struct{}  // a token: look at chunks; never closed
	rest   []byte         // of a chunk that the plugin has had in part
	head   []byte         // encoded; nil: not yet
}

// Send begins a request, a batch of one event, to what was granted as name: it answers an id, or a code. timeout bounds the whole of it; less
// than 0 is an hour. It keeps nothing of the request.
func (c *Client) Send(name string, request []byte, timeout time.Duration) (int32, abi.Code) {
	client, ok := c.grants[name]
	switch {
	case !ok:
		c.caller.Denied("http", name)
		return 0, abi.EACCES
	case len(c.open) >= MaxSent:
		return 0, abi.EAGAIN
	}
	e, err := oneEvent(request)
	var req *http.Request
	if err == nil {
		req, err = newRequest(client, e)
	}
	if err != nil {
		refused(c.log, "request", err)
		c.caller.Lost(err)
		return 0, abi.EINVAL
	}
	if timeout < 0 {
		timeout = maxFetch
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	f := &fetch{cancel: cancel, headed: make(chan struct{}), chunks: make(chan []byte, maxChunks), came: make(chan struct{}, 1)}
	for held := true; held; _, held = c.open[c.last] {
		c.last = c.last%math.MaxInt32 + 1
	}
	c.open[c.last] = f
	c.work.Go(func() { f.run(ctx, client, req.WithContext(ctx)) })
	return c.last, abi.OK
}

// newRequest makes a request of what the plugin says: a method, GET if it says none, a path below the base, headers and a body.
func newRequest(client plugin.HTTPClient, e event.Event) (*http.Request, error) {
	method, _ := e.Attribute(abi.HTTPMethod)
	path, _ := e.Attribute(abi.HTTPPath)
	u, err := client.URL(string(path))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(string(method), u.String(), bytes.NewReader(e.Body))
	if err != nil {
		return nil, err
	}
	req.URL = u // as it is written: no reading of it again
	if req.Header, err = headersOf(e.Attributes); err != nil {
		return nil, err
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "penstock")
	}
	return req, nil
}

// run sends the request and reads the response, as fast as the plugin takes it.
func (f *fetch) run(ctx context.Context, client plugin.HTTPClient, req *http.Request) {
	defer f.signal()
	defer close(f.chunks)
	defer f.cancel()
	f.resp, f.err = client.Client.Do(req)
	close(f.headed)
	if f.err != nil {
		return
	}
	defer f.resp.Body.Close()
	body, left := f.resp.Body, client.MaxResponse
	for {
		buf := make([]byte, fetchChunk)
		n, err := body.Read(buf)
		if left -= int64(n); left < 0 {
			f.err = fmt.Errorf("%w: more than %d bytes", errLongResponse, client.MaxResponse)
			return
		}
		if n > 0 {
			select {
			case f.chunks <- buf[:n]:
				f.signal()
			case <-ctx.Done():
				f.err = ctx.Err()
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			f.err = err
			return
		}
	}
}

func (f *fetch) signal() {
	select {
	case f.came <- struct{}{}:
	default: // a token is there already
	}
}

// failed keeps err for what the plugin says next, and answers its code.
func (c *Client) failed(err error) abi.Code {
	c.caller.Lost(err)
	var slow net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return abi.ETIMEOUT
	case errors.Is(err, errLongResponse):
		return abi.ETOOBIG
	}
	return abi.EIO
}

// Status waits for the head of a response, and answers its status.
func (c *Client) Status(id int32, timeout time.Duration) (int, abi.Code) {
	f := c.open[id]
	if f == nil {
		return 0, abi.EINVAL
	}
	if _, code := c.caller.AwaitRequest(timeout, f.headed, nil); code != abi.OK {
		return 0, code
	}
	if f.resp == nil {
		return 0, c.failed(f.err)
	}
	return f.resp.StatusCode, abi.OK
}

// Head is the headers of a response that has come, as a batch of one event. It stays as it is.
func (c *Client) Head(id int32) ([]byte, abi.Code) {
	f := c.open[id]
	if f == nil {
		return nil, abi.EINVAL
	}
	select {
	case <-f.headed:
	default:
		return nil, abi.EAGAIN
	}
	if f.resp == nil {
		return nil, c.failed(f.err)
	}
	if f.head == nil {
		var b event.Builder
		if err := b.Append(event.Event{Time: time.Now().UnixNano(), Attributes: headerAttributes(f.resp.Header)}); err != nil {
			c.caller.Lost(err)
			return nil, abi.EIO
		}
		f.head = b.Bytes()
	}
	return f.head, abi.OK
}

// Read reads of the body of a response, 1 byte or more. It answers how many bytes it has read, or a code: EOF at the end.
func (c *Client) Read(id int32, into []byte, timeout time.Duration) (int, abi.Code) {
	f := c.open[id]
	if f == nil || len(into) == 0 {
		return 0, abi.EINVAL
	}
	until := time.Now().Add(timeout)
	for len(f.rest) == 0 {
		select {
		case chunk, ok := <-f.chunks:
			switch {
			case ok:
				f.rest = chunk
			case f.err != nil:
				return 0, c.failed(f.err)
			default:
				return 0, abi.EOF
			}
			continue
		default:
		}
		if timeout > 0 {
			timeout = max(1, time.Until(until)) // 0 is not to wait
		}
		if _, code := c.caller.AwaitRequest(timeout, f.came, nil); code != abi.OK {
			return 0, code
		}
	}
	n := copy(into, f.rest)
	f.rest = f.rest[n:]
	return n, abi.OK
}

// CloseRequest gives a request up. Its connection is used again if the body was read to its end.
func (c *Client) CloseRequest(id int32) abi.Code {
	f := c.open[id]
	if f == nil {
		return abi.EINVAL
	}
	delete(c.open, id)
	f.cancel()
	return abi.OK
}

// Close gives all up, and waits for their goroutines.
func (c *Client) Close() {
	for _, f := range c.open {
		f.cancel()
	}
	clear(c.open)
	c.grants = nil
	c.work.Wait()
}
