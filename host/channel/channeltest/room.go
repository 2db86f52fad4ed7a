// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// limits are how much the channel of a run of the model may hold, and what is given up when it is full.
type limits struct {
	events uint64 // 0: there is no bound
	policy channel.FullPolicy
	lag    map[string]channel.Lag // of readers; the kept one holds
}

func drawLimits(t *rapid.T) limits {
	l := limits{lag: map[string]channel.Lag{}}
	if l.events = rapid.SampledFrom([]uint64{0, 8, 25}).Draw(t, "capacity"); l.events == 0 {
		return l
	}
	l.policy = rapid.SampledFrom([]channel.FullPolicy{channel.Block, channel.Refuse, channel.DropOldest, channel.DropNewest}).Draw(t, "on full")
	for _, name := range otherReaders {
		l.lag[name] = rapid.SampledFrom([]channel.Lag{channel.Hold, channel.Skip, channel.Detach}).Draw(t, name+" on lag")
	}
	return l
}

// outlook is what a Begin must do.
type outlook byte

const (
	roomy outlook = iota // there is room
	skips                // readers that lag make some
	drops                // all readers do
	sheds                // what is put is not kept
	shut                 // it waits, or is refused
)

// foresee says what the next Begin must do, and where each reader stands before it.
func (m *model) foresee() (outlook, map[string]event.Offset) {
	lows := map[string]event.Offset{}
	all, hold, lagging := event.Offset(math.MaxUint64), event.Offset(math.MaxUint64), false
	for name, info := range m.operator().Stats().Readers {
		lows[name] = info.Low
		all = min(all, info.Low)
		if m.limits.lag[name] == channel.Hold || m.readers[name].r == nil {
			hold = min(hold, info.Low)
		} else {
			lagging = true
		}
	}
	switch {
	case m.limits.events == 0 || m.from(all) < m.limits.events:
		return roomy, lows
	case lagging && m.from(hold) < m.limits.events:
		return skips, lows
	case m.limits.policy == channel.DropOldest:
		return drops, lows
	case m.limits.policy == channel.DropNewest:
		return sheds, lows
	}
	return shut, lows
}

// from is how many events there are at and above low.
func (m *model) from(low event.Offset) uint64 {
	i, _ := slices.BinarySearchFunc(m.events, low, func(e known, o event.Offset) int {
		if e.offset < o {
			return -1
		}
		return 1
	})
	return uint64(len(m.events) - i)
}

// enter begins a transaction, or answers nil where that must not be; and whether its events must not be kept.
func (m *model) enter() (tx channel.Tx, shed bool) {
	now, lows := m.foresee()
	ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	tx, err := m.ch.Begin(ctx)
	if now == shut {
		want := context.DeadlineExceeded
		if m.limits.policy == channel.Refuse {
			want = channel.ErrFull
		}
		if !errors.Is(err, want) {
			m.Fatalf("Begin on a channel that is full answers %v, want %v", err, want)
		}
		return nil, false
	}
	m.must(err)
	if now == skips || now == drops {
		m.relieved(now, lows)
	}
	return tx, now == sheds
}

// relieved takes over what the channel says that it gave up, and checks that it was the oldest of those who may lose it, and
// as little as makes room. A durable channel gives up whole segments.
func (m *model) relieved(now outlook, lows map[string]event.Offset) {
	var most channel.Lost
	to := event.Offset(0)
	for _, d := range m.hear() {
		tr, want := m.readers[d.Reader], channel.LostOldest
		if now == skips {
			want = m.limits.lag[d.Reader].Loss()
		}
		if tr == nil || d.Loss != want || now == skips && (tr.r == nil || m.limits.lag[d.Reader] == channel.Hold) || d.Range.First != lows[d.Reader] {
			m.Fatalf("%+v was given up, readers stand at %v, their policies are %v and %v", d, lows, m.limits.policy, m.limits.lag)
		}
		if d.Loss != channel.LostDetach && to != 0 && d.Range.Next != to {
			m.Fatalf("%s goes on at %d, another at %d", d.Reader, d.Range.Next, to)
		} else if d.Loss != channel.LostDetach {
			to = d.Range.Next
		}
		most[d.Loss] = max(most[d.Loss], d.Events)
		m.giveUp(tr, d)
	}
	for loss, n := range most {
		m.lost[loss] += n
	}
	if held := m.operator().Stats().Events; held >= m.limits.events {
		m.Fatalf("there are %d events after some were given up, of a capacity of %d", held, m.limits.events)
	}
	if left := m.from(to); to > 0 && (left >= m.limits.events || !m.lasting && left != m.limits.events-1) {
		m.Fatalf("there are %d events from %d on, where readers go on, of a capacity of %d", left, to, m.limits.events)
	}
}

