// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// maxExchanges is how many requests an instance may have taken whose answers have not gone out: as many as a server has waiting at most.
const maxExchanges = abi.DefaultHTTPRequests

// serving is what an instance has of the requests that come in. It belongs to whoever has the turn, but for open.
type serving struct {
	taken   map[int32]*plugin.Exchange
	last    int32  // id
	next    []byte // a request, encoded, for which the guest had no room; nil: none
	encoder event.Builder
	open    atomic.Int32 // taken, or to be answered after a commit that is still to come
}

// httpNext waits for a request to answer.
func httpNext(in *instance, mem api.Memory, stack []uint64) {
	code := in.httpNext(wait(stack[2]))
	if code != abi.OK {
		stack[0] = answer(code)
		return
	}
	s := &in.serving
	length := put(mem, stack[0], stack[1], s.next)
	if length <= uint64(uint32(stack[1])) {
		s.next = nil
	}
	stack[0] = length
}

// httpNext sees to it that there is a request.
func (in *instance) httpNext(timeout time.Duration) abi.Code {
	s := &in.serving
	switch {
	case in.grants.Serve == nil:
		in.denied("serve", abi.ImportHTTPNext)
		return abi.EACCES
	case in.kind != abi.Source:
		return abi.EINVAL
	case s.next == nil && s.open.Load() >= maxExchanges && !s.forgetGone():
		return abi.EAGAIN
	}
	for s.next == nil {
		came, code := receive(in, in.grants.Serve, nil, timeout)
		if code != abi.OK {
			return code
		}
		in.slept = true // something came, so the next poll need not wait
		s.take(came.v)
	}
	return abi.OK
}

// forgetGone drops requests that nobody waits for any more, and says whether there were any.
func (s *serving) forgetGone() bool {
	before := len(s.taken)
	maps.DeleteFunc(s.taken, func(_ int32, ex *plugin.Exchange) bool { return ex.Request.Context().Err() != nil })
	s.open.Add(int32(len(s.taken) - before))
	return len(s.taken) < before
}

// take encodes a request for the guest, or answers it when that cannot be done.
func (s *serving) take(ex *plugin.Exchange) {
	id := s.last
	for held := true; held; _, held = s.taken[id] {
		id = id%math.MaxInt32 + 1
	}
	attributes := requestAttributes(ex.Request, id)
	s.encoder.Limit = event.MaxBatch
	s.encoder.Reset()
	err := s.encoder.Append(event.Event{Time: time.Now().UnixNano(), Attributes: attributes, Body: ex.Body})
	ex.Body = nil // it is held twice otherwise
	switch {
	case errors.Is(err, event.ErrTooBig):
		ex.Answer(http.StatusRequestEntityTooLarge, nil, nil)
		return
	case err != nil:
		ex.Answer(http.StatusRequestHeaderFieldsTooLarge, nil, nil)
		return
	}
	if s.taken == nil {
		s.taken = map[int32]*plugin.Exchange{}
	}
	s.last, s.taken[id], s.next = id, ex, s.encoder.Bytes()
	s.open.Add(1)
}

// requestAttributes are what a guest learns of a request beside its body.
func requestAttributes(r *http.Request, id int32) []event.Attribute {
	list := []event.Attribute{
		{Key: abi.HTTPID, Value: strconv.AppendInt(nil, int64(id), 10)},
		{Key: abi.HTTPMethod, Value: []byte(r.Method)},
		{Key: abi.HTTPPath, Value: []byte(r.URL.RequestURI())},
		{Key: abi.HTTPRemote, Value: []byte(r.RemoteAddr)},
		{Key: "host", Value: []byte(r.Host)},
	}
	return append(list, headerAttributes(r.Header)...)
}

// headerAttributes are headers as attributes: names in lower case and in order, and each value one.
func headerAttributes(h http.Header) (list []event.Attribute) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, event.ReservedPrefix) {
			continue // no plugin may emit it, and nobody could tell it from the host's
		}
		for _, value := range h[name] {
			list = append(list, event.Attribute{Key: lower, Value: []byte(value)})
		}
	}
	return list
}

// httpReply answers a request, now or when a batch is durable.
func httpReply(in *instance, mem api.Memory, stack []uint64) {
	id, status, after := int32(stack[0]), int32(stack[1]), int64(stack[4])
	stack[0] = answer(in.httpReply(mem, id, status, uint32(stack[2]), uint32(stack[3]), after))
}

func (in *instance) httpReply(mem api.Memory, id, status int32, ptr, n uint32, after int64) abi.Code {
	s := &in.serving
	ex := s.taken[id]
	switch {
	case in.grants.Serve == nil:
		in.denied("serve", abi.ImportHTTPReply)
		return abi.EACCES
	case ex == nil, status < 200 || status > 599:
		return abi.EINVAL
	}
	e, err := oneEvent(mem, ptr, n)
	var header http.Header
	if err == nil {
		header, err = headersOf(e.Attributes)
	}
	if err != nil {
		in.httpRefused("reply", err)
		return abi.EINVAL
	}
	send := func(durable bool) {
		s.open.Add(-1)
		if durable {
			ex.Answer(int(status), header, e.Body)
		} else {
			ex.Refuse("it was not stored")
		}
	}
	if after == 0 {
		send(true)
	} else if code := in.promise(after, send); code != abi.OK {
		return code
	}
	delete(s.taken, id)
	return abi.OK
}

// httpRefused logs what is wrong with what a guest wants to send: it learns only the code.
func (in *instance) httpRefused(what string, err error) {
	if in.log.Allow() {
		in.log.To.Error("plugin wants to send what is not an HTTP "+what, "error", err)
	}
}

// oneEvent copies a batch of one event out of the guest's memory. Of no bytes it makes an event without anything.
func oneEvent(mem api.Memory, ptr, n uint32) (e event.Event, err error) {
	if n == 0 {
		return e, nil
	}
	view, ok := mem.Read(ptr, n)
	if !ok {
		return e, errors.New("memory that is not there")
	}
	b, err := event.Copy(event.Heap{}, view, event.MaxBatch)
	if err != nil {
		return e, err
	}
	if b.Len() != 1 {
		return e, fmt.Errorf("a batch of %d events, wanted one", b.Len())
	}
	for _, e = range b.All() {
	}
	return e, nil
}

// hostHeaders are those that follow from what the host does: with another value they would tell lies about it, or lead elsewhere.
var hostHeaders = map[string]bool{
	"Connection": true, "Content-Length": true, "Expect": true, "Host": true, "Keep-Alive": true, "Proxy-Authorization": true,
	"Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// headersOf makes headers of a guest's attributes, and refuses those that are the host's. Names with a colon before them are not looked at.
func headersOf(attributes []event.Attribute) (http.Header, error) {
	h := make(http.Header, len(attributes))
	for _, a := range attributes {
		if strings.HasPrefix(a.Key, ":") {
			continue
		}
		if name := http.CanonicalHeaderKey(a.Key); hostHeaders[name] {
			return nil, fmt.Errorf("header %q is set by the host", a.Key)
		}
		h.Add(a.Key, string(a.Value))
	}
	return h, nil
}

// refuseTaken answers what the guest has not.
func (s *serving) refuseTaken(why string) {
	for id, ex := range s.taken {
		ex.Refuse(why)
		delete(s.taken, id)
		s.open.Add(-1)
	}
	s.next = nil
}
