// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// RunModel does random things to a channel and to a plain model of it, and compares the two after
// each. A lasting channel is also closed and opened, and killed: it goes on from a copy of its
// directory, as after kill -9. The checks of package rapid print what to run again, and shrink it;
// for that, open answers its error.
func RunModel(t *testing.T, open func(Options) (channel.Channel, error), lasting bool) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{T: rt, limits: drawLimits(rt), lasting: lasting, cursors: map[string]event.Cursor{}, set: map[string]map[string]time.Time{}, readers: map[string]*track{}}
		m.fresh = func() string { n++; return filepath.Join(root, fmt.Sprint(n)) }
		m.opener = func(dir string) channel.Channel {
			m.said, m.lost = nil, channel.Lost{}
			ch, err := open(Options{
				Dir: dir, Buffers: &m.memory, ForgetAfter: month, Capacity: channel.Capacity{Events: m.limits.events}, OnFull: m.limits.policy,
				Observer: channel.Observer{Dropped: func(d channel.Drop) { m.said = append(m.said, d) }},
			})
			m.must(err)
			return ch
		}
		inBubble(t, func() {
			m.start()
			rt.Repeat(m.actions())
			m.stop()
			if live := m.memory.Live(); live != 0 {
				rt.Fatalf("%d buffers are held at the end", live)
			}
		})
	})
}

// inBubble runs f with a clock of its own. Each run has one, and package rapid the true one: months go by in f, and rapid gives up
// after a day. It ends a run by a panic, which has to come out to it.
func inBubble(t *testing.T, f func()) {
	var ended any
	synctest.Test(t, func(*testing.T) {
		defer func() { ended = recover() }()
		f()
	})
	switch {
	case ended == nil:
	case fmt.Sprintf("%T", ended) == "rapid.invalidData": // it ran out of draws while it shrinks, and tells that from a failure by the line
		panic(ended)
	default:
		panic(ended)
	}
}

// The readers of the model. The one that is kept is never forgotten, and is in order: what it has done is all below its low mark.
const keptReader = "sink.kept"

var otherReaders = []string{"sink.b", "sink.c", laneReader}

// laneReader gets half of the events, by their body.
const laneReader = "sink.lane"

func laneOf(name string) channel.Lane {
	if name == laneReader {
		return channel.Lane{Key: "of", Index: 1, Count: 2}
	}
	return channel.Lane{}
}

var modelSources = []string{"source.x", "source.y"}

// model is a channel as plain as it can be told: a list of events, and for each reader a word for each event.
type model struct {
	*rapid.T
	limits  limits
	lasting bool
	said    []channel.Drop // and not yet heard
	lost    channel.Lost   // since the channel was opened
	opener  func(dir string) channel.Channel
	fresh   func() string // a directory that is not there yet
	dir     string
	ch      channel.Channel
	memory  Memory
	events  []known
	next    event.Offset // of the next event
	cursors map[string]event.Cursor
	set     map[string]map[string]time.Time // when each entry was set last
	readers map[string]*track               // all that are registered
	names   int                             // of bodies
}

// known is one committed event.
type known struct {
	offset event.Offset
	body   string
	only   string
}

// track is what the model knows of one reader.
type track struct {
	name   string
	r      channel.Reader // nil: nobody has it open
	states []status       // of each event
	leases []taken
	lost   uint64       // events, since the channel was opened, or the reader set to another offset
	why    channel.Loss // they were, last
}

// status is where an event is for one reader.
type status struct {
	is    word
	tried int  // how often it was leased and rolled back
	kept  bool // it was done when positions were written last
	gone  bool // it was given up; leased, it may still be committed
}

type word byte

const (
	waiting  word = iota // not handed out yet
	leased               // on its way
	returned             // rolled back
	done                 // committed
	passed               // not for this reader
)

// taken is a lease, and which events it has.
type taken struct {
	channel.Lease
	events []int
}

func (m *model) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// start opens a new channel with the kept reader.
func (m *model) start() {
	m.dir = m.fresh()
	m.must(os.MkdirAll(m.dir, 0o755))
	m.ch = m.opener(m.dir)
	m.register(keptReader, channel.Oldest)
	m.checkCursors() // and they are in use
}

// stop closes the channel. What was leased is rolled back.
func (m *model) stop() {
	m.must(m.ch.Close())
	for _, name := range slices.Sorted(maps.Keys(m.readers)) {
		tr := m.readers[name]
		tr.r = nil
		for _, l := range tr.leases {
			l.Rollback()
		}
		tr.leases = nil
	}
}

