// SPDX-License-Identifier: Apache-2.0

package sdktest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Reply is what a client was told by a source that answers HTTP requests.
type Reply struct {
	ID      int32
	Status  int
	Headers map[string]string
	Body    string
}

// inbox is the requests that a source under test has to answer.
type inbox struct {
	last    int32
	waiting [][]byte           // encoded, not taken yet
	taken   map[int32]struct{} // and not answered
	kept    []keptReply
}

type keptReply struct {
	after int64
	reply Reply
}

// Request has a client send a request, which the source takes in a later Poll, and returns its ID. What the client is told
// goes to Replies when it would go out: after the commit that it waits for.
func (s *Source) Request(method, path, body string, headers ...event.Attribute) int32 {
	s.inbox.last++
	id := s.inbox.last
	attributes := []event.Attribute{
		{Key: abi.HTTPID, Value: strconv.AppendInt(nil, int64(id), 10)}, {Key: abi.HTTPMethod, Value: []byte(method)},
		{Key: abi.HTTPPath, Value: []byte(path)}, {Key: abi.HTTPRemote, Value: []byte("192.0.2.1:1234")},
	}
	b := event.Builder{Limit: event.MaxBatch}
	if err := b.Append(event.Event{Time: time.Now().UnixNano(), Attributes: append(attributes, headers...), Body: []byte(body)}); err != nil {
		s.t.Fatalf("encode a request: %v", err)
	}
	s.inbox.waiting = append(s.inbox.waiting, b.Bytes())
	return id
}

// Reply returns what the client of a request was told, or false.
func (s *Source) Reply(id int32) (Reply, bool) {
	for _, r := range s.Replies {
		if r.ID == id {
			return r, true
		}
	}
	return Reply{}, false
}

func (s *Source) httpNext(into []byte, wait time.Duration) abi.Code {
	in := &s.inbox
	if len(in.waiting) == 0 {
		switch {
		case wait == 0:
			return abi.EAGAIN
		case wait < 0:
			return abi.EINTR
		}
		time.Sleep(wait)
		return abi.ETIMEOUT
	}
	data := in.waiting[0]
	if len(data) > len(into) {
		return abi.Code(len(data))
	}
	in.waiting = in.waiting[1:]
	e := only(data)
	text, _ := e.Attribute(abi.HTTPID)
	id, _ := strconv.Atoi(string(text))
	if in.taken == nil {
		in.taken = map[int32]struct{}{}
	}
	in.taken[int32(id)] = struct{}{}
	return abi.Code(copy(into, data))
}

func (s *Source) httpReply(id int32, status int, answer []byte, after int64) abi.Code {
	if _, ok := s.inbox.taken[id]; !ok || after < 0 || after > s.seq || status < 200 || status > 599 {
		return abi.EINVAL
	}
	delete(s.inbox.taken, id)
	r := Reply{ID: id, Status: status, Headers: map[string]string{}}
	if len(answer) > 0 {
		e := only(bytes.Clone(answer))
		for _, a := range e.Attributes {
			r.Headers[a.Key] = string(a.Value)
		}
		r.Body = string(e.Body)
	}
	s.inbox.kept = append(s.inbox.kept, keptReply{after, r})
	s.sendReplies(0)
	return abi.OK
}

// sendReplies sends what waits for no commit beyond durable.
func (s *Source) sendReplies(durable int64) {
	s.durable = max(s.durable, durable)
	kept := s.inbox.kept[:0]
	for _, k := range s.inbox.kept {
		if k.after <= s.durable {
			s.Replies = append(s.Replies, k.reply)
		} else {
			kept = append(kept, k)
		}
	}
	s.inbox.kept = kept
}

// refuseReplies tells those that the source dies with.
func (s *Source) refuseReplies() {
	for id := range s.inbox.taken {
		s.Replies = append(s.Replies, Reply{ID: id, Status: http.StatusServiceUnavailable})
	}
	for _, k := range s.inbox.kept {
		s.Replies = append(s.Replies, Reply{ID: k.reply.ID, Status: http.StatusServiceUnavailable})
	}
	s.inbox.taken, s.inbox.kept, s.durable = nil, nil, 0
}

// only decodes a batch of one event.
func only(data []byte) (e event.Event) {
	for _, e = range event.Trusted(data, 0, nil).All() {
	}
	return e
}

// outbox is the requests that a sink under test has sent.
type outbox struct {
	last int32
	open map[int32]*http.Response // nil: the connection broke
}

func (s *Sink) httpSend(_ string, request []byte, _ time.Duration) abi.Code {
	if s.Server == nil {
		return abi.EACCES
	}
	e := only(bytes.Clone(request))
	method, _ := e.Attribute(abi.HTTPMethod)
	path, _ := e.Attribute(abi.HTTPPath)
	target := string(path)
	if !strings.HasPrefix(target, "/") {
		target = "/" + target
	}
	r := httptest.NewRequest(string(method), target, bytes.NewReader(e.Body))
	for _, a := range e.Attributes {
		if !strings.HasPrefix(a.Key, ":") {
			r.Header.Add(a.Key, string(a.Value))
		}
	}
	if s.outbox.open == nil {
		s.outbox.open = map[int32]*http.Response{}
	}
	s.outbox.last++
	s.outbox.open[s.outbox.last] = serve(s.Server, r)
	return abi.Code(s.outbox.last)
}

// serve answers nil when the server breaks the connection, as net/http has it.
func serve(server http.Handler, r *http.Request) (resp *http.Response) {
	defer func() {
		if v := recover(); v != nil && v != http.ErrAbortHandler {
			panic(v)
		}
	}()
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	return w.Result()
}

func (s *Sink) httpStatus(id int32, _ time.Duration) abi.Code {
	if resp := s.outbox.open[id]; resp != nil {
		return abi.Code(resp.StatusCode)
	}
	return abi.EIO
}

func (s *Sink) httpHead(id int32, into []byte) abi.Code {
	var attributes []event.Attribute
	for name, values := range s.outbox.open[id].Header {
		attributes = append(attributes, event.Attribute{Key: strings.ToLower(name), Value: []byte(values[0])})
	}
	var b event.Builder
	if err := b.Append(event.Event{Attributes: attributes}); err != nil {
		s.t.Errorf("encode a response: %v", err)
	}
	if b.Size() > len(into) {
		return abi.Code(b.Size())
	}
	return abi.Code(copy(into, b.Bytes()))
}

func (s *Sink) httpRead(id int32, into []byte, _ time.Duration) abi.Code {
	n, err := s.outbox.open[id].Body.Read(into)
	switch {
	case n > 0:
		return abi.Code(n)
	case err == io.EOF:
		return abi.EOF
	}
	return abi.EIO
}

func (s *Sink) httpClose(id int32) abi.Code {
	delete(s.outbox.open, id)
	return abi.OK
}
