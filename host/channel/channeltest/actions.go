// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// actions is what the model test does. The one without a name comes after each of the others.
func (m *model) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"put":      m.put,
		"put some": m.put, // twice as often as the rest
		"put two":  m.putTwo,
		"for none": m.putForNobody,
		"forsake":  m.forsake,
		"take":     m.take,
		"take a":   m.take,
		"take b":   m.take,
		"commit":   func(t *rapid.T) { m.end(t, true) },
		"rollback": func(t *rapid.T) { m.end(t, false) },
		"catch up": m.catchUp,
		"finish":   m.finish,
		"register": m.registerAny,
		"close":    m.closeReader,
		"open":     m.openReader,
		"forget":   m.forget,
		"replay":   m.replay,
		"purge":    m.purge,
		"rest":     func(*rapid.T) { m.rest() },
		"month":    m.month,
		"cursors":  func(*rapid.T) { m.checkCursors() },
		"":         m.check,
	}
	if m.lasting {
		all["reopen"] = func(*rapid.T) { m.reopen() }
		all["kill"] = func(*rapid.T) { m.kill() }
	}
	return all
}

// draft is what one transaction is about to do.
type draft struct {
	source string
	bodies []string
	only   string
	change event.Cursor
	shed   bool // the channel was full when it began: its events are not kept
}

func (m *model) draft(t *rapid.T, source string) draft {
	d := draft{source: source, change: event.Cursor{}}
	for range rapid.IntRange(0, 6).Draw(t, "events") {
		size := rapid.SampledFrom([]int{1, 10, 300, 3000}).Draw(t, "size of the body")
		m.names++
		d.bodies = append(d.bodies, fmt.Sprintf("%d%s", m.names, strings.Repeat("b", size)))
	}
	if rapid.IntRange(0, 5).Draw(t, "for one reader") == 0 {
		d.only = rapid.SampledFrom(slices.Sorted(maps.Keys(m.readers))).Draw(t, "only")
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		k := rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "key")
		d.change[k] = []byte(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value"))
	}
	return d
}

// begin puts a draft into a transaction; nil: there is no room.
func (m *model) begin(d *draft) channel.Tx {
	tx, shed := m.enter()
	if d.shed = shed; tx == nil {
		return nil
	}
	var w event.Builder
	for _, body := range d.bodies {
		m.must(w.Append(made(body)))
	}
	b, err := event.Copy(&m.memory, w.Bytes(), event.MaxBatch)
	m.must(err)
	m.must(tx.Put(channel.Put{Source: d.source, Batch: b, Changed: d.change, Only: d.only}))
	return tx
}

// committed tells the model.
func (m *model) committed(d draft) {
	if d.shed {
		m.shed(d)
		d.bodies = nil
	}
	for _, body := range d.bodies {
		e := known{m.next, body, d.only}
		m.events = append(m.events, e)
		m.next++
		for _, tr := range m.readers {
			tr.states = append(tr.states, status{is: tr.first(e, 0)})
		}
	}
	if m.cursors[d.source] == nil {
		m.cursors[d.source], m.set[d.source] = event.Cursor{}, map[string]time.Time{}
	}
	for k, v := range d.change {
		m.set[d.source][k] = time.Now()
		if m.cursors[d.source][k] = v; len(v) == 0 {
			delete(m.cursors[d.source], k)
		}
	}
}

func (m *model) put(t *rapid.T) {
	d := m.draft(t, rapid.SampledFrom(modelSources).Draw(t, "source"))
	if tx := m.begin(&d); tx != nil && m.refused(d, tx.Submit()(), false) {
		m.checkCursors()
	}
}

// refused tells the model how a transaction ended, and checks that: it is refused when its only reader was detached to make room for it, or for another;
// and behind one of its source that was.
func (m *model) refused(d draft, err error, behind bool) bool {
	var want error
	switch {
	case behind:
		want = channel.ErrPrior
	case d.only != "" && m.readers[d.only] == nil && len(d.bodies) > 0:
		want = channel.ErrNoReader
	}
	if !errors.Is(err, want) {
		m.Fatalf("a transaction for %q ends with %v, want %v", d.only, err, want)
	}
	if err == nil {
		m.committed(d)
	}
	return err != nil
}