func orderOf(name string) channel.Order {
	if name == keptReader {
		return channel.InOrder
	}
	return channel.AnyOrder
}

// register opens a reader, and takes from it where it starts.
func (m *model) register(name string, start channel.Start) *track {
	oldest, surely := m.next, m.next // where the slowest reader is at least and at most
	for _, tr := range m.readers {
		low, most := m.low(tr)
		oldest, surely = min(oldest, low), min(surely, most)
	}
	if len(m.readers) == 0 {
		oldest, surely = 0, m.next
	}
	r, err := m.ch.Reader(channel.ReaderSpec{Name: name, Order: orderOf(name), Start: start, Lane: laneOf(name), Lag: m.limits.lag[name]})
	m.must(err)
	tr := &track{name: name, r: r}
	m.readers[name] = tr
	low := r.Info().Low
	if start == channel.Now && low != m.next || low < oldest {
		m.Fatalf("%s starts at %d; the oldest is at %d, the next at %d", name, low, oldest, m.next)
	}
	m.follow(m.next)
	for _, e := range m.events {
		is := tr.first(e, low)
		tr.states = append(tr.states, status{is: is})
		if start == channel.Oldest && is == done && e.offset >= surely && tr.first(e, 0) != passed {
			m.Fatalf("%s starts at %d, and another still has %d to come", name, low, e.offset)
		}
	}
	return tr
}

// first is the status of an event when it is new to a reader that starts at low.
func (tr *track) first(e known, low event.Offset) word {
	switch {
	case e.offset < low:
		return done
	case e.only != "" && e.only != tr.name:
		return passed
	}
	if made := made(e.body); !laneOf(tr.name).Has(&made) {
		return passed
	}
	return waiting
}

// follow learns where the incarnation begins, when it is new.
func (m *model) follow(next event.Offset) {
	for _, tr := range m.readers {
		if tr.r == nil {
			continue
		}
		all := tr.r.Info().Incarnations
		m.next = max(next, all[len(all)-1].First)
		return
	}
}

// low is the reader's low mark, at least and at most: what it passes over counts as committed once it has come there.
func (m *model) low(tr *track) (least, most event.Offset) {
	least, most = m.next, m.next
	for i := len(m.events) - 1; i >= 0; i-- {
		if tr.states[i].is != done && !tr.states[i].gone {
			least = m.events[i].offset
			if tr.states[i].is != passed {
				most = m.events[i].offset
			}
		}
	}
	return least, most
}

// check compares all figures of all readers.
func (m *model) check(*rapid.T) {
	m.checkRoom()
	for name, tr := range m.readers {
		info, ok := m.operator().Stats().Readers[name]
		if !ok {
			m.Fatalf("%s is not registered", name)
		}
		var count [passed + 1]uint64
		for _, s := range tr.states {
			count[s.is]++
		}
		if sum := info.Committed + info.Passed + info.Dropped + info.Waiting; sum != info.Offered {
			m.Fatalf("%s was offered %d events, and has %d: %+v", name, info.Offered, sum, info)
		}
		open := count[waiting] + count[leased] + count[returned]
		least, most := m.low(tr)
		mostLeased := count[leased]
		if !laneOf(name).All() { // what is between its events is leased with them
			mostLeased += count[passed]
		}
		if info.Low < least || info.Low > most || info.Waiting < open || info.Waiting > open+count[passed] || info.Leased < count[leased] || info.Leased > mostLeased {
			m.Fatalf("%s: %+v; the model has low %d to %d, waiting %d to %d, leased %d", name, info, least, most, open, open+count[passed], count[leased])
		}
	}
}

func (m *model) operator() channel.Operator { return m.ch.(channel.Operator) }

// is says whether a take with nothing there waits; it must.
func (m *model) isEmpty(tr *track) {
	ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
	defer stop()
	l, err := tr.r.Take(ctx, channel.Want{})
	if err == nil {
		m.Fatalf("%s got %v, and there is nothing for it", tr.name, l.Delivery().Range)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		m.Fatal(err)
	}
}

// checkCursors compares the cursors of all sources.
func (m *model) checkCursors() {
	for _, source := range modelSources {
		p, err := m.ch.Cursor(context.Background(), source)
		m.must(err)
		maps.DeleteFunc(m.cursors[source], func(k string, _ []byte) bool { return p.Cursor[k] == nil && m.due(source, k) })
		if !maps.EqualFunc(p.Cursor, m.cursors[source], bytes.Equal) {
			m.Fatalf("%s stands at %q, the model at %q", source, p.Cursor, m.cursors[source])
		}
	}
}
