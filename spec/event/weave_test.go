// SPDX-License-Identifier: Apache-2.0

package event

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// said is the bodies of a batch that is numbered 0, 1, 2….
func said(t interface {
	Helper()
	Fatalf(string, ...any)
}, b Batch) string {
	t.Helper()
	if _, err := Parse(b.Bytes()); err != nil || b.Base() != 0 || !b.Numbered() {
		t.Fatalf("base %d, numbered %v, %v", b.Base(), b.Numbered(), err)
	}
	var s []string
	for _, e := range b.All() {
		s = append(s, string(e.Body))
	}
	return strings.Join(s, " ")
}

// made is a batch of what was made of picked events: each body with the place among them that it was made from.
func made(t interface{ Fatalf(string, ...any) }, base Offset, from []uint32, bodies []string) Batch {
	w := Builder{Base: base}
	for i, body := range bodies {
		if err := w.AppendAt(Offset(from[i]), &Event{Body: []byte(body)}); err != nil {
			t.Fatalf("%v", err)
		}
	}
	return w.Batch()
}

func TestWhatIsPickedAndWovenBackIsInItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "events")
		var w Builder
		var places []uint32
		var picked, want []string
		var parts []Batch
		var from []uint32
		var bodies []string
		base := Offset(0)
		for i := range n {
			body := fmt.Sprint(i)
			if err := w.Append(Event{Time: int64(i), Attributes: make([]Attribute, i%3), Body: []byte(body)}); err != nil {
				t.Fatalf("%v", err)
			}
			if rapid.Bool().Draw(t, "kept") {
				want = append(want, body)
				continue
			}
			place := uint32(len(places))
			places, picked = append(places, uint32(i)), append(picked, body)
			if rapid.IntRange(0, 3).Draw(t, "ends a part") == 0 && len(from) > 0 {
				parts = append(parts, made(t, base, from, bodies))
				base, from, bodies = Offset(place), nil, nil
			}
			for k := range rapid.IntRange(0, 3).Draw(t, "made") {
				body := fmt.Sprintf("%d.%d", i, k)
				from, bodies, want = append(from, place), append(bodies, body), append(want, body)
			}
		}
		parts = append(parts, Batch{}, made(t, base, from, bodies))
		b := w.Batch()
		got, err := Pick(Heap{}, b, places)
		if err != nil || said(t, got) != strings.Join(picked, " ") {
			t.Fatalf("picked %q of %v, %v", said(t, got), places, err)
		}
		got, err = Weave(Heap{}, b, places, parts...)
		if err != nil || said(t, got) != strings.Join(want, " ") {
			t.Fatalf("wove %q, want %q, %v", said(t, got), want, err)
		}
		got.Release()
	})
}

func TestNothingIsWovenOfAnEventThatWasNotPicked(t *testing.T) {
	b := numbered(t, 0, 3)
	if _, err := Weave(Heap{}, b, []uint32{1}, made(t, 0, []uint32{1}, []string{"x"})); !errors.Is(err, ErrSpan) {
		t.Errorf("it says %v", err)
	}
}

func TestOffsetsCountsDifferentOnes(t *testing.T) {
	for want, from := range map[int][]uint32{0: nil, 1: {3, 3, 3}, 3: {0, 0, 1, 2, 2}} {
		if got := made(t, 0, from, make([]string, len(from))).Offsets(); got != want {
			t.Errorf("%v: %d", from, got)
		}
	}
}

// Every other event is picked, and put back as it is.
func BenchmarkWeave(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, n int) {
		in, err := Parse(batch)
		if err != nil {
			b.Fatal(err)
		}
		var places []uint32
		for i := 0; i < n; i += 2 {
			places = append(places, uint32(i))
		}
		pools := [2]onePool{}
		for b.Loop() {
			mine, err := Pick(&pools[0], in, places)
			if err != nil {
				b.Fatal(err)
			}
			out, err := Weave(&pools[1], in, places, mine)
			if err != nil {
				b.Fatal(err)
			}
			out.Release()
			mine.Release()
		}
	})
}
