// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// fan is a sender with several receivers, each of which keeps what it was given. What is put is ranges of events, each of which is its offset.
type fan struct {
	lives  []Life
	events []event.Offset
	owner  map[event.Offset]*way // on the sender's disk before it is sent
	done   map[event.Offset]bool // committed
	disk   map[event.Offset]bool // likewise, as the sender's disk has it
	ways   []*way
}

// way is to one of the receivers.
type way struct {
	seq    *Sequence // nil: there is no call
	sent   map[event.Offset]bool
	wire   []message
	order  [][]event.Offset // of what is sent and not answered
	up     *Upstream
	flight []message // taken, and not on disk
	disk   []event.Offset
	have   Holding
	back   []reply
}

func (w *way) hangUp() { w.seq, w.sent, w.wire, w.order, w.back = nil, nil, nil, nil, nil }

func (w *way) store(n int) {
	for _, m := range w.flight[:min(n, len(w.flight))] {
		w.disk = append(w.disk, m.body...)
		w.have = stored(m.after)
		w.up.Stored(w.have)
	}
	w.flight = w.flight[min(n, len(w.flight)):]
}

// call connects anew: what is held is committed.
func (f *fan) call(t *rapid.T, w *way) {
	w.hangUp()
	w.store(len(w.flight))
	if _, err := w.up.Hello(f.lives, true, true); err != nil {
		t.Fatalf("hello: %v", err)
	}
	welcome := new(hoppb.Welcome)
	w.up.Have().Welcome(welcome)
	seq, err := Begin(f.lives, Welcomed(welcome), true)
	if err != nil {
		t.Fatal(err)
	}
	w.seq, w.sent = seq, map[event.Offset]bool{}
	for _, o := range f.events {
		if slices.ContainsFunc(seq.Held(), func(s Span) bool { return within(s, o) }) {
			f.done[o] = true
		}
	}
}

// settled is what the sender has committed, with what lies between and is no event.
func (f *fan) settled() (low event.Offset, above []event.Range) {
	low = f.lives[len(f.lives)-1].Next
	for i, o := range f.events {
		switch n := len(above); {
		case !f.done[o]:
			low = min(low, o)
		case o < low:
		case n > 0 && f.done[f.events[i-1]]:
			above[n-1].Next = o + 1
		default:
			above = append(above, event.Range{First: o, Next: o + 1})
		}
	}
	return low, above
}

// send gives a receiver what is its own, or else nobody's.
func (f *fan) send(w *way, n int) {
	if w.seq == nil {
		return
	}
	for _, of := range []*way{w, nil} {
		var body []event.Offset
		for _, o := range f.events {
			fits := f.owner[o] == of && !f.done[o] && !w.sent[o]
			if fits && len(body) > 0 && lives(f.lives).of(o) != lives(f.lives).of(body[0]) {
				break // a lease is of one incarnation
			}
			if fits && len(body) < n {
				body = append(body, o)
			} else if len(body) > 0 {
				break
			}
		}
		if len(body) == 0 {
			continue
		}
		for _, o := range body {
			f.owner[o], w.sent[o] = w, true
		}
		low, above := f.settled()
		m, err := w.seq.Next(event.Range{First: body[0], Next: body[len(body)-1] + 1}, low, above)
		if err != nil {
			panic(err)
		}
		w.wire, w.order = append(w.wire, message{Message: m, body: body}), append(w.order, body)
		return
	}
}

func (w *way) deliver(t *rapid.T) {
	if len(w.wire) > 0 {
		m := w.wire[0]
		w.wire = w.wire[1:]
		if m.arrive(t, w.up) {
			w.flight = append(w.flight, m)
		}
	}
}

