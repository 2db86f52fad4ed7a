// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Forever is a wait that ends only when the host wants the plugin back.
const Forever time.Duration = -1

// HTTPRequest is one to send.
type HTTPRequest struct {
	Method  string // "": GET
	Path    string // below the URL that was granted: "", or "/" and what follows, and perhaps "?" and a query
	Headers []event.Attribute
	Body    []byte
	Timeout time.Duration // for all of it; 0: 30 s
	MaxBody int           // of the response's body: what is beyond is not read; 0: 64 KiB
}

// HTTPResponse is what came back. It is valid until the client is used again.
type HTTPResponse struct {
	Status  int
	Headers []event.Attribute // names in lower case
	Body    []byte
}

// Header returns the first value of a header, or "". name is in lower case.
func (r *HTTPResponse) Header(name string) string { return first(r.Headers, name) }

func first(headers []event.Attribute, name string) string {
	value, _ := event.Event{Attributes: headers}.Attribute(name)
	return string(value)
}

// HTTPClient sends requests to the URL that was granted under a handle of the manifest. It is not safe for concurrent use.
type HTTPClient struct {
	handle  string
	host    *Host
	request event.Builder
	head    []byte
	headers event.Decoder
	body    []byte
}

// HTTPClient returns a client of the URL that was granted under the handle. It stays valid as long as the instance.
func (o *Open) HTTPClient(handle string) *HTTPClient {
	return &HTTPClient{handle: handle, host: o.host}
}

// Do sends a request and waits for the response, whose status says what became of it. An error says that nothing is known: the request may
// have arrived. [ErrInterrupted]: the host wants the plugin back; return it.
func (c *HTTPClient) Do(r HTTPRequest) (*HTTPResponse, error) {
	if r.Timeout == 0 {
		r.Timeout = 30 * time.Second
	}
	if r.MaxBody == 0 {
		r.MaxBody = 64 << 10
	}
	attributes := []event.Attribute{{Key: abi.HTTPMethod, Value: []byte(r.Method)}, {Key: abi.HTTPPath, Value: []byte(r.Path)}}
	c.request.Limit = event.MaxBatch
	c.request.Reset()
	if err := c.request.Append(event.Event{Attributes: append(attributes, r.Headers...), Body: r.Body}); err != nil {
		return nil, fmt.Errorf("send a request: %w", err)
	}
	id := c.host.HTTPSend(c.handle, c.request.Bytes(), r.Timeout)
	if id < 0 {
		return nil, check(id, "send a request")
	}
	defer c.host.HTTPClose(int32(id))
	return c.response(int32(id), r.MaxBody)
}

func (c *HTTPClient) response(id int32, most int) (*HTTPResponse, error) {
	status := c.host.HTTPStatus(id, Forever)
	if status < 0 {
		return nil, check(status, "wait for a response")
	}
	resp := &HTTPResponse{Status: int(status)}
	head, code := ask(&c.head, func(into []byte) abi.Code { return c.host.HTTPHead(id, into) })
	if code < 0 {
		return nil, check(code, "read the head of a response")
	}
	c.headers.Reset(event.Trusted(head, 0, nil))
	c.headers.Next()
	resp.Headers = c.headers.Attributes()
	for c.body = c.body[:0]; len(c.body) < most; {
		c.body = slices.Grow(c.body, min(4096, most-len(c.body)))
		n := c.host.HTTPRead(id, c.body[len(c.body):min(cap(c.body), most)], Forever)
		if n == abi.EOF {
			break
		}
		if n < 0 {
			return nil, check(n, "read a response")
		}
		c.body = c.body[:len(c.body)+int(n)]
	}
	resp.Body = c.body
	return resp, nil
}

// ask calls an import that wants to be asked again with more room, and keeps the room.
func ask(buf *[]byte, call func(into []byte) abi.Code) ([]byte, abi.Code) {
	n := call(*buf)
	if int(n) > len(*buf) {
		*buf = make([]byte, int(n)+int(n)/4)
		n = call(*buf)
	}
	if n < 0 {
		return nil, n
	}
	return (*buf)[:n], n
}

// Request is a request to answer. It is valid until the next one is taken.
type Request struct {
	ID      int32 // for [Poll.Reply]
	Method  string
	Path    string            // with its query
	Remote  string            // the client's address
	Headers []event.Attribute // names in lower case
	Body    []byte            // all of it
}

// Header returns the first value of a header, or "". name is in lower case.
func (r *Request) Header(name string) string { return first(r.Headers, name) }

// requests is what a Poll keeps between requests.
type requests struct {
	buf     []byte
	decoder event.Decoder
	request Request
	answer  event.Builder
}

// NextRequest takes a request, after waiting for one: not at all when wait is 0. nil, nil: none came, or the host takes no more answers
// now; return from Poll. [ErrInterrupted]: the host wants the source back; return it. Each request is answered with [Poll.Reply]; one that
// no answer was given to when the instance ends is answered by the host, with 503.
func (p *Poll) NextRequest(wait time.Duration) (*Request, error) {
	in := &p.requests
	data, code := ask(&in.buf, func(into []byte) abi.Code { return p.host.HTTPNext(into, wait) })
	switch code {
	case abi.EAGAIN, abi.ETIMEOUT:
		return nil, nil
	}
	if code < 0 {
		return nil, check(code, "take a request")
	}
	in.decoder.Reset(event.Trusted(data, 0, nil))
	in.decoder.Next()
	r := &in.request
	*r = Request{Body: in.decoder.Body()}
	rest := in.decoder.Attributes()
	for ; len(rest) > 0 && strings.HasPrefix(rest[0].Key, ":"); rest = rest[1:] {
		value := string(rest[0].Value)
		switch rest[0].Key {
		case abi.HTTPID:
			id, _ := strconv.Atoi(value)
			r.ID = int32(id)
		case abi.HTTPMethod:
			r.Method = value
		case abi.HTTPPath:
			r.Path = value
		case abi.HTTPRemote:
			r.Remote = value
		}
	}
	r.Headers = rest
	return r, nil
}

// Answer is what a client is told. The zero Answer is 200 with no body.
type Answer struct {
	Status  int // 0: 200
	Headers []event.Attribute
	Body    []byte
}

// Reply answers a request: at once when after is 0, else when the batch of that number, which [Poll.Flush] returned, is durable. If that
// is refused the host answers 503 instead. Nothing of the answer is kept.
func (p *Poll) Reply(id int32, a Answer, after uint64) error {
	var data []byte
	if len(a.Headers)+len(a.Body) > 0 {
		b := &p.requests.answer
		b.Limit = event.MaxBatch
		b.Reset()
		if err := b.Append(event.Event{Attributes: a.Headers, Body: a.Body}); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
		data = b.Bytes()
	}
	status := a.Status
	if status == 0 {
		status = 200
	}
	return check(p.host.HTTPReply(id, status, data, int64(after)), "reply")
}
