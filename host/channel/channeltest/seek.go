// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// seeker is the channel's side for those who move readers.
func (e *env) seeker() channel.Seeker {
	e.Helper()
	s, ok := e.ch.(channel.Seeker)
	if !ok {
		e.Fatal("the channel is no channel.Seeker")
	}
	return s
}

// picker is the channel's side for those who give up events one by one.
func (e *env) picker() channel.Picker {
	e.Helper()
	p, ok := e.ch.(channel.Picker)
	if !ok {
		e.Fatal("the channel is no channel.Picker")
	}
	return p
}

// since is the offset of the first event that was committed then or later.
func (e *env) since(t time.Time) event.Offset {
	e.Helper()
	o, err := e.seeker().Since(t)
	e.must(err)
	return o
}

// seekCases show how readers are set to another offset.
var seekCases = []scenario{
	{"a reader that is replayed gets what it had, as another stream; others are not disturbed", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		e.put("1", "2", "3")
		held := e.take(b, 1)
		first := held.Delivery().Range.First
		e.drain(a, 3)
		stream := a.Info().Stream
		e.must(a.Close())
		e.must(e.seeker().Replay("sink.a", first+1))
		e.put("4")
		a = e.reader("sink.a")
		if a.Info().Stream == stream {
			e.Error("it is the same stream, so a destination would say that it holds this already")
		}
		e.counts(a, 3, 0)
		e.same(e.drain(a, 3), []string{"2", "3", "4"})
		e.empty(a)
		e.counts(b, 4, 1)
		held.Rollback()
	}},
	{"a reader in use is not moved, nor one that never was, nor to where there is nothing", func(e *env) {
		e.open()
		r, other := e.reader("sink.a"), e.reader("sink.b")
		e.put("1", "2")
		e.drain(r, 2)
		end := r.Info().Low
		e.must(other.Close())
		for name, from := range map[string]event.Offset{"sink.a": end, "sink.never": end, "sink.b": end + 1} {
			if err := e.seeker().Replay(name, from); err == nil || errors.Is(err, channel.ErrGone) {
				e.Errorf("%s was replayed from %d: %v", name, from, err)
			}
		}
		for _, name := range []string{"sink.a", "sink.never"} {
			if _, err := e.seeker().Purge(name); err == nil {
				e.Errorf("%s was purged", name)
			}
		}
		e.counts(e.reader("sink.b"), 2, 0)
		e.put("3")
		e.same(e.drain(r, 1), []string{"3"})
	}},
	{"a reader that is set to a later offset gives up what lies before, which is counted", func(e *env) {
		e.options.Capacity.Events = 4
		e.options.OnFull = channel.Refuse
		e.open()
		r := e.reader("sink.a")
		e.put("1", "2")
		low := r.Info().Low
		e.put("3", "4")
		e.must(r.Close())
		e.must(e.seeker().Replay("sink.a", low+3))
		if s := e.operator().Stats(); s.Dropped[channel.LostPurge] != 3 || s.Put != 4 {
			e.Errorf("stats are %+v", s)
		}
		e.put("5")
		e.same(e.drain(e.reader("sink.a"), 2), []string{"4", "5"})
	}},
	{"events are found by the time of their commit", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		low := r.Info().Low
		begun := time.Now()
		e.put("1", "2")
		time.Sleep(time.Hour)
		e.put("3")
		time.Sleep(time.Hour)
		e.put("4")
		for _, c := range []struct {
			since time.Time
			want  event.Offset
		}{
			{time.Time{}, low}, {begun.Add(-time.Hour), low}, {begun, low}, {begun.Add(time.Minute), low + 2}, {begun.Add(time.Hour), low + 2},
			{begun.Add(61 * time.Minute), low + 3}, {begun.Add(3 * time.Hour), low + 4},
		} {
			if got := e.since(c.since); got != c.want {
				e.Errorf("since %v: %d, want %d", c.since.Sub(begun), got, c.want)
			}
			if n := e.seeker().Ahead(c.want); n != uint64(low+4-c.want) {
				e.Errorf("%d events are ahead of %d", n, c.want)
			}
		}
	}},
	{"what waits for a reader is given up when it is purged, and only that", func(e *env) {
		e.options.Capacity.Events = 4
		e.options.OnFull = channel.Refuse
		e.open()
		a, b := e.reader("sink.a"), e.anyOrder("sink.b")
		stream := b.Info().Stream
		e.put(bodies("", 4)...)
		e.drain(a, 4)
		one := e.take(b, 1)
		e.must(e.take(b, 1).Commit())
		e.must(b.Close())
		one.Rollback()
		n, err := e.seeker().Purge("sink.b")
		e.must(err)
		if s := e.operator().Stats(); n != 3 || s.Dropped[channel.LostPurge] != 3 || s.Events != 0 || s.Readers["sink.b"].Waiting != 0 {
			e.Errorf("%d were given up; stats are %+v", n, s)
		}
		e.put("5")
		b = e.reader("sink.b")
		if b.Info().Stream != stream {
			e.Error("it is another stream")
		}
		e.same(e.drain(b, 1), []string{"5"})
		e.same(e.drain(a, 1), []string{"5"})
	}},
	{"of what waits for a reader some is given up that was picked, and nothing else", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		low := a.Info().Low
		e.put("1", "2", "3", "4", "5")
		if _, err := e.picker().Drop("sink.a", event.Range{First: low, Next: low + 1}); err == nil {
			e.Error("events of a reader in use were given up")
		}
		e.must(e.take(a, 1).Commit())
		e.must(a.Close())
		n, err := e.picker().Drop("sink.a", event.Range{First: low, Next: low + 2}, event.Range{First: low + 3, Next: low + 4}, event.Range{First: low + 9, Next: low + 99})
		e.must(err)
		if s := e.operator().Stats(); n != 2 || s.Dropped[channel.LostPicked] != 2 || s.Readers["sink.a"].Waiting != 2 {
			e.Errorf("%d were given up; stats are %+v", n, s)
		}
		if n, err := e.picker().Drop("sink.a", event.Range{First: low, Next: low + 2}); n != 0 || err != nil {
			e.Errorf("again %d were given up: %v", n, err)
		}
		e.same(e.drain(e.reader("sink.a"), 2), []string{"3", "5"})
		e.same(e.drain(b, 5), []string{"1", "2", "3", "4", "5"})
	}},
	{"what is picked in too many places is refused, and stays", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		low := r.Info().Low
		e.put(bodies("", 2*channel.MaxFinished+4)...)
		e.must(r.Close())
		var picked []event.Range
		for i := range event.Offset(channel.MaxFinished + 1) {
			picked = append(picked, event.Range{First: low + 2*i + 1, Next: low + 2*i + 2})
		}
		_, err := e.picker().Drop("sink.a", picked...)
		e.is(err, channel.ErrLimit)
		n, err := e.picker().Drop("sink.a", picked[1:]...)
		e.must(err)
		if w := e.operator().Stats().Readers["sink.a"].Waiting; n != channel.MaxFinished || w != channel.MaxFinished+4 {
			e.Errorf("%d were given up, %d wait", n, w)
		}
	}},
	{"a purged or replayed reader passes over what is for another", func(e *env) {
		e.open()
		a, b := e.reader("sink.a"), e.reader("sink.b")
		low := a.Info().Low
		e.put("1")
		e.only("sink.b", "not for a")
		e.put("2")
		e.drain(a, 2)
		e.must(a.Close())
		e.must(e.seeker().Replay("sink.a", low))
		a = e.reader("sink.a")
		e.same(e.drain(a, 2), []string{"1", "2"})
		e.must(a.Close())
		_, err := e.seeker().Purge("sink.a")
		e.must(err)
		e.only("sink.b", "nor this")
		e.empty(e.reader("sink.a"))
		e.same(e.drain(b, 4), []string{"1", "not for a", "2", "nor this"})
	}},
}

