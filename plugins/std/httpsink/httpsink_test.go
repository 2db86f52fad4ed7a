// SPDX-License-Identifier: Apache-2.0

package httpsink

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// server keeps what it was sent, and answers as the test says.
type server struct {
	bodies []string
	header http.Header
	method string
	answer func(w http.ResponseWriter, body string) // nil: 200
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.header, s.method = r.Header, r.Method
	from := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		from, _ = gzip.NewReader(r.Body)
	}
	body, _ := io.ReadAll(from)
	s.bodies = append(s.bodies, string(body))
	if s.answer != nil {
		s.answer(w, string(body))
	}
}

func open(t *testing.T, config map[string]any, answer func(w http.ResponseWriter, body string)) (*sdktest.Sink, *server) {
	srv := &server{answer: answer}
	s := sdktest.OpenSink(t, New, config)
	s.Server = srv
	return s, srv
}

func TestHowEventsAreWritten(t *testing.T) {
	for _, c := range []struct {
		config map[string]any
		bodies []string
		want   string
		kind   string
	}{
		{nil, []string{`{"a": 1}`, "two", "3"}, "{\"a\": 1}\n\"two\"\n3\n", "application/x-ndjson"},
		{map[string]any{"format": "json"}, []string{"{\"a\":\n1}", "two", ""}, `[{"a":1},"two",""]`, "application/json"},
		{nil, []string{"a \"<\n", "{\n}", "{x", "\xff", `"\u00e4"`}, "\"a \\\"<\\n\"\n{}\n\"{x\"\n\"\uFFFD\"\n\"\\u00e4\"\n", "application/x-ndjson"},
		{map[string]any{"format": "raw"}, []string{"one", "two"}, "one\ntwo\n", "text/plain"},
		{map[string]any{"format": "json", "content": "object"}, []string{"x"}, `[{"time":"1970-01-01T00:00:00Z","attributes":{},"body":"x"}]`, "application/json"},
		{map[string]any{"compression": "gzip"}, []string{"1", "2"}, "1\n2\n", "application/x-ndjson"},
		{map[string]any{"headers": map[string]string{"Content-Type": "text/x"}, "authorization": "Bearer t"}, []string{"1"}, "1\n", "text/x"},
	} {
		s, srv := open(t, c.config, nil)
		if err := s.Send(c.bodies...); err != nil {
			t.Fatal(err)
		}
		if len(srv.bodies) != 1 || srv.bodies[0] != c.want || srv.header.Get("Content-Type") != c.kind || srv.method != "POST" {
			t.Errorf("%v: %q %q %q", c.config, srv.method, srv.bodies, srv.header)
		}
		if c.config["authorization"] != nil && srv.header.Get("Authorization") != "Bearer t" {
			t.Errorf("headers: %v", srv.header)
		}
	}
}

func TestTheKeyIsThatOfTheEvents(t *testing.T) {
	s, srv := open(t, nil, nil)
	seen := map[string]int{}
	send := func(first event.Offset, bodies ...string) {
		events := make([]event.Event, len(bodies))
		for i, b := range bodies {
			events[i].Body = []byte(b)
		}
		if err := s.Deliver(first, events...); err != nil {
			t.Fatal(err)
		}
		seen[srv.header.Get("Idempotency-Key")]++
	}
	send(10, "a", "b")
	send(10, "a", "b")
	send(10, "a")
	send(11, "b")
	if want := map[string]int{"channel/reader/1/8000000000000000/10-11": 2, "channel/reader/1/8000000000000000/10-10": 1, "channel/reader/1/8000000000000000/11-11": 1}; fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("%v", seen)
	}
}