func (f *fan) answer(t *rapid.T, w *way) {
	if n, again, ok := w.up.Answer(); ok && w.seq != nil {
		w.back = append(w.back, reply{n, again})
	}
	if len(w.back) == 0 || w.seq == nil {
		return
	}
	a := w.back[0]
	w.back = w.back[1:]
	if a.again {
		t.Fatal("a receiver has some of what it was sent, and the sender was told of it")
	}
	n, err := w.seq.Answered(a.messages)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range w.order[:n] {
		for _, o := range body {
			f.done[o] = true
		}
	}
	w.order = w.order[n:]
}

// check compares: nothing is on two disks, or twice on one, and what is committed is on one.
func (f *fan) check(t *rapid.T) {
	times := map[event.Offset]int{}
	for _, w := range f.ways {
		for _, o := range w.disk {
			times[o]++
		}
		if n := len(w.up.At().Parts); n > len(f.events) {
			t.Fatalf("%d parts are held, of %d events", n, len(f.events))
		}
	}
	for _, o := range f.events {
		if times[o] > 1 || f.done[o] && times[o] == 0 {
			t.Fatalf("event %d is there %d times, committed: %v", o, times[o], f.done[o])
		}
	}
}

func TestEachEventArrivesOnceAtOneOfSeveralReceivers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &fan{lives: []Life{{ID: 7}}, owner: map[event.Offset]*way{}, done: map[event.Offset]bool{}, disk: map[event.Offset]bool{}}
		for range 2 {
			f.ways = append(f.ways, &way{up: Stand(Holding{})})
		}
		some := rapid.IntRange(1, 3)
		steps := func(yield func(string, func(*rapid.T, *way)) bool) { // in their order
			_ = yield("send", func(t *rapid.T, w *way) { f.send(w, some.Draw(t, "n")) }) &&
				yield("deliver", func(t *rapid.T, w *way) { w.deliver(t) }) &&
				yield("store", func(t *rapid.T, w *way) { w.store(some.Draw(t, "n")) }) &&
				yield("answer", func(t *rapid.T, w *way) { f.answer(t, w) })
		}
		one := func(t *rapid.T) *way { return rapid.SampledFrom(f.ways).Draw(t, "receiver") }
		t.Repeat(map[string]func(*rapid.T){
			"": f.check,
			"write": func(t *rapid.T) {
				last := &f.lives[len(f.lives)-1]
				last.Next += event.Offset(rapid.IntRange(0, 1).Draw(t, "gap"))
				for range some.Draw(t, "events") {
					f.events = append(f.events, last.Next)
					last.Next++
				}
			},
			"call": func(t *rapid.T) { f.call(t, one(t)) },
			"go on": func(t *rapid.T) {
				w := one(t)
				if w.seq == nil {
					f.call(t, w)
				}
				for name, step := range steps {
					if rapid.Bool().Draw(t, name) {
						step(t, w)
					}
				}
			},
			"cut":               func(t *rapid.T) { one(t).hangUp() },
			"positions flushed": func(*rapid.T) { f.disk = maps.Clone(f.done) },
			"a put is refused, and all after it": func(t *rapid.T) {
				w := one(t)
				w.flight = nil
				w.up.Refused()
				w.hangUp()
			},
			"a receiver is killed": func(t *rapid.T) {
				w := one(t)
				w.hangUp()
				w.flight, w.up = nil, Stand(w.have)
			},
			"the sender is killed": func(*rapid.T) {
				for _, w := range f.ways {
					w.hangUp()
				}
				last := f.lives[len(f.lives)-1]
				first := (last.Next/100 + 1) * 100
				f.lives = append(f.lives, Life{ID: last.ID + 1, First: first, Next: first})
				f.done = maps.Clone(f.disk)
			},
		})
		for range f.events {
			for _, w := range f.ways {
				if w.seq == nil {
					f.call(t, w)
				}
				f.send(w, 2)
				w.deliver(t)
				w.store(2)
				f.answer(t, w)
			}
		}
		f.check(t)
		for _, o := range f.events {
			if !f.done[o] {
				t.Fatalf("event %d never arrives", o)
			}
		}
	})
}

