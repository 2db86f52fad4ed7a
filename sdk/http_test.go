// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// webhook stores each request as one event and answers it after the commit.
func webhook(p *sdk.Poll) error {
	r, err := p.NextRequest(p.Timeout)
	if err != nil || r == nil {
		return err
	}
	if r.Header("x-bad") != "" {
		return p.Reply(r.ID, sdk.Answer{Status: 400, Body: []byte("no " + r.Path)}, 0)
	}
	if err := p.Append(event.Event{Attributes: r.Headers, Body: []byte(r.Method + " " + r.Path + " " + r.Remote + " " + string(r.Body))}); err != nil {
		return err
	}
	seq, err := p.Flush()
	if err != nil {
		return err
	}
	return p.Reply(r.ID, sdk.Answer{Headers: []event.Attribute{{Key: "x-seq", Value: []byte(fmt.Sprint(seq))}}}, seq)
}

func TestARequestIsAnsweredAfterItsBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := opened(t, &source{poll: webhook})
		s.Timeout = time.Second
		start := time.Now()
		if events, err := s.Poll(); len(events) > 0 || err != nil || time.Since(start) != time.Second {
			t.Errorf("nothing to take: %v, %v after %v", events, err, time.Since(start))
		}
		id := s.Request("POST", "/a?b=c", "hello", event.Attribute{Key: "x-a", Value: []byte("1")})
		events, err := s.Poll()
		if err != nil || len(events) != 1 || events[0].Body != "POST /a?b=c 192.0.2.1:1234 hello" || events[0].Attributes["x-a"] != "1" {
			t.Fatalf("%v, %v", events, err)
		}
		if r, ok := s.Reply(id); ok {
			t.Errorf("answered before the commit: %v", r)
		}
		s.Commit()
		if r, _ := s.Reply(id); r.Status != 200 || r.Headers["x-seq"] != "1" {
			t.Errorf("after the commit: %v", r)
		}
		id = s.Request("GET", "/x", "", event.Attribute{Key: "x-bad", Value: []byte("1")})
		if _, err := s.Poll(); err != nil {
			t.Error(err)
		}
		if r, _ := s.Reply(id); r.Status != 400 || r.Body != "no /x" {
			t.Errorf("%v", r)
		}
		id = s.Request("POST", "/", strings.Repeat("long", 100_000))
		if _, err := s.Poll(); err != nil {
			t.Error(err)
		}
		if err := s.Restart(); err != nil {
			t.Error(err)
		}
		if r, _ := s.Reply(id); r.Status != 503 {
			t.Errorf("killed before the commit: %v", r)
		}
	})
}

func TestAReplyThatTheHostRefusesIsAnError(t *testing.T) {
	s := opened(t, &source{poll: func(p *sdk.Poll) error {
		r, err := p.NextRequest(0)
		if err != nil {
			return err
		}
		return p.Reply(r.ID, sdk.Answer{}, 99)
	}})
	s.Request("GET", "/", "")
	if _, err := s.Poll(); err == nil || !strings.Contains(err.Error(), "reply: the host answers EINVAL") {
		t.Error(err)
	}
}

// poster sends each delivery by HTTP and keeps what came back.
type poster struct {
	client *sdk.HTTPClient
	got    sdk.HTTPResponse
	err    error
}

func (s *poster) Open(o *sdk.Open) error { s.client = o.HTTPClient("api"); return nil }

func (s *poster) Write(_ event.Range, b event.Batch, _ *sdk.Delivery) error {
	for _, e := range b.All() {
		resp, err := s.client.Do(sdk.HTTPRequest{Method: "PUT", Path: "/in?x=y", Headers: []event.Attribute{{Key: "x-a", Value: []byte("1")}}, Body: e.Body, MaxBody: 10_000})
		if s.err = err; err != nil {
			return err
		}
		s.got = *resp
	}
	return nil
}

func TestARequestGoesOutAndItsResponseComesBack(t *testing.T) {
	self := &poster{}
	s := sdktest.OpenSink(t, func() sdk.Sink { return self }, nil)
	if err := s.Send("a"); err == nil {
		t.Error("sent without a grant")
	}
	s.Server = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "break" {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Seen", r.Method+" "+r.RequestURI+" "+r.Header.Get("X-A"))
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(strings.Repeat(string(body), 20_000)))
	})
	for range 2 {
		if err := s.Send("b"); err != nil {
			t.Fatal(err)
		}
		if r := self.got; r.Status != 202 || r.Header("x-seen") != "PUT /in?x=y 1" || string(r.Body) != strings.Repeat("b", 10_000) {
			t.Errorf("%d %v, %d bytes", r.Status, r.Headers, len(r.Body))
		}
	}
	if err := s.Send("break"); err == nil {
		t.Error("no error from a broken connection")
	}
	if e, ok := errors.AsType[*sdk.Error](self.err); !ok || e.Code != abi.EIO {
		t.Errorf("%v", self.err)
	}
}
