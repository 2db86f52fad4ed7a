// SPDX-License-Identifier: Apache-2.0

package httpsource

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/event"
)

func header(name, value string) event.Attribute {
	return event.Attribute{Key: name, Value: []byte(value)}
}

func zip(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func TestWhatBecomesOfARequest(t *testing.T) {
	const long = 200_000
	for name, c := range map[string]struct {
		format, method, path, body string
		headers                    []event.Attribute
		status                     int
		events                     []string
	}{
		"raw":                          {"raw", "POST", "/", "a\nb", nil, 200, []string{"a\nb"}},
		"raw without a body":           {"raw", "POST", "/", "", nil, 200, []string{""}},
		"lines":                        {"lines", "POST", "/", "a\n\nb\r\nc", nil, 200, []string{"a", "b", "c"}},
		"no lines":                     {"lines", "POST", "/", "\n\n", nil, 200, nil},
		"by PUT, with a query":         {"lines", "PUT", "/?x=y", "a", nil, 200, []string{"a"}},
		"ndjson":                       {"ndjson", "POST", "/", "{\"a\":1}\n\n2\n", nil, 200, []string{`{"a":1}`, "2"}},
		"ndjson wrong at its end":      {"ndjson", "POST", "/", "{\"a\":1}\n{", nil, 400, nil},
		"an array":                     {"json", "POST", "/", " [ {\"a\": 1},\n \"b\\n\" , [ 1, 2 ], null ] ", nil, 200, []string{`{"a":1}`, `"b\n"`, "[1,2]", "null"}},
		"an empty array":               {"json", "POST", "/", "[]", nil, 200, nil},
		"one object":                   {"json", "POST", "/", "\n{\"a\":\n1}", nil, 200, []string{`{"a":1}`}},
		"an array that does not end":   {"json", "POST", "/", "[1,2", nil, 400, nil},
		"something after the array":    {"json", "POST", "/", "[1,2] 3", nil, 400, nil},
		"json without a body":          {"json", "POST", "/", "", nil, 400, nil},
		"another path":                 {"raw", "POST", "/x", "a", nil, 404, nil},
		"another method":               {"raw", "GET", "/", "", nil, 405, nil},
		"gzip":                         {"lines", "POST", "/", zip("a\nb"), []event.Attribute{header("content-encoding", "GZip")}, 200, []string{"a", "b"}},
		"not gzip":                     {"lines", "POST", "/", "hello", []event.Attribute{header("content-encoding", "gzip")}, 400, nil},
		"gzip cut short":               {"lines", "POST", "/", zip(strings.Repeat("abc", 1000))[:20], []event.Attribute{header("content-encoding", "gzip")}, 400, nil},
		"gzip of more than may be":     {"lines", "POST", "/", zip(strings.Repeat("x", long)), []event.Attribute{header("content-encoding", "gzip")}, 413, nil},
		"another compression":          {"lines", "POST", "/", "x", []event.Attribute{header("content-encoding", "br")}, 415, nil},
		"an event too long":            {"raw", "POST", "/", strings.Repeat("x", long), nil, 413, nil},
		"events too long together":     {"lines", "POST", "/", strings.Repeat(strings.Repeat("x", 1000)+"\n", 99), nil, 413, nil},
		"more events than a batch has": {"lines", "POST", "/", strings.Repeat("x\n", 101), nil, 413, nil},
		"as many as a batch has":       {"lines", "POST", "/", strings.Repeat("x\n", 100), nil, 200, slices.Repeat([]string{"x"}, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			s := sdktest.OpenSource(t, New, map[string]any{"format": c.format, "path": "/"})
			s.MaxBytes, s.MaxEvents = 100_000, 100
			id := s.Request(c.method, c.path, c.body, c.headers...)
			got := sdktest.Bodies(s.Drain())
			reply, _ := s.Reply(id)
			if reply.Status != c.status || !slices.Equal(got, c.events) {
				t.Errorf("%d %q, events %q", reply.Status, reply.Body, got)
			}
			if c.status >= 400 && reply.Body == "" || c.status == 405 && reply.Headers["allow"] != "POST, PUT" {
				t.Errorf("the answer says too little: %+v", reply)
			}
			id = s.Request("POST", "/", "1") // the next is not disturbed
			if got := sdktest.Bodies(s.Drain()); len(got) != 1 || got[0] != "1" {
				t.Errorf("the next brings %q", got)
			}
			if reply, _ := s.Reply(id); reply.Status != 200 {
				t.Errorf("the next is answered %d", reply.Status)
			}
		})
	}
}

func TestEachRequestIsABatchAndIsAnsweredAfterIt(t *testing.T) {
	s := sdktest.OpenSource(t, New, nil)
	var ids []int32
	for i := range maxTaken + 1 {
		ids = append(ids, s.Request("POST", "/", fmt.Sprint(i)))
	}
	events, err := s.Poll()
	if err != nil || len(events) != maxTaken || len(s.Replies) > 0 {
		t.Fatalf("%d events, %v, %d replies", len(events), err, len(s.Replies))
	}
	s.Commit()
	if len(s.Replies) != maxTaken || s.Replies[3].ID != ids[3] || s.Replies[3].Status != 200 {
		t.Errorf("%d replies, %+v", len(s.Replies), s.Replies[3])
	}
	if events, _ := s.Poll(); len(events) != 1 {
		t.Errorf("the last: %v", events)
	}
}

func TestOnePollTakesNoMoreBytesThanTheHostHolds(t *testing.T) {
	s := sdktest.OpenSource(t, New, map[string]any{"format": "raw"})
	s.MaxBytes = 4 << 20
	for range 8 {
		s.Request("POST", "/", strings.Repeat("x", 4<<20-1000))
	}
	if events, err := s.Poll(); err != nil || len(events) != 4 {
		t.Errorf("%d events of 4 MiB in one poll, %v", len(events), err)
	}
}

func TestHeadersBecomeAttributes(t *testing.T) {
	s := sdktest.OpenSource(t, New, map[string]any{"headers": []string{"X-Tenant", "user-agent"}})
	s.Request("POST", "/", "a\nb", header("x-tenant", "t1"), header("x-other", "no"))
	for _, e := range s.Drain() {
		if len(e.Attributes) != 1 || e.Attributes["x-tenant"] != "t1" {
			t.Errorf("%v", e.Attributes)
		}
	}
}

func TestAKeyThatIsRepeatedStoresNothing(t *testing.T) {
	s := sdktest.OpenSource(t, New, map[string]any{"idempotency_keys": 3})
	post := func(key string) int32 { return s.Request("POST", "/", key, header("idempotency-key", key)) }
	poll := func() {
		t.Helper()
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
	}
	want := func(id int32, status int) {
		t.Helper()
		if r, _ := s.Reply(id); r.Status != status {
			t.Errorf("request %d is answered %d, want %d", id, r.Status, status)
		}
	}
	first, again := post("a"), post("a")
	poll()
	want(again, 0) // not before the first is durable
	s.Commit()
	want(first, 200)
	want(again, 200)

	lost := post("b")
	poll()
	if err := s.Restart(); err != nil { // before the commit
		t.Fatal(err)
	}
	want(lost, 503)
	retried, old := post("b"), post("a")
	s.Drain()
	want(retried, 200)
	want(old, 200)

	post("c")
	s.Drain()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	post("d") // puts out a
	s.Drain()
	post("a") // puts out b
	post("c")
	post("d")
	s.Drain()
	if got, want := sdktest.Bodies(s.Events), []string{"a", "b", "c", "d", "a"}; !slices.Equal(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	if len(s.Cursor) != 3 {
		t.Errorf("the cursor has %d entries", len(s.Cursor))
	}
	s.Configure(map[string]any{"idempotency_keys": 1})
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	post("e")
	post("a")
	s.Drain()
	if len(s.Cursor) != 1 || len(s.Events) != 7 {
		t.Errorf("with a lower bound: %d entries, %q", len(s.Cursor), sdktest.Bodies(s.Events))
	}
}

func TestWithoutKeysAllIsStored(t *testing.T) {
	s := sdktest.OpenSource(t, New, map[string]any{"idempotency_keys": 0})
	for range 2 {
		s.Request("POST", "/", "a", header("idempotency-key", "k"))
	}
	if got := s.Drain(); len(got) != 2 || len(s.Cursor) != 0 {
		t.Errorf("%v, cursor %v", got, s.Cursor)
	}
}

func TestACursorThatIsNotOursIsRefused(t *testing.T) {
	s := sdktest.OpenSource(t, New, nil)
	s.Cursor["key/x"] = []byte{1}
	if err := s.Restart(); err == nil || !strings.Contains(err.Error(), "cursor entry") {
		t.Error(err)
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for name, value := range map[string]any{"format": "xml", "path": "in", "idempotency_keys": -1, "headers": []string{"penstock.x"}} {
		s := sdktest.OpenSource(t, New, nil)
		s.Configure(map[string]any{name: value})
		if e, ok := errors.AsType[*sdk.Error](s.Restart()); !ok || e.Path != name {
			t.Errorf("%s: %v", name, e)
		}
	}
}