func TestWhatIsHeldInPartsIsJoinedWithWhatIsSettled(t *testing.T) {
	up := Stand(Holding{})
	if _, err := up.Hello([]Life{{1, 0, 50}, {2, 100, 100}}, true, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says    string
		prev    Position
		settled []Span
		s       Span
		want    Verdict
		held    Holding
	}{
		{"the first", Position{}, nil, Span{1, event.Range{First: 10, Next: 20}}, Put, Holding{Parts: []Span{{1, event.Range{First: 10, Next: 20}}}}},
		{"apart", Position{}, nil, Span{1, event.Range{First: 30, Next: 40}}, Put, Holding{Parts: []Span{{1, event.Range{First: 10, Next: 20}}, {1, event.Range{First: 30, Next: 40}}}}},
		{"some of it again", Position{}, nil, Span{1, event.Range{First: 15, Next: 25}}, Again, Holding{}},
		{"all of it again", Position{}, nil, Span{1, event.Range{First: 31, Next: 39}}, Held, Holding{}},
		{"with what is settled between", Position{1, 5}, []Span{{1, event.Range{First: 20, Next: 30}}}, Span{1, event.Range{First: 40, Next: 45}}, Put,
			Holding{Position{1, 5}, []Span{{1, event.Range{First: 10, Next: 45}}}}},
		{"of the next incarnation", Position{1, 12}, nil, Span{2, event.Range{First: 100, Next: 101}}, Put, Holding{Position{1, 45}, []Span{{2, event.Range{First: 100, Next: 101}}}}},
		{"below what is settled", Position{}, nil, Span{1, event.Range{First: 1, Next: 4}}, Held, Holding{}},
	} {
		before := up.At()
		v, after, err := up.Judge(c.prev, c.settled, c.s)
		if err != nil || v != c.want {
			t.Fatalf("%s: %v, %v", c.says, v, err)
		}
		if v != Put {
			continue
		}
		if up.Take(c.s, after); !up.At().equal(c.held) {
			t.Fatalf("%s: %v is held", c.says, up.At())
		}
		up.Drop(before)
		if !up.At().equal(before) {
			t.Fatalf("%s: %v is held after all", c.says, up.At())
		}
		up.Take(c.s, after)
	}
	seq, err := Begin([]Life{{1, 0, 50}, {2, 100, 100}}, up.At(), true)
	if want := []Span{{1, event.Range{Next: 45}}, {2, event.Range{First: 100, Next: 101}}}; err != nil || !slices.Equal(seq.Held(), want) {
		t.Errorf("its sender says that %v is held, %v", seq.Held(), err)
	}
}

func TestAMessageThatDoesNotFollowIsSentAgain(t *testing.T) {
	up := Stand(Holding{Have: Position{1, 10}})
	if _, err := up.Hello([]Life{{1, 0, 50}}, true, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		prev Position
		s    Span
		want Verdict
	}{
		{Position{1, 20}, Span{1, event.Range{First: 20, Next: 30}}, Again}, // what is between was lost
		{Position{}, Span{1, event.Range{First: 10, Next: 20}}, Again},
		{Position{1, 10}, Span{1, event.Range{First: 5, Next: 20}}, Again},
		{Position{1, 5}, Span{1, event.Range{First: 5, Next: 10}}, Held},
		{Position{1, 10}, Span{1, event.Range{First: 12, Next: 20}}, Put},
	} {
		if v, _, err := up.Judge(c.prev, nil, c.s); err != nil || v != c.want {
			t.Errorf("%v after %v: %v, %v", c.s, c.prev, v, err)
		}
	}
}

