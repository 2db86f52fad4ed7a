// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// members are senders of one agent that share a stream, of which all below 20 is settled.
type members struct {
	*sender
	mu   sync.Mutex
	done []event.Range
}

func (m *members) settled() (event.Offset, []event.Range) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return 20, slices.Clone(m.done)
}

func (m *members) open(name string) (plugin.Streamer, []plugin.Held) {
	m.t.Helper()
	m.name, m.sender.done = name, m.settled
	sink, held, err := m.sender.open()
	if err != nil {
		m.t.Fatal(err)
	}
	return sink, held
}

func (m *members) write(to plugin.Streamer, ranges ...event.Range) {
	m.t.Helper()
	for _, of := range ranges {
		if _, err := to.Write(m.t.Context(), of, batch(m.t, of)); err != nil {
			m.t.Fatal(err)
		}
		m.mu.Lock()
		m.done = append(m.done, of)
		m.mu.Unlock()
	}
}

// Two senders of one agent share a stream, into one receiver here. What the second was given and nobody knows the outcome of is sent again to it, though the first
// is far ahead by then; and what is kept of both is no more than what is not settled.
func TestPartsOfAStreamArriveOnce(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	r := newReceiver(t, ca.issue(t, "collector", time.Now().Add(time.Hour)))
	m := &members{sender: newSender(t, r, ca.issue(t, "edge-1", time.Now().Add(time.Hour)))}
	a, _ := m.open("a")
	b, _ := m.open("b")
	m.write(a, event.Range{First: 20, Next: 30})
	lost := event.Range{First: 30, Next: 40}
	if err := b.Send(t.Context(), lost, batch(t, lost)); err != nil {
		t.Fatal(err)
	}
	for o := event.Offset(40); o < 200; o += 10 {
		m.write(a, event.Range{First: o, Next: o + 10})
	}
	if err := b.Outcome(t.Context()); err != nil { // of which nobody hears
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	b, held := m.open("b")
	if want := []plugin.Held{{Incarnation: 7, Range: event.Range{Next: lost.Next}}}; !slices.Equal(held, want) { // what is below is settled
		t.Errorf("the receiver says that it holds %v", held)
	}
	m.write(b, lost) // as one does that was not told
	m.write(b, event.Range{First: 200, Next: 210})
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var want []string
	for o := 20; o < 210; o++ {
		want = append(want, fmt.Sprint(o))
	}
	if !slices.Equal(slices.Sorted(slices.Values(r.bodies)), slices.Sorted(slices.Values(want))) {
		t.Errorf("%d events arrived, of %d: %v", len(r.bodies), len(want), r.bodies)
	}
	for key, value := range r.cursor {
		if len(value) > hoppb.PositionSize+2*hoppb.SpanSize {
			t.Errorf("of %s %d bytes are kept", key, len(value))
		}
	}
	if len(r.cursor) != 2 {
		t.Errorf("%d upstreams are kept", len(r.cursor))
	}
}