func TestWhatStatusesMean(t *testing.T) {
	for status, want := range map[int]abi.Code{
		200: 0, 202: 0, 204: 0, 299: 0,
		301: abi.EINVAL, 401: abi.EINVAL, 403: abi.EINVAL, 404: abi.EINVAL, 405: abi.EINVAL, 415: abi.EINVAL,
		408: abi.EAGAIN, 429: abi.EAGAIN, 500: abi.EAGAIN, 502: abi.EAGAIN, 503: abi.EAGAIN, 504: abi.EAGAIN,
	} {
		s, _ := open(t, nil, func(w http.ResponseWriter, _ string) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("because\n of  this"))
		})
		err := s.Send("a", "b")
		e, _ := errors.AsType[*sdk.Error](err)
		switch {
		case want == 0 && err == nil:
			continue
		case e == nil || e.Code != want || !strings.Contains(err.Error(), fmt.Sprint(status)):
			t.Errorf("%d: %v", status, err)
		case want == abi.EAGAIN && e.Delay != 7*time.Second:
			t.Errorf("%d: again after %v", status, e.Delay)
		case status != 204 && !strings.Contains(err.Error(), "because of this"):
			t.Errorf("%d: the error does not say what the server said: %v", status, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "x": 0, "Thu, 26 Nov 2026 15:00:10 GMT": 10 * time.Second, "Thu, 26 Nov 2026 14:00:10 GMT": 0,
		"18446744074": time.Hour, "9000000": time.Hour, "Thu, 26 Nov 2099 15:00:10 GMT": time.Hour,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestOnlyTheEventsThatAreMeantAreRejected(t *testing.T) {
	s, srv := open(t, map[string]any{"format": "raw"}, func(w http.ResponseWriter, body string) {
		if strings.Contains(body, "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	bodies := make([]string, 100)
	for i := range bodies {
		bodies[i] = fmt.Sprint("good", i)
	}
	bodies[17], bodies[80] = "bad", "bad"
	if err := s.Send(bodies...); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Rejected, []int{17, 80}) || s.Metrics["http_rejected_events"] != 2 {
		t.Errorf("rejected %v", s.Rejected)
	}
	got := 0
	for _, b := range srv.bodies {
		if !strings.Contains(b, "bad") {
			got += strings.Count(b, "\n")
		}
	}
	if got != 98 {
		t.Errorf("%d good events have arrived", got)
	}
}

func TestTheSearchForBadEventsIsBounded(t *testing.T) {
	s, srv := open(t, nil, func(w http.ResponseWriter, _ string) { w.WriteHeader(http.StatusBadRequest) })
	if err := s.Send(make([]string, 1000)...); err != nil {
		t.Fatal(err)
	}
	if len(s.Rejected) != 1000 || len(srv.bodies) > 2*maxRequests {
		t.Errorf("%d rejected after %d requests", len(s.Rejected), len(srv.bodies))
	}
}

func TestABodyTooLargeComesInHalves(t *testing.T) {
	s, srv := open(t, map[string]any{"format": "raw"}, func(w http.ResponseWriter, body string) {
		if len(body) > 30 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	if err := s.Send("0123456789", "0123456789", "0123456789", "0123456789", strings.Repeat("x", 40)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Rejected, []int{4}) || len(srv.bodies) < 4 {
		t.Errorf("rejected %v, sent %q", s.Rejected, srv.bodies)
	}
}

func TestAConnectionThatBreaksIsTriedAgain(t *testing.T) {
	s, srv := open(t, nil, func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) })
	if e, ok := errors.AsType[*sdk.Error](s.Send("a")); !ok || e.Code.Class() != abi.Retry {
		t.Errorf("%v", e)
	}
	srv.answer = nil
	if err := s.Send("a"); err != nil {
		t.Error(err)
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for name, value := range map[string]any{
		"format": "xml", "content": "all", "compression": "br", "authorization": "a\nb", "headers": map[string]string{"Host": "x"},
	} {
		s := sdktest.OpenSink(t, New, nil)
		s.Configure(map[string]any{name: value})
		if e, ok := errors.AsType[*sdk.Error](s.Restart()); !ok || e.Path != name {
			t.Errorf("%s: %v", name, e)
		}
	}
}
