// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// someEvents are events of all sorts, numbered from base, some numbers left out and some given twice.
func someEvents(t testing.TB, r *rand.Rand, base Offset, n int) Batch {
	w := Builder{Base: base}
	at := base
	for i := range n {
		e := Event{Time: r.Int64(), Body: bytes.Repeat([]byte{byte(i)}, r.IntN(40))}
		for a := range r.IntN(4) {
			e.Attributes = append(e.Attributes, Attribute{fmt.Sprint("k", a%3), bytes.Repeat([]byte("v"), r.IntN(9))})
		}
		if err := w.AppendAt(at, &e); err != nil {
			t.Fatal(err)
		}
		at += Offset(r.IntN(3))
	}
	return w.Batch()
}

func TestADecoderTellsWhatAllTells(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, b := range []Batch{someEvents(t, r, 70, 100), someEvents(t, r, 0, 1), someEvents(t, r, 1, 0), {}} {
		var d Decoder
		d.Reset(b)
		n := 0
		for at, e := range b.All() {
			if !d.Next() {
				t.Fatalf("it ends before event %d", n)
			}
			if got := (Event{d.Time(), d.Attributes(), d.Body()}); d.Offset() != at || !reflect.DeepEqual(got, e) || !reflect.DeepEqual(*d.Event(), e) {
				t.Fatalf("event %d is %v at %d, want %v at %d", n, got, d.Offset(), e, at)
			}
			for _, key := range []string{"k0", "k1", "k2", "", "k"} {
				want, is := e.Attribute(key)
				if got, ok := d.Attribute(key); ok != is || !bytes.Equal(got, want) {
					t.Errorf("event %d: %s is %q, %v, want %q, %v", n, key, got, ok, want, is)
				}
			}
			n++
		}
		if d.Next() || n != b.Len() {
			t.Errorf("it does not end after %d events of %d", n, b.Len())
		}
	}
}

// What is kept, appended, left out and done twice in any order is in the batch as if each event had been appended.
func TestKeepingIsAppending(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var w, plain Builder
	for range 3000 {
		in := someEvents(t, r, Offset(r.IntN(3)*100), r.IntN(12))
		w.Reset()
		plain.Reset()
		w.Base, plain.Base = in.Base(), in.Base()
		var did []string
		append1 := func(e *Keeper) {
			must(t, w.AppendAt(e.Offset(), e.Event()))
			must(t, plain.AppendAt(e.Offset(), e.Event()))
		}
		for e := w.Each(in); e.Next(); {
			for range 1 + r.IntN(2) {
				switch do := r.IntN(5); do {
				case 0, 1, 2:
					e.Keep()
					must(t, plain.AppendAt(e.Offset(), e.Event()))
					did = append(did, "keep")
				case 3:
					append1(e)
					did = append(did, "append")
				}
			}
			did = append(did, "next")
			if w.Len() != plain.Len() || w.Size() != plain.Size() {
				t.Fatalf("%v: %d events, %d bytes, want %d, %d", did, w.Len(), w.Size(), plain.Len(), plain.Size())
			}
		}
		if got, err := Parse(w.Bytes()); err != nil || !bytes.Equal(got.Bytes(), plain.Bytes()) {
			t.Fatalf("%v: %v: the batch is another", did, err)
		}
		if b := w.Batch(); b.Base() != in.Base() {
			t.Fatalf("it counts from %d, want %d", b.Base(), in.Base())
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A second walk over the same batch begins where nothing was kept, though it lies in the same memory.
func TestASecondWalkKeepsNothingOfTheFirst(t *testing.T) {
	in := someEvents(t, rand.New(rand.NewPCG(5, 6)), 0, 6)
	var w Builder
	for e := w.Each(in); e.Next(); {
	}
	for i, e := 0, w.Each(in); e.Next(); i++ {
		if i == 3 || i == 4 {
			e.Keep()
		}
	}
	var want, got []Event
	for _, e := range in.All() {
		want = append(want, Event{e.Time, slices.Clone(e.Attributes), e.Body})
	}
	for _, e := range w.Batch().All() {
		got = append(got, Event{e.Time, slices.Clone(e.Attributes), e.Body})
	}
	if !reflect.DeepEqual(got, want[3:5]) {
		t.Fatalf("kept %v, want %v", got, want[3:5])
	}
	w.Reset()
	if w.Len() != 0 || w.Size() != HeaderSize {
		t.Errorf("after Reset there are %d events in %d bytes", w.Len(), w.Size())
	}
}

// What is kept may go over the limit, since it is no more than what came in; what is appended to it may not.
func TestWhatIsKeptCountsForTheLimit(t *testing.T) {
	var in Builder
	must(t, in.Append(Event{Body: make([]byte, 900)}))
	w := Builder{Limit: 1000}
	e := w.Each(in.Batch())
	e.Next()
	e.Keep()
	if err := w.AppendEvent(&Event{Body: make([]byte, 200)}); !errors.Is(err, ErrFull) {
		t.Errorf("append beside what was kept: %v, want %v", err, ErrFull)
	}
	if w.Len() != 1 {
		t.Errorf("there are %d events, want 1", w.Len())
	}
}

func TestAppendAtTakesOffsetsInOrder(t *testing.T) {
	w := Builder{Base: 10}
	must(t, w.AppendAt(12, &Event{}))
	for _, at := range []Offset{11, 9, 10 + 1<<32} {
		if err := w.AppendAt(at, &Event{}); !errors.Is(err, ErrSpan) {
			t.Errorf("at %d: %v, want %v", at, err, ErrSpan)
		}
	}
	must(t, w.AppendAt(12, &Event{}))
}

// A batch whose offsets count from elsewhere cannot be kept: its events would get numbers of others.
func TestKeepingCountsFromOneBase(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it walks a batch of another base")
		}
	}()
	in := someEvents(t, rand.New(rand.NewPCG(7, 8)), 5, 1)
	new(Builder).Each(in)
}