// durableSeekCases show that a reader stays where it was set.
var durableSeekCases = []scenario{
	{"a replayed reader begins there after an opening, and its generations go on", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		low := r.Info().Low
		e.put("1", "2")
		e.reopen()
		e.put("3")
		r = e.reader("sink.a")
		e.drain(r, 3)
		streams := map[string]bool{r.Info().Stream: true}
		for range 3 {
			e.must(r.Close())
			e.must(e.seeker().Replay("sink.a", low+1))
			e.reopen()
			r = e.reader("sink.a")
			if streams[r.Info().Stream] {
				e.Errorf("%s was there before", r.Info().Stream)
			}
			streams[r.Info().Stream] = true
			e.same(e.drain(r, 2), []string{"2", "3"})
		}
	}},
	{"a replay from what the log has lost is refused, and says what the oldest is", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		low := r.Info().Low
		noise := make([]byte, 256<<10) // that cannot be compressed
		rand.NewChaCha8([32]byte{}).Read(noise)
		for range 40 { // more than a segment
			e.put(string(noise))
		}
		e.drain(r, 40)
		e.must(r.Close())
		time.Sleep(time.Second) // space is freed
		oldest := e.since(time.Time{})
		if oldest == low {
			e.Fatal("nothing has gone yet")
		}
		e.is(e.seeker().Replay("sink.a", low), channel.ErrGone)
		e.must(e.seeker().Replay("sink.a", oldest))
		n := int(e.seeker().Ahead(oldest))
		e.reopen()
		e.drain(e.reader("sink.a"), n)
	}},
	{"what was picked and given up does not come back, and all else does", func(e *env) {
		e.open()
		r := e.reader("sink.a")
		low := r.Info().Low
		e.put("1", "2", "3", "4")
		e.must(r.Close())
		_, err := e.picker().Drop("sink.a", event.Range{First: low + 1, Next: low + 2}, event.Range{First: low + 3, Next: low + 4})
		e.must(err)
		e.reopen()
		e.same(e.drain(e.reader("sink.a"), 2), []string{"1", "3"})
	}},
	{"what was purged does not come back, and what another needs is there", func(e *env) {
		e.open()
		e.reader("sink.a")
		b := e.reader("sink.b")
		e.put("1", "2")
		e.must(b.Close())
		_, err := e.seeker().Purge("sink.b")
		e.must(err)
		e.put("3")
		e.reopen()
		e.same(e.drain(e.reader("sink.b"), 1), []string{"3"})
		e.same(e.drain(e.reader("sink.a"), 3), []string{"1", "2", "3"})
	}},
}

