// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

func settings(change map[string]any) map[string]any {
	cfg := map[string]any{"framing": "lines", "max_line": 1 << 20, "peer": true}
	for k, v := range change {
		cfg[k] = v
	}
	return cfg
}

func TestLinesOfManyConnections(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings(nil))
	a, b := s.Net.Connect("listen", "192.0.2.1:1"), s.Net.Connect("listen", "192.0.2.2:2")
	a.Send("one\ntw")
	b.Send("1\r\n\n2\n")
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"one", "1", "2"}) {
		t.Errorf("%q", got)
	}
	a.Send("o\nthree")
	a.Close()
	b.Send("\n3\n")
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"two", "3", "three"}) { // the last without its newline
		t.Errorf("%q", got)
	}
	for i, want := range []string{"192.0.2.1:1", "192.0.2.2:2", "192.0.2.2:2", "192.0.2.1:1"} {
		if got := s.Events[i].Attributes; got["tcp.peer"] != want || len(got) != 1 {
			t.Errorf("event %d has %v, want peer %s", i, got, want)
		}
	}
	if !a.Closed || b.Closed || s.Metrics["tcp_connections"] != 2 {
		t.Errorf("closed: %v, %v; metrics %v", a.Closed, b.Closed, s.Metrics)
	}
	b.Send("unfinished")
	b.Break()
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"unfinished"}) || s.Metrics["tcp_broken"] != 1 {
		t.Errorf("%q; metrics %v", got, s.Metrics)
	}
}

func TestWhatDoesNotFitABatchIsInTheNext(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings(map[string]any{"peer": false}))
	s.MaxEvents, s.MaxBytes = 7, 4096
	a, b := s.Net.Connect("listen", ""), s.Net.Connect("listen", "")
	var want []string
	for i := range 500 {
		want = append(want, fmt.Sprint("a", i, strings.Repeat("x", i)))
	}
	a.Send(strings.Join(want, "\n"))
	b.Send("b\n")
	a.Close()
	got := sdktest.Bodies(s.Drain())
	if i := slices.Index(got, "b"); i < 0 {
		t.Error("the other connection is not heard")
	} else {
		got = slices.Delete(got, i, i+1)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d events, want %d in order", len(got), len(want))
	}
}

func TestAFloodOfEmptyLinesEndsAPoll(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings(nil))
	p := s.Net.Connect("listen", "x")
	p.Send(strings.Repeat("\n", 8<<20) + "last\n")
	polls := 0
	for ; len(s.Events) == 0 && polls < 100; polls++ {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.Commit()
	}
	if polls < 8 || len(s.Events) != 1 {
		t.Errorf("%d events after %d polls", len(s.Events), polls)
	}
}

func TestLongLinesAreSplit(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings(map[string]any{"max_line": 10}))
	p := s.Net.Connect("listen", "x")
	p.Send("0123456789\n0123456789\r\n0123456789a\n0123456789012345678901234")
	p.Close()
	want := []string{"0123456789", "0123456789", "0123456789+", "a", "0123456789+", "0123456789+", "01234"}
	var got []string
	for _, e := range s.Drain() {
		if e.Attributes["tcp.partial"] == "true" {
			e.Body += "+"
		}
		got = append(got, e.Body)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOtherFramings(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings(map[string]any{"framing": "nul"}))
	s.Net.Connect("listen", "x").Send("one\ntwo\x00three\x00")
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"one\ntwo", "three"}) {
		t.Errorf("%q", got)
	}
	s = sdktest.OpenSource(t, New, settings(map[string]any{"framing": "length", "max_line": 100}))
	p := s.Net.Connect("listen", "x")
	for _, body := range []string{"one\n", "", strings.Repeat("y", 100)} {
		p.Send(string(binary.BigEndian.AppendUint32(nil, uint32(len(body)))) + body)
	}
	p.Send("\x00\x00")
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"one\n", strings.Repeat("y", 100)}) || p.Closed {
		t.Errorf("%q, closed %v", got, p.Closed)
	}
	p.Send("\x00\x65")
	if got := s.Drain(); len(got) > 0 || !p.Closed || s.Metrics["tcp_broken"] != 1 || len(s.Logs) != 1 {
		t.Errorf("a length over the limit: %v, closed %v, log %q", got, p.Closed, s.Logs)
	}
	s.Configure(settings(map[string]any{"framing": "json"}))
	if err := s.Restart(); err == nil {
		t.Error("an unknown framing is taken")
	}
}

func TestTheSinkConnectsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sdktest.OpenSink(t, NewSink, map[string]any{"format": "raw", "timeout": 5 * time.Second})
		send := func(bodies ...string) error { t.Helper(); return s.Send(bodies...) }
		if err := send("one", "two"); err != nil || s.Net.Peers[0].Received != "one\ntwo\n" {
			t.Errorf("received %q, %v", s.Net.Peers[0].Received, err)
		}
		s.Net.Peers[0].Send("why do you tell me?")
		if err := send("three"); err != nil || len(s.Net.Peers) != 1 {
			t.Errorf("%d connections, %v", len(s.Net.Peers), err)
		}
		s.Net.Peers[0].Close() // before the next delivery: nothing is written where nobody reads
		if err := send("four"); err != nil || !s.Net.Peers[0].Closed || s.Net.Peers[1].Received != "four\n" {
			t.Errorf("%d connections, %v", len(s.Net.Peers), err)
		}
		s.Net.Peers[1].Room = 2
		began := time.Now()
		if err := send("five"); err == nil || time.Since(began) != 5*time.Second || !s.Net.Peers[1].Closed {
			t.Errorf("a peer that does not read: %v after %v", err, time.Since(began))
		}
		s.Net.Refuse = true
		if err := send("five"); err == nil {
			t.Error("no error although nobody is there")
		}
		s.Net.Refuse = false
		if err := send("five"); err != nil || s.Net.Peers[2].Received != "five\n" || s.Metrics["tcp_connections"] != 3 {
			t.Errorf("received %q, %v", s.Net.Peers[2].Received, err)
		}
		if err := s.Close(); err != nil || !s.Net.Peers[2].Closed {
			t.Errorf("close: %v", err)
		}
	})
}
