// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// told is a batch as text, one event a line: what tests compare.
func told(b Batch) string {
	var s strings.Builder
	for o, e := range b.All() {
		fmt.Fprintf(&s, "%d %d", o, e.Time)
		for _, a := range e.Attributes {
			fmt.Fprintf(&s, " %s=%x", a.Key, a.Value)
		}
		fmt.Fprintf(&s, " %x\n", e.Body)
	}
	return s.String()
}

func TestWhatWasAppendedIsReadBack(t *testing.T) {
	events := []Event{
		{Time: -1, Body: []byte("before 1970")},
		{Time: 1<<63 - 1, Attributes: []Attribute{{"", nil}, {"", []byte{0}}, {"ключ", []byte("значение")}}},
		{},
		{Attributes: []Attribute{{"same", []byte("1")}, {"same", []byte("2")}}, Body: bytes.Repeat([]byte{0xff}, 1000)},
		{Attributes: []Attribute{{strings.Repeat("k", maxKey), bytes.Repeat([]byte("v"), 100_000)}}},
	}
	var w Builder
	for range 3 { // the memory is used again
		w.Reset()
		for _, e := range events {
			if err := w.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		if w.Len() != len(events) || w.Size() != len(w.Bytes()) {
			t.Errorf("Len %d, Size %d of %d events in %d bytes", w.Len(), w.Size(), len(events), len(w.Bytes()))
		}
		b, err := Copy(Heap{}, w.Bytes(), MaxBatch)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for o, got := range b.WithBase(100).All() {
			want := events[i]
			same := slices.EqualFunc(got.Attributes, want.Attributes, func(a, b Attribute) bool {
				return a.Key == b.Key && bytes.Equal(a.Value, b.Value)
			})
			for _, a := range got.Attributes {
				if cap(a.Value) != len(a.Value) {
					t.Errorf("who appends to a value of event %d writes into the batch", i)
				}
			}
			if o != Offset(100+i) || got.Time != want.Time || !bytes.Equal(got.Body, want.Body) || !same {
				t.Errorf("event %d came back as %d %+v", i, o, got)
			}
			i++
		}
		if i != len(events) || b.Len() != i {
			t.Errorf("%d events of %d, Len %d", i, len(events), b.Len())
		}
	}
}

func TestTheFirstOfEqualKeysCounts(t *testing.T) {
	e := Event{Attributes: []Attribute{{"a", []byte("1")}, {"b", nil}, {"a", []byte("2")}}}
	if v, ok := e.Attribute("a"); !ok || string(v) != "1" {
		t.Errorf("a is %q, %v", v, ok)
	}
	if v, ok := e.Attribute("b"); !ok || len(v) != 0 {
		t.Errorf("b is %q, %v", v, ok)
	}
	if _, ok := e.Attribute("c"); ok {
		t.Error("c is there")
	}
}

func TestAnEmptyBatchIsAHeader(t *testing.T) {
	var w Builder
	b, err := Copy(Heap{}, w.Bytes(), DefaultBatch)
	if err != nil || b.Len() != 0 || b.Size() != HeaderSize {
		t.Errorf("Len %d, Size %d, %v", b.Len(), b.Size(), err)
	}
	var zero Batch
	if zero.Len() != 0 || zero.Size() != 0 || told(zero) != "" || zero.Buffer() != nil {
		t.Error("the zero batch is not empty")
	}
	zero.Retain() // neither has memory to hold
	zero.Release()
}

func TestABuilderKeepsToItsLimit(t *testing.T) {
	const limit = 1000
	w := Builder{Limit: limit}
	body := make([]byte, limit-EventMargin-RecordSize)
	if err := w.Append(Event{Body: append(body, 0)}); !errors.Is(err, ErrTooBig) {
		t.Errorf("an event over the limit: %v", err)
	}
	if err := w.Append(Event{Body: body}); err != nil {
		t.Errorf("the largest event: %v", err)
	}
	if err := w.Append(Event{Body: make([]byte, EventMargin-HeaderSize)}); !errors.Is(err, ErrFull) {
		t.Errorf("an event that does not fit beside: %v", err)
	}
	if err := w.Append(Event{Body: make([]byte, EventMargin-HeaderSize-RecordSize+1)}); !errors.Is(err, ErrFull) {
		t.Errorf("an event that is one byte too large: %v", err)
	}
	if err := w.Append(Event{Body: make([]byte, EventMargin-HeaderSize-RecordSize)}); err != nil {
		t.Errorf("an event that just fits: %v", err)
	}
	if got := len(w.Bytes()); got != limit {
		t.Errorf("the full batch has %d bytes", got)
	}
	if b := w.Batch(); b.Len() != 2 {
		t.Errorf("%d events", b.Len())
	}
}

func TestAnEventThatNobodyMayEmitIsRefusedByItself(t *testing.T) {
	many := make([]Attribute, GuestAttributes+1)
	for name, c := range map[string]struct {
		attributes  []Attribute
		guest, host bool
	}{
		"a thousand attributes":     {many[:GuestAttributes], true, true},
		"one more":                  {many, false, true},
		"more than a decoder takes": {make([]Attribute, MaxAttributes+1), false, false},
		"a name too long":           {[]Attribute{{strings.Repeat("k", maxKey+1), nil}}, false, false},
		"a name that is not UTF-8":  {[]Attribute{{"a\xff", nil}}, false, false},
		"a name of the host's":      {[]Attribute{{"penstock.dead.reason", nil}}, false, true},
		"nearly one of the host's":  {[]Attribute{{"penstock", nil}, {"penstocks.x", nil}}, true, true},
	} {
		for _, w := range []Builder{{}, {Host: true}} {
			ok := c.guest && !w.Host || c.host && w.Host
			if err := w.Append(Event{Attributes: c.attributes}); ok != (err == nil) || err != nil && !errors.Is(err, ErrEvent) {
				t.Errorf("%s, host %v: %v", name, w.Host, err)
			}
			if w.Len() != 0 != ok {
				t.Errorf("%s, host %v: the builder has %d events", name, w.Host, w.Len())
			}
			if b, err := Copy(Heap{}, w.Bytes(), MaxBatch); !w.Host && err != nil {
				t.Errorf("%s: what the builder made is refused: %v, %v", name, b, err)
			}
		}
	}
}

func TestSealLetsAFlippedBitBeSeen(t *testing.T) {
	b := bytes.Clone(small(t))
	Seal(b, 77)
	got, err := Parse(b)
	if err != nil || got.Base() != 77 {
		t.Fatalf("base %d, %v", got.Base(), err)
	}
	for i := HeaderSize; i < len(b); i++ {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := Parse(b); !errors.Is(err, ErrInvalid) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
	}
}

func TestMemoryIsCountedAndFramed(t *testing.T) {
	freed := 0
	buf := NewBuffer(make([]byte, Headroom+100), 60, func(*Buffer) { freed++ })
	if len(buf.Bytes()) != 60 || cap(buf.Bytes()) != 60 || buf.Cap() != 100 || buf.Trailer() != 40 {
		t.Errorf("%d bytes, cap %d, trailer %d", len(buf.Bytes()), buf.Cap(), buf.Trailer())
	}
	buf.Bytes()[0] = 'x'
	if f := buf.Frame(10, 5); len(f) != 75 || f[10] != 'x' {
		t.Errorf("the frame has %d bytes", len(f))
	}
	buf.Retain()
	buf.Release()
	if freed != 0 {
		t.Error("freed with a hold on it")
	}
	buf.Release()
	if freed != 1 {
		t.Errorf("freed %d times", freed)
	}
	defer func() {
		if recover() == nil {
			t.Error("one release too many went unseen")
		}
	}()
	buf.Release()
}

func TestRangesIntersect(t *testing.T) {
	for _, c := range []struct{ a, b, want Range }{
		{Range{0, 10}, Range{5, 15}, Range{5, 10}},
		{Range{0, 10}, Range{2, 3}, Range{2, 3}},
		{Range{0, 5}, Range{5, 9}, Range{5, 5}},
		{Range{0, 5}, Range{7, 9}, Range{7, 7}},
	} {
		for _, got := range []Range{c.a.Intersect(c.b), c.b.Intersect(c.a)} {
			if got != c.want || got.Empty() != (c.want.First == c.want.Next) {
				t.Errorf("%v with %v is %v, want %v", c.a, c.b, got, c.want)
			}
		}
	}
	if c := (Range{1, 2}).Compare(Range{1, 3}); c >= 0 {
		t.Errorf("compare %d", c)
	}
	if s := (Range{1, 3}).String(); s != "[1,3)" {
		t.Error(s)
	}
}