func TestAReceiverOfPartsIsHeldToWhatItKeeps(t *testing.T) {
	lives := []Life{{1, 0, 50}, {2, 100, 1 << 20}}
	part := Holding{Position{1, 10}, []Span{{1, event.Range{First: 20, Next: 51}}}}
	if _, err := Stand(part).Hello(lives, true, true); !errors.As(err, new(*DivergedError)) {
		t.Errorf("more than was written of one incarnation: %v", err)
	}
	if lost, err := Stand(part).Hello(lives, false, true); err != nil || lost != 1 {
		t.Errorf("the same, of a log that may lose: %d, %v", lost, err)
	}
	part.Parts[0] = Span{3, event.Range{First: 20, Next: 30}}
	if _, err := Stand(part).Hello(lives, false, true); !errors.As(err, new(*DivergedError)) {
		t.Errorf("an incarnation that is not known: %v", err)
	}
	if _, err := Begin(lives, part, true); !errors.As(err, new(*DivergedError)) {
		t.Errorf("the same, seen by the sender: %v", err)
	}
	part.Parts[0] = Span{2, event.Range{First: 200, Next: 300}}
	if _, err := Stand(part).Hello(lives, true, false); !errors.Is(err, ErrProtocol) {
		t.Errorf("a stream in parts goes on as a whole: %v", err)
	}
	up := Stand(Holding{})
	if _, err := up.Hello(lives, true, true); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []struct {
		prev    Position
		settled []Span
		s       Span
	}{
		{Position{3, 1}, nil, Span{1, event.Range{Next: 1}}},
		{Position{}, []Span{{3, event.Range{Next: 1}}}, Span{1, event.Range{Next: 1}}},
		{Position{}, make([]Span, hoppb.MaxParts+1), Span{1, event.Range{Next: 1}}},
		{Position{}, nil, Span{1, event.Range{First: 1, Next: 1}}},
	} {
		if _, _, err := up.Judge(wrong.prev, wrong.settled, wrong.s); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	for o := event.Offset(100); ; o += 2 {
		s := Span{2, event.Range{First: o, Next: o + 1}}
		_, after, err := up.Judge(Position{}, nil, s)
		if err != nil {
			if !errors.Is(err, ErrParts) || len(up.At().Parts) != hoppb.MaxParts {
				t.Errorf("after %d parts: %v", len(up.At().Parts), err)
			}
			break
		}
		up.Take(s, after)
	}
	for _, b := range [][]byte{nil, make([]byte, 15), make([]byte, 17), make([]byte, 16+23)} {
		if _, err := ReadHolding(b); err == nil {
			t.Errorf("%d bytes are taken for what is held", len(b))
		}
	}
}

// An entry that a channel does not take would hold the whole source, with all its upstreams.
func TestTheMostThatIsKeptOfAnUpstreamFitsACursor(t *testing.T) {
	most := Holding{Parts: make([]Span, hoppb.MaxParts)}
	key := Key("edge-1", strings.Repeat("s", hoppb.MaxStream))
	if value := most.Append(nil); len(key) > abi.MaxKey || len(value) > abi.MaxValue {
		t.Errorf("a key of %d bytes of %d, a value of %d bytes of %d", len(key), abi.MaxKey, len(value), abi.MaxValue)
	}
}

// What is settled may reach over offsets that were skipped when a channel was opened: of an incarnation it ends where that ends.
func TestWhatIsSettledEndsWithItsIncarnation(t *testing.T) {
	lives := []Life{{1, 0, 50}, {2, 100, 150}, {3, 200, math.MaxUint64}}
	seq, err := Begin(lives, Holding{}, true)
	if err != nil {
		t.Fatal(err)
	}
	m, err := seq.Next(event.Range{First: 220, Next: 230}, 10, []event.Range{{First: 20, Next: 210}})
	if err != nil {
		t.Fatal(err)
	}
	up := Stand(Holding{})
	if _, err := up.Hello(lives, true, true); err != nil {
		t.Fatal(err)
	}
	span := Span{3, event.Range{First: 220, Next: 230}}
	_, after, err := up.Judge(FromWire(m.Prev), SpansFromWire(m.Settled), span)
	if err != nil {
		t.Fatal(err)
	}
	up.Take(span, after)
	up.Stored(after)
	if _, err := up.Hello(lives, true, true); err != nil {
		t.Errorf("when it comes back: %v", err)
	}
}