// putTwo has two transactions in flight.
func (m *model) putTwo(t *rapid.T) {
	one, two := m.draft(t, modelSources[0]), m.draft(t, rapid.SampledFrom(modelSources).Draw(t, "source"))
	a, b := m.begin(&one), m.begin(&two)
	if a == nil || b == nil { // both, since nothing happens between
		return
	}
	first, second := a.Submit(), b.Submit()
	var errs [2]error
	if rapid.Bool().Draw(t, "wait for the second first") {
		errs[1], errs[0] = second(), first()
	} else {
		errs[0], errs[1] = first(), second()
	}
	refused := m.refused(one, errs[0], false)
	if m.refused(two, errs[1], refused && one.source == two.source) || refused {
		m.checkCursors()
	}
}

// putForNobody has events for a reader that is not there: they are refused, full or not, until the cursor is asked for.
func (m *model) putForNobody(t *rapid.T) {
	d := m.draft(t, modelSources[0])
	d.only = rapid.SampledFrom(append(otherReaders, keptReader)).Draw(t, "gone")
	if m.readers[d.only] != nil || len(d.bodies) == 0 {
		t.Skip("it is there, or nothing is for it")
	}
	tx := m.begin(&d)
	if tx == nil {
		return
	}
	if err := tx.Submit()(); !errors.Is(err, channel.ErrNoReader) {
		m.Fatalf("%d events for %s, which is not there: %v", len(d.bodies), d.only, err)
	}
	m.checkCursors()
}

func (m *model) forsake(t *rapid.T) {
	d := m.draft(t, modelSources[0])
	if tx := m.begin(&d); tx != nil {
		tx.Rollback()
	}
}

// someReader is one that is open.
func (m *model) someReader(t *rapid.T) *track {
	var open []string
	for name, tr := range m.readers {
		if tr.r != nil {
			open = append(open, name)
		}
	}
	if len(open) == 0 {
		t.Skip("nobody reads")
	}
	slices.Sort(open)
	return m.readers[rapid.SampledFrom(open).Draw(t, "reader")]
}

// take leases something, and compares it with what the model says is next.
func (m *model) take(t *rapid.T) {
	tr := m.someReader(t)
	if tr.name == keptReader && len(tr.leases) > 0 {
		m.isEmpty(tr) // one at a time
		return
	}
	first := tr.head()
	if first < 0 {
		m.isEmpty(tr)
		return
	}
	want := channel.Want{Events: rapid.IntRange(0, 8).Draw(t, "want events"), Bytes: rapid.SampledFrom([]int{0, 100, 700, 4000}).Draw(t, "want bytes")}
	l, err := tr.r.Take(context.Background(), want)
	m.must(err)
	m.lease(tr, l, first, want)
}

// head is the event that the reader must get next: the oldest that was rolled back, or else the oldest that waits; -1: none.
func (tr *track) head() int {
	for _, is := range []word{returned, waiting} {
		if i := slices.IndexFunc(tr.states, func(s status) bool { return s.is == is }); i >= 0 {
			return i
		}
	}
	return -1
}

// lease checks a delivery event by event.
func (m *model) lease(tr *track, l channel.Lease, first int, want channel.Want) {
	d := l.Delivery()
	got := taken{Lease: l}
	if n := d.Batch.Len(); n == 0 || want.Events > 0 && n > want.Events || want.Bytes > 0 && n > 1 && d.Batch.Size() > want.Bytes {
		m.Fatalf("%s wants %+v and got %d events in %d bytes", tr.name, want, n, d.Batch.Size())
	}
	at := first
	for o, e := range d.Batch.All() {
		for at < len(m.events) && tr.states[at].is == passed {
			at++
		}
		if at == len(m.events) || m.events[at].offset != o || m.events[at].body != string(e.Body) || e.Time != made(string(e.Body)).Time {
			m.Fatalf("%s got offset %d, %.20q; the model is at %d of %d", tr.name, o, e.Body, at, len(m.events))
		}
		s := &tr.states[at]
		if s.is != tr.states[first].is && at != first || s.tried+1 != d.Attempt || s.is == leased || s.is == done {
			m.Fatalf("%s got %d in a lease of %v as attempt %d, the model has it %d, tried %d", tr.name, o, d.Range, d.Attempt, s.is, s.tried)
		}
		got.events = append(got.events, at)
		at++
	}
	for i, e := range m.events {
		if d.Range.First <= e.offset && e.offset < d.Range.Next && tr.states[i].is != passed && !slices.Contains(got.events, i) {
			m.Fatalf("%s: the lease of %v covers %d, and does not have it", tr.name, d.Range, e.offset)
		}
	}
	for _, i := range got.events {
		if o := m.events[i].offset; o < d.Range.First || o >= d.Range.Next {
			m.Fatalf("%s: %d is not in the lease of %v", tr.name, o, d.Range)
		}
		tr.states[i].is = leased
	}
	tr.leases = append(tr.leases, got)
}