// giveUp tells the model what a reader loses. What is leased is in doubt.
func (m *model) giveUp(tr *track, d channel.Drop) {
	least, most := uint64(0), uint64(0)
	for i, e := range m.events {
		s := &tr.states[i]
		if e.offset < d.Range.First || e.offset >= d.Range.Next || s.is == done {
			continue
		}
		s.gone, s.kept = true, true // it is on record
		switch s.is {
		case passed:
			most++
		case waiting, returned:
			least, most, s.is = least+1, most+1, done
		}
	}
	if d.Events < least || d.Events > most {
		m.Fatalf("%+v was given up, and there were %d to %d", d, least, most)
	}
	tr.lost, tr.why = tr.lost+d.Events, d.Loss
	if d.Loss == channel.LostDetach {
		m.detached(tr)
	}
}

// detached checks that a reader gets nothing any more, and forgets it.
func (m *model) detached(tr *track) {
	if _, err := tr.r.Take(context.Background(), channel.Want{}); !errors.Is(err, channel.ErrDetached) {
		m.Fatalf("%s was detached, and takes with %v", tr.name, err)
	}
	for _, l := range tr.leases {
		l.Rollback()
	}
	m.rolledBack(tr, tr.leases...)
	m.must(tr.r.Close())
	delete(m.readers, tr.name)
}

// rolledBack tells the model that leases were: what was given up of them meanwhile is gone now.
func (m *model) rolledBack(tr *track, leases ...taken) {
	least, most := uint64(0), uint64(0)
	for _, l := range leases {
		for i, e := range m.events {
			if r := l.Delivery().Range; tr.states[i].is == passed && tr.states[i].gone && r.First <= e.offset && e.offset < r.Next {
				most++
			}
		}
		for _, i := range l.events {
			s := &tr.states[i]
			s.tried++
			if s.is = returned; s.gone {
				s.is = done
				least, most = least+1, most+1
			}
		}
	}
	n := uint64(0)
	for _, d := range m.hear() {
		if d.Loss != tr.why || d.Reader != tr.name {
			m.Fatalf("%+v was given up when a lease of %s ended", d, tr.name)
		}
		n += d.Events
	}
	if n < least || n > most {
		m.Fatalf("%d events are gone that were dropped while %s had leased them, want %d to %d", n, tr.name, least, most)
	}
	tr.lost += n
	m.lost[tr.why] += n
}

// shed tells the model that the events of a transaction were not kept.
func (m *model) shed(d draft) {
	n := uint64(len(d.bodies))
	if n == 0 {
		return
	}
	if len(m.said) == 0 || m.said[0].Loss != channel.LostNewest || m.said[0].Reader != d.only || m.said[0].Events != n || m.said[0].Range.Len() != n {
		m.Fatalf("%d events for %q were put into a full channel; it gave up %+v", n, d.only, m.said)
	}
	m.said = m.said[1:]
	m.lost[channel.LostNewest] += n
	for name, tr := range m.readers {
		if d.only == "" || d.only == name {
			tr.lost += n
		}
	}
}

// purged takes over what a person gave up.
func (m *model) purged(tr *track) {
	for _, d := range m.hear() {
		if d.Loss != channel.LostPurge || d.Reader != tr.name {
			m.Fatalf("%+v was given up when somebody moved %s", d, tr.name)
		}
		tr.lost += d.Events
		m.lost[d.Loss] += d.Events
	}
}

// hear returns what the channel has said since it was last heard.
func (m *model) hear() []channel.Drop {
	said := m.said
	m.said = nil
	return said
}

// checkRoom compares how much there is, and how much was given up.
func (m *model) checkRoom() {
	s := m.operator().Stats()
	low := event.Offset(math.MaxUint64)
	for name, info := range s.Readers {
		low = min(low, info.Low)
		if info.Dropped != m.readers[name].lost {
			m.Fatalf("%s counts %d dropped events, the model %d", name, info.Dropped, m.readers[name].lost)
		}
	}
	if held := m.from(low); s.Events != held {
		m.Fatalf("the channel holds %d events, the model %d", s.Events, held)
	}
	for loss, n := range s.Dropped {
		if n != m.lost[loss] {
			m.Fatalf("%d events are counted as %v, the model has %d", n, loss, m.lost[loss])
		}
	}
	if len(m.said) > 0 {
		m.Fatalf("%+v was given up, and nothing asked for that", m.said)
	}
}
