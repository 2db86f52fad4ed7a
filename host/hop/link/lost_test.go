// SPDX-License-Identifier: Apache-2.0

package link

import (
	"maps"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// A receiver that was restored has lost what it had answered. Its sender has given that up: it says so, with where to begin again, and goes on.
func TestAReceiverThatWasRestoredIsSpokenOf(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	send := func(from, to event.Offset) {
		t.Helper()
		sink, held, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		if from > 0 && len(held) == 0 {
			t.Errorf("nothing is held before %d", from)
		}
		if _, err := deliver(t, sink, from, to); err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	}
	send(0, 50)
	backup := maps.Clone(r.cursor)
	send(50, 100)
	if s.said.Len() > 0 {
		t.Errorf("it says %s", &s.said)
	}
	r.close()
	r.cursor = backup
	r.open()
	send(100, 110)
	if said := s.said.String(); !strings.Contains(said, "had answered before") || !strings.Contains(said, "penstock channel replay main sink_group.ups --from 50") ||
		!strings.Contains(said, "100 of incarnation") {
		t.Errorf("it says %s", said)
	}
	s.said.Reset()
	send(110, 120)
	if s.said.Len() > 0 {
		t.Errorf("it says so again: %s", &s.said)
	}
}

// The same of one that gets parts of a stream: where it stands is the same, as long as something below is not settled.
func TestAReceiverOfPartsThatWasRestoredIsSpokenOf(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	m := &members{sender: s}
	a, _ := m.open("a")
	m.write(a, event.Range{First: 30, Next: 40})
	backup := maps.Clone(r.cursor)
	m.write(a, event.Range{First: 50, Next: 60})
	_ = a.Close()
	again, _ := m.open("a")
	_ = again.Close()
	if s.said.Len() > 0 {
		t.Errorf("it says %s", &s.said)
	}
	r.close()
	r.cursor = backup
	r.open()
	a, _ = m.open("a")
	_ = a.Close()
	if said := s.said.String(); !strings.Contains(said, "had answered before") || !strings.Contains(said, "60 of incarnation") {
		t.Errorf("it says %s", said)
	}
}

// A power cut takes from a sender what was not flushed, and the receiver has it: that is counted once, however often the sender comes back.
func TestWhatASenderHasLostIsCountedOnce(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	s.loses = true
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 0, 50); err != nil {
		t.Fatal(err)
	}
	_ = sink.Close()
	s.lives, s.ends = []abi.Incarnation{{ID: 7}, {ID: 8, First: 100}}, []event.Offset{30, 1000}
	for range 3 {
		if sink, _, err = s.open(); err != nil {
			t.Fatal(err)
		}
		_ = sink.Close()
	}
	if n := r.counted("upstream_lost_events"); n != 20 {
		t.Errorf("%d events are counted", n)
	}
}