// end commits a lease or rolls it back.
func (m *model) end(t *rapid.T, commit bool) {
	tr := m.someReader(t)
	if len(tr.leases) == 0 {
		t.Skip("nothing is leased")
	}
	m.settle(tr, rapid.IntRange(0, len(tr.leases)-1).Draw(t, "lease"), commit)
}

func (m *model) settle(tr *track, i int, commit bool) {
	l := tr.leases[i]
	tr.leases = slices.Delete(tr.leases, i, i+1)
	if !commit {
		l.Rollback()
		m.rolledBack(tr, l)
		return
	}
	m.must(l.Commit())
	for _, i := range l.events {
		tr.states[i].is = done
	}
}

// catchUp commits all that nobody has leased. Without it a reader that holds would be in the way of those that lag, nearly always.
func (m *model) catchUp(t *rapid.T) {
	tr := m.someReader(t)
	if tr.name == keptReader && len(tr.leases) > 0 {
		t.Skip("one at a time")
	}
	for first := tr.head(); first >= 0; first = tr.head() {
		l, err := tr.r.Take(context.Background(), channel.Want{})
		m.must(err)
		m.lease(tr, l, first, channel.Want{})
		m.settle(tr, len(tr.leases)-1, true)
	}
}

// finish says that a destination holds a range. The kept reader is left out, so that its low mark says all.
func (m *model) finish(t *rapid.T) {
	tr := m.someReader(t)
	if tr.name == keptReader || len(m.events) == 0 {
		t.Skip("nothing to finish")
	}
	i := rapid.IntRange(0, len(m.events)-1).Draw(t, "from")
	j := rapid.IntRange(i, min(i+10, len(m.events)-1)).Draw(t, "to")
	held := event.Range{First: m.events[i].offset, Next: m.events[j].offset + 1}
	m.must(tr.r.Finish(held))
	for ; i <= j; i++ {
		if s := &tr.states[i]; s.is != leased && s.is != passed { // what is passed over may be covered by a lease
			s.is = done
		}
	}
}

func (m *model) registerAny(t *rapid.T) {
	name := rapid.SampledFrom(otherReaders).Draw(t, "name")
	if m.readers[name] != nil {
		t.Skip("it is there")
	}
	m.register(name, rapid.SampledFrom([]channel.Start{channel.Oldest, channel.Now}).Draw(t, "start"))
}

// closeReader gives a name back. What it has leased counts as rolled back, whatever becomes of the leases.
func (m *model) closeReader(t *rapid.T) {
	tr := m.someReader(t)
	m.must(tr.r.Close())
	for _, l := range tr.leases {
		if err := l.Commit(); !errors.Is(err, channel.ErrClosed) {
			m.Fatalf("a lease of %s, which was closed: commit answered %v", tr.name, err)
		}
	}
	m.rolledBack(tr, tr.leases...)
	tr.r, tr.leases = nil, nil
	tr.keep()
}

// openReader opens one that was closed, and that goes on as if it had not been.
func (m *model) openReader(t *rapid.T) {
	for _, name := range slices.Sorted(maps.Keys(m.readers)) {
		if tr := m.readers[name]; tr.r == nil {
			r, err := m.ch.Reader(channel.ReaderSpec{Name: name, Order: orderOf(name), Lane: laneOf(name), Lag: m.limits.lag[name]})
			m.must(err)
			tr.r = r
			return
		}
	}
	t.Skip("all are open")
}

// forget drops a reader that nobody has open.
func (m *model) forget(t *rapid.T) {
	name := rapid.SampledFrom(otherReaders).Draw(t, "name")
	if tr := m.readers[name]; tr == nil || tr.r != nil {
		t.Skip("it is not there, or open")
	}
	m.must(m.operator().Forget(name))
	delete(m.readers, name)
}