// closed is a reader of the model that nobody has open.
func (m *model) closed(t *rapid.T) *track {
	for _, name := range slices.Sorted(maps.Keys(m.readers)) {
		if tr := m.readers[name]; tr.r == nil {
			return tr
		}
	}
	t.Skip("all are open")
	return nil
}

// replay sets a reader to some event, or to the next. It may be refused only where nobody needs that event any more.
func (m *model) replay(t *rapid.T) {
	tr := m.closed(t)
	from := m.next
	if i := rapid.IntRange(0, len(m.events)).Draw(t, "from"); i < len(m.events) {
		from = m.events[i].offset
	}
	err := m.ch.(channel.Seeker).Replay(tr.name, from)
	if errors.Is(err, channel.ErrGone) {
		for _, other := range m.readers {
			if _, most := m.low(other); most <= from {
				m.Fatalf("%v; %s still needs what is behind %d", err, other.name, most)
			}
		}
		return
	}
	m.must(err)
	m.purged(tr)
	tr.lost = 0
	m.place(tr, from)
}

// purge gives up what waits for a reader.
func (m *model) purge(t *rapid.T) {
	tr := m.closed(t)
	want := uint64(0)
	for _, s := range tr.states {
		if s.is != done && s.is != passed {
			want++
		}
	}
	n, err := m.ch.(channel.Seeker).Purge(tr.name)
	m.must(err)
	if n < want {
		m.Fatalf("%s gave up %d events, it had %d", tr.name, n, want)
	}
	m.purged(tr)
	m.place(tr, m.next)
}

// place tells the model that a reader begins anew at an offset.
func (m *model) place(tr *track, from event.Offset) {
	for i, e := range m.events {
		is := tr.first(e, from)
		tr.states[i] = status{is: is, kept: is == done}
	}
}
