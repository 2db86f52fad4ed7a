// SPDX-License-Identifier: Apache-2.0

package hop

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// path is a sender, a network and a receiver in small. What is put is a range of events, each of which is its offset.
type path struct {
	lives   []Life
	written event.Offset // of the newest life
	events  []event.Offset

	seq  *Sequence // nil: there is no call
	next int       // index in events of what is sent next
	wire []message

	up     *Upstream
	flight []message // taken, and not on disk
	disk   []event.Offset
	have   Holding
	back   []reply
	held   int // events that the sender has committed
}

type message struct {
	*hoppb.Message
	body  []event.Offset
	after Holding // when it is on disk
}

func (m message) span() Span {
	return Span{m.Incarnation, event.Range{First: event.Offset(m.First), Next: event.Offset(m.Next)}}
}

// arrive has a receiver judge a message, and says whether it takes it.
func (m *message) arrive(t *rapid.T, up *Upstream) bool {
	t.Helper()
	v, after, err := up.Judge(FromWire(m.Prev), SpansFromWire(m.Settled), m.span())
	if err != nil {
		t.Fatal(err)
	}
	if m.after = after; v == Put {
		up.Take(m.span(), after)
	}
	return v == Put
}

type reply struct {
	messages uint64
	again    bool
}

func (p *path) hangUp() { p.seq, p.wire, p.back = nil, nil, nil }

// call connects anew; what was taken before has its outcome.
func (p *path) call(t *rapid.T) {
	p.hangUp()
	p.store(len(p.flight))
	if _, err := p.up.Hello(p.lives, true, false); err != nil {
		t.Fatalf("hello: %v", err)
	}
	seq, err := Begin(p.lives, p.up.Have(), false)
	if err != nil {
		t.Fatal(err)
	}
	p.seq = seq
	for p.next = 0; p.next < len(p.events); p.next++ {
		if !slices.ContainsFunc(seq.Held(), func(s Span) bool { return within(s, p.events[p.next]) }) {
			break
		}
	}
	p.held = max(p.held, p.next)
}

func (p *path) send(n, skip int) {
	n = min(n, len(p.events)-p.next)
	if p.seq == nil || n == 0 {
		return
	}
	body := p.events[p.next : p.next+n]
	life := p.lives[0]
	for _, l := range p.lives {
		if l.First <= body[0] {
			life = l
		}
	}
	for i, o := range body { // a lease is of one incarnation
		if o > life.Next && life.ID != p.lives[len(p.lives)-1].ID {
			body = body[:i]
			break
		}
	}
	r := event.Range{First: body[0], Next: body[len(body)-1] + 1}
	m, err := p.seq.Next(r, 0, nil)
	if err != nil {
		panic(err)
	}
	p.next += len(body)
	p.wire = append(p.wire, message{Message: m, body: body})
}

func (p *path) deliver(t *rapid.T) {
	if len(p.wire) == 0 {
		return
	}
	m := p.wire[0]
	p.wire = p.wire[1:]
	if m.arrive(t, p.up) {
		p.flight = append(p.flight, m)
	}
}

// store makes the first n that are in flight durable.
func (p *path) store(n int) {
	for _, m := range p.flight[:min(n, len(p.flight))] {
		p.disk = append(p.disk, m.body...)
		p.have = stored(m.after)
		p.up.Stored(p.have)
	}
	p.flight = p.flight[min(n, len(p.flight)):]
}

// stored is a holding as it comes back from a cursor.
func stored(h Holding) Holding {
	back, err := ReadHolding(h.Append(nil))
	if err != nil {
		panic(err)
	}
	return back
}

func (p *path) answer(t *rapid.T) {
	if n, again, ok := p.up.Answer(); ok && p.seq != nil {
		p.back = append(p.back, reply{n, again})
	}
	if len(p.back) == 0 || p.seq == nil {
		return
	}
	a := p.back[0]
	p.back = p.back[1:]
	if _, err := p.seq.Answered(a.messages); err != nil {
		t.Fatal(err)
	}
	for p.held < len(p.events) && slices.Contains(p.disk, p.events[p.held]) {
		p.held++
	}
	if a.again {
		p.hangUp()
	}
}

func (p *path) check(t *rapid.T) {
	want := p.events[:min(len(p.disk), len(p.events))]
	if !slices.Equal(p.disk, want) {
		t.Fatalf("on disk is %v, of what was written %v", p.disk, p.events)
	}
	if p.held > len(p.disk) {
		t.Fatalf("%d are committed, and %d are on disk", p.held, len(p.disk))
	}
}