// month lets a month pass, and the source with which it goes on forget what it had set before.
func (m *model) month(t *rapid.T) {
	m.swept(month + day)
	m.put(t)
	m.swept(untilSwept)
	for _, tr := range m.readers {
		tr.keep()
	}
}

// swept lets so much time pass that the channel has looked for what is due.
func (m *model) swept(d time.Duration) {
	time.Sleep(d)
	for source, cursor := range m.cursors {
		maps.DeleteFunc(cursor, func(k string, _ []byte) bool { return m.due(source, k) })
	}
}

// due says whether an entry is to be forgotten: not set for a month when its source last set anything. It goes when the channel next looks.
func (m *model) due(source, key string) bool {
	newest := time.Time{}
	for k := range m.cursors[source] {
		if at := m.set[source][k]; at.After(newest) {
			newest = at
		}
	}
	return newest.Sub(m.set[source][key]) > month
}

// rest lets time pass: positions are written within it.
func (m *model) rest() {
	time.Sleep(time.Second)
	for _, tr := range m.readers {
		tr.keep()
	}
}

func (tr *track) keep() {
	for i := range tr.states {
		tr.states[i].kept = tr.states[i].is == done || tr.states[i].gone
	}
}

// reopen closes the channel and opens it again: nothing is lost, not even a position.
func (m *model) reopen() {
	m.stop()
	for _, tr := range m.readers {
		for i := range tr.states {
			if tr.states[i].is == leased {
				tr.states[i].is = returned
			}
		}
		tr.keep()
	}
	m.ch = m.opener(m.dir)
	m.resume()
}

// kill goes on from a copy of what is on disk now. Positions may be older: what was committed since may come again.
func (m *model) kill() {
	copied := m.fresh()
	m.must(os.CopyFS(copied, os.DirFS(m.dir)))
	m.stop()
	m.must(os.RemoveAll(m.dir))
	m.dir = copied
	m.ch = m.opener(m.dir)
	m.resume()
}

// resume opens all readers again and learns where they stand; the model says what they must have, and may have.
func (m *model) resume() {
	m.checkCursors()
	for _, name := range slices.Sorted(maps.Keys(m.readers)) {
		tr := m.readers[name]
		r, err := m.ch.Reader(channel.ReaderSpec{Name: name, Order: orderOf(name), Lane: laneOf(name), Lag: m.limits.lag[name]})
		m.must(err)
		tr.r, tr.lost = r, 0
		m.follow(m.next)
		there := map[event.Offset]bool{}
		low := r.Info().Low
		if name != keptReader {
			there = m.probe(tr)
		}
		for i, e := range m.events {
			has := there[e.offset]
			if name == keptReader {
				has = e.offset >= low && tr.states[i].is != passed
			}
			tr.relearn(m, i, has)
		}
	}
}

// relearn takes over whether a reader still has an event to come.
func (tr *track) relearn(m *model, i int, has bool) {
	s := &tr.states[i]
	switch {
	case s.is == passed && has:
		m.Fatalf("%s got %d, which is not for it", tr.name, m.events[i].offset)
	case s.is == passed:
	case has && s.kept:
		m.Fatalf("%s has %d again, though its position was written since it was committed", tr.name, m.events[i].offset)
	case !has && s.is != done && !s.gone:
		m.Fatalf("%s lost %d", tr.name, m.events[i].offset)
	case !has:
		s.is = done
	case tr.name == keptReader:
		*s = status{is: waiting}
	default:
		*s = status{is: returned, tried: 1} // by the probe
	}
}

// probe takes all that there is and rolls it back: as first attempts, and each event once.
func (m *model) probe(tr *track) map[event.Offset]bool {
	there := map[event.Offset]bool{}
	var leases []channel.Lease
	for {
		ctx, stop := context.WithTimeout(context.Background(), time.Millisecond)
		l, err := tr.r.Take(ctx, channel.Want{})
		stop()
		if err != nil {
			break // the next action sees whether it is more than that nothing is left
		}
		leases = append(leases, l)
		d := l.Delivery()
		for o := range d.Batch.All() {
			if there[o] || d.Attempt != 1 {
				m.Fatalf("%s got %d again, as attempt %d", tr.name, o, d.Attempt)
			}
			there[o] = true
		}
	}
	for _, l := range leases {
		l.Rollback()
	}
	return there
}
