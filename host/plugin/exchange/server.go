// SPDX-License-Identifier: Apache-2.0

package exchange

import (
	"errors"
	"maps"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// MaxTaken is how many requests an instance may have taken whose answers have not gone out: as many as a server has waiting at most.
const MaxTaken = abi.DefaultHTTPRequests

// Server is what an instance has of the requests that come in.
type Server struct {
	caller   Caller
	requests <-chan *plugin.Exchange // nil: nothing is granted
	log      *report.Log
	taken    map[int32]*plugin.Exchange
	last     int32  // id
	next     []byte // a request, encoded, for which the plugin had no room; nil: none
	encoder  event.Builder
	open     atomic.Int32 // taken, or to be answered after a commit that is still to come
}

// NewServer makes one without requests. requests are what was granted, or nil.
func NewServer(caller Caller, requests <-chan *plugin.Exchange, log *report.Log) *Server {
	return &Server{caller: caller, requests: requests, log: log, taken: map[int32]*plugin.Exchange{}}
}

// Open is how many requests have been taken whose answers have not gone out. Any goroutine may ask.
func (s *Server) Open() int { return int(s.open.Load()) }

// Next waits for a request to answer: a batch of one event, good until the next call. Where it is longer than room it is kept, and comes again.
func (s *Server) Next(room int, timeout time.Duration) ([]byte, abi.Code) {
	switch {
	case s.requests == nil:
		s.caller.Denied("serve", abi.ImportHTTPNext)
		return nil, abi.EACCES
	case s.next == nil && s.open.Load() >= MaxTaken && !s.forgetGone():
		return nil, abi.EAGAIN
	}
	for s.next == nil {
		ex, code := s.caller.AwaitRequest(timeout, nil, s.requests)
		if code != abi.OK {
			return nil, code
		}
		s.take(ex)
	}
	next := s.next
	if len(next) <= room {
		s.next = nil
	}
	return next, abi.OK
}

// forgetGone drops requests that nobody waits for any more, and says whether there were any.
func (s *Server) forgetGone() bool {
	before := len(s.taken)
	maps.DeleteFunc(s.taken, func(_ int32, ex *plugin.Exchange) bool { return ex.Request.Context().Err() != nil })
	s.open.Add(int32(len(s.taken) - before))
	return len(s.taken) < before
}

// take encodes a request for the plugin, or answers it when that cannot be done.
func (s *Server) take(ex *plugin.Exchange) {
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
	s.last, s.taken[id], s.next = id, ex, s.encoder.Bytes()
	s.open.Add(1)
}

// requestAttributes are what a plugin learns of a request beside its body.
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

// Reply answers a request, now or, if after is not 0, when that batch is durable. answer is a batch of one event, or nothing; it is not kept.
func (s *Server) Reply(id, status int32, answer []byte, after int64) abi.Code {
	ex := s.taken[id]
	switch {
	case s.requests == nil:
		s.caller.Denied("serve", abi.ImportHTTPReply)
		return abi.EACCES
	case ex == nil, status < 200 || status > 599:
		return abi.EINVAL
	}
	e, err := oneEvent(answer)
	var header http.Header
	if err == nil {
		header, err = headersOf(e.Attributes)
	}
	if err != nil {
		refused(s.log, "reply", err)
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
	} else if code := s.caller.Promise(after, send); code != abi.OK {
		return code
	}
	delete(s.taken, id)
	return abi.OK
}

// Refuse answers what the plugin has not, and takes no more.
func (s *Server) Refuse(why string) {
	for id, ex := range s.taken {
		ex.Refuse(why)
		delete(s.taken, id)
		s.open.Add(-1)
	}
	s.next, s.requests = nil, nil
}
