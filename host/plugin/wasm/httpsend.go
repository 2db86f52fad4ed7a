// SPDX-License-Identifier: Apache-2.0

package wasm

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

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// maxFetches is how many requests an instance may have open at once: as many connections as a client has.
	maxFetches = 64
	// fetchChunk is how much of a response is read at a time, and maxChunks how many of those may wait for the guest.
	fetchChunk = 32 << 10
	maxChunks  = 2
	// maxFetch bounds a request with its response for which the guest named no bound.
	maxFetch = time.Hour
)

var errLongResponse = errors.New("the response is too long")

// fetching is what an instance has of the requests that it sends. It belongs to whoever has the turn.
type fetching struct {
	open map[int32]*fetch
	last int32 // id
	work sync.WaitGroup
}

// fetch is one request and its response. A goroutine fills it in.
type fetch struct {
	cancel context.CancelFunc
	headed chan struct{}  // closed when what follows is set
	resp   *http.Response // nil: err says why
	err    error          // also why the body has ended early: to be read when chunks is closed
	chunks chan []byte    // of the body; closed at its end
	rest   []byte         // of a chunk that the guest has had in part
	head   []byte         // encoded; nil: not yet
}

// httpSend begins a request.
func httpSend(in *instance, mem api.Memory, stack []uint64) {
	name, ok := text(mem, stack[0], stack[1], maxName)
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = answer(in.httpSend(mem, name, uint32(stack[2]), uint32(stack[3]), wait(stack[4])))
}

// httpSend answers an id, or a code.
func (in *instance) httpSend(mem api.Memory, name string, ptr, n uint32, timeout time.Duration) abi.Code {
	s := &in.fetching
	client, ok := in.grants.HTTP[name]
	switch {
	case !ok:
		in.denied("http", name)
		return abi.EACCES
	case in.inside == exportStart || in.inside == exportInitialize:
		return abi.EINVAL
	case len(s.open) >= maxFetches:
		return abi.EAGAIN
	}
	e, err := oneEvent(mem, ptr, n)
	var req *http.Request
	if err == nil {
		req, err = newRequest(client, e)
	}
	if err != nil {
		in.httpRefused("request", err)
		in.lost = err
		return abi.EINVAL
	}
	if timeout < 0 {
		timeout = maxFetch
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	f := &fetch{cancel: cancel, headed: make(chan struct{}), chunks: make(chan []byte, maxChunks)}
	if s.open == nil {
		s.open = map[int32]*fetch{}
	}
	for held := true; held; _, held = s.open[s.last] {
		s.last = s.last%math.MaxInt32 + 1
	}
	s.open[s.last] = f
	s.work.Go(func() { f.run(ctx, client, req.WithContext(ctx)) })
	return abi.Code(s.last)
}

// newRequest makes a request of what the guest says: a method, GET if it says none, a path below the base, headers and a body.
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

// run sends the request and reads the response, as fast as the guest takes it.
func (f *fetch) run(ctx context.Context, client plugin.HTTPClient, req *http.Request) {
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

// fetchFailed keeps err for what the guest says next, and answers its code.
func (in *instance) fetchFailed(err error) abi.Code {
	in.lost = err
	var slow net.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return abi.ETIMEOUT
	case errors.Is(err, errLongResponse):
		return abi.ETOOBIG
	}
	return abi.EIO
}

// httpStatus waits for the head of a response.
func httpStatus(in *instance, _ api.Memory, stack []uint64) {
	stack[0] = answer(in.httpStatus(int32(stack[0]), wait(stack[1])))
}

func (in *instance) httpStatus(id int32, timeout time.Duration) abi.Code {
	f := in.fetching.open[id]
	if f == nil {
		return abi.EINVAL
	}
	if code := in.await(timeout, f.headed); code != abi.OK {
		return code
	}
	if f.resp == nil {
		return in.fetchFailed(f.err)
	}
	return abi.Code(f.resp.StatusCode)
}

// httpHead writes the headers of a response that has come.
func httpHead(in *instance, mem api.Memory, stack []uint64) {
	head, code := in.httpHead(int32(stack[0]))
	if code != abi.OK {
		stack[0] = answer(code)
		return
	}
	stack[0] = put(mem, stack[1], stack[2], head)
}

func (in *instance) httpHead(id int32) ([]byte, abi.Code) {
	f := in.fetching.open[id]
	if f == nil {
		return nil, abi.EINVAL
	}
	select {
	case <-f.headed:
	default:
		return nil, abi.EAGAIN
	}
	if f.resp == nil {
		return nil, in.fetchFailed(f.err)
	}
	if f.head == nil {
		var b event.Builder
		if err := b.Append(event.Event{Time: time.Now().UnixNano(), Attributes: headerAttributes(f.resp.Header)}); err != nil {
			in.lost = err
			return nil, abi.EIO
		}
		f.head = b.Bytes()
	}
	return f.head, abi.OK
}

// httpRead reads of the body of a response.
func httpRead(in *instance, mem api.Memory, stack []uint64) {
	view, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	if !ok || len(view) == 0 {
		stack[0] = answer(abi.EINVAL)
		return
	}
	stack[0] = answer(in.httpRead(int32(stack[0]), view, wait(stack[3])))
}

// httpRead answers how many bytes it has read, or a code.
func (in *instance) httpRead(id int32, into []byte, timeout time.Duration) abi.Code {
	f := in.fetching.open[id]
	if f == nil {
		return abi.EINVAL
	}
	if len(f.rest) == 0 {
		came, code := receive(in, f.chunks, nil, timeout)
		switch {
		case code != abi.OK:
			return code
		case came.v == nil && f.err != nil:
			return in.fetchFailed(f.err)
		case came.v == nil:
			return abi.EOF
		}
		f.rest = came.v
	}
	n := copy(into, f.rest)
	f.rest = f.rest[n:]
	return abi.Code(n)
}

// httpClose gives a request up. Its connection is used again if the body was read to its end.
func httpClose(in *instance, _ api.Memory, stack []uint64) {
	id := int32(stack[0])
	f := in.fetching.open[id]
	if f == nil {
		stack[0] = answer(abi.EINVAL)
		return
	}
	delete(in.fetching.open, id)
	f.cancel()
	stack[0] = answer(abi.OK)
}

// close gives all up, and waits for their goroutines.
func (s *fetching) close() {
	for _, f := range s.open {
		f.cancel()
	}
	clear(s.open)
	s.work.Wait()
}