func TestEachEventArrivesOnceWhateverIsCutKilledOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &path{lives: []Life{{ID: 7}}, up: Stand(Holding{})}
		some := rapid.IntRange(1, 3)
		t.Repeat(map[string]func(*rapid.T){
			"": p.check,
			"write": func(t *rapid.T) {
				last := &p.lives[len(p.lives)-1]
				last.Next += event.Offset(rapid.IntRange(0, 2).Draw(t, "gap")) // left out by a filter
				for range some.Draw(t, "events") {
					p.events = append(p.events, last.Next)
					last.Next++
				}
			},
			"call":    p.call,
			"send":    func(t *rapid.T) { p.send(some.Draw(t, "n"), 0) },
			"deliver": p.deliver,
			"store":   func(t *rapid.T) { p.store(some.Draw(t, "n")) },
			"answer":  p.answer,
			"cut":     func(*rapid.T) { p.hangUp() },
			"a put is refused, and all after it": func(*rapid.T) {
				p.flight = nil
				p.up.Refused()
				p.hangUp()
			},
			"the receiver is killed": func(*rapid.T) {
				p.hangUp()
				p.flight, p.up = nil, Stand(p.have)
			},
			"the sender is killed": func(*rapid.T) {
				p.hangUp()
				last := p.lives[len(p.lives)-1]
				first := (last.Next/100 + 1) * 100
				p.lives = append(p.lives, Life{ID: last.ID + 1, First: first, Next: first})
				p.held = 0 // it may have written none of its positions
			},
		})
		p.hangUp()
		p.call(t)
		for p.next < len(p.events) {
			p.send(2, 0)
			p.deliver(t)
			p.store(1)
			p.answer(t)
			if p.seq == nil {
				p.call(t)
			}
		}
		for range p.events {
			p.deliver(t)
			p.store(1)
			p.answer(t)
		}
		p.check(t)
		if p.held != len(p.events) {
			t.Fatalf("at the end %d of %d are committed", p.held, len(p.events))
		}
	})
}

func TestWhoHoldsWhatTheSenderDoesNotKnowHasDiverged(t *testing.T) {
	two := []Life{{1, 0, 50}, {2, 100, 150}}
	for _, c := range []struct {
		says     string
		have     Position
		durable  bool
		diverged bool
		lost     uint64
	}{
		{"nothing yet", Position{}, true, false, 0},
		{"within what was written", Position{1, 50}, true, false, 0},
		{"at the end", Position{2, 150}, true, false, 0},
		{"an incarnation that is not known", Position{3, 10}, false, true, 0},
		{"more than was written, on a durable log", Position{1, 60}, true, true, 0},
		{"more than is left after a power cut", Position{1, 60}, false, false, 10},
		{"more of the newest, which would be numbered again", Position{2, 151}, false, true, 0},
	} {
		lost, err := Stand(Holding{Have: c.have}).Hello(two, c.durable, false)
		if _, diverged := errors.AsType[*DivergedError](err); diverged != c.diverged || lost != c.lost {
			t.Errorf("%s: lost %d, error %v", c.says, lost, err)
		}
	}
	for _, wrong := range [][]Life{nil, {{0, 0, 1}}, {{1, 0, 5}, {1, 10, 12}}, {{1, 0, 5}, {2, 4, 9}}, {{1, 5, 4}}} {
		if _, err := Stand(Holding{}).Hello(wrong, true, false); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

func TestWhatIsNotOfTheHelloIsRefused(t *testing.T) {
	u := Stand(Holding{})
	if _, err := u.Hello([]Life{{1, 0, 50}, {2, 100, 150}}, true, false); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id uint64
		r  event.Range
	}{{3, event.Range{First: 1, Next: 2}}, {1, event.Range{First: 49, Next: 51}}, {2, event.Range{First: 99, Next: 101}}, {2, event.Range{First: 120, Next: 110}}, {0, event.Range{}}} {
		if _, _, err := u.Judge(Position{}, nil, Span{c.id, c.r}); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v of %d: %v", c.r, c.id, err)
		}
	}
}

func TestAnIdentityIsThatOfTheCertificate(t *testing.T) {
	uri, _ := url.Parse("spiffe://shop/edge")
	for want, c := range map[string]*x509.Certificate{
		"spiffe://shop/edge": {URIs: []*url.URL{uri}, Subject: pkix.Name{CommonName: "edge"}},
		"edge":               {Subject: pkix.Name{CommonName: "edge"}, DNSNames: []string{"a"}},
		"a":                  {DNSNames: []string{"a", "b"}},
		"":                   {},
	} {
		if got := Identity(c); got != want {
			t.Errorf("identity %q, want %q", got, want)
		}
	}
	for _, c := range []struct {
		pattern, identity string
		want              bool
	}{
		{"edge", "edge", true}, {"edge", "edge2", false}, {"edge-*", "edge-1", true}, {"edge-*", "xedge-1", false}, {"*.shop", "a.b.shop", true},
		{"a*b*c", "abc", true}, {"a*b*c", "acb", false}, {"ab*ba", "aba", false}, {"*", "x", true}, {"*", "", false},
	} {
		if got := Allowed([]string{"other", c.pattern}, c.identity); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.identity, got)
		}
	}
	if Key("a", "s") == Key("b", "s") || Key("a", "s") == Key("a", "t") {
		t.Error("two upstreams share a key")
	}
}

func within(s Span, o event.Offset) bool { return s.Range.First <= o && o < s.Range.Next }
