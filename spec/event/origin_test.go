// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestAnEventGetsOneOriginBehindWhatItHas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"a", OriginStream, OriginNumber, "origin.", "level", ""})
		var in []Event
		w := Builder{Base: 7}
		for i := range rapid.IntRange(0, 20).Draw(t, "events") {
			e := Event{Time: int64(i), Body: []byte(fmt.Sprint("body ", i))}
			for range rapid.IntRange(0, 4).Draw(t, "attributes") {
				e.Attributes = append(e.Attributes, Attribute{names.Draw(t, "name"), rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "value")})
			}
			in = append(in, e)
			if err := w.AppendAt(7+Offset(2*i), &e); err != nil {
				t.Fatal(err)
			}
		}
		o := Origins{Stream: "agent/source.a/1f", Keep: rapid.Bool().Draw(t, "keep"), next: rapid.SampledFrom([]uint64{0, 5, 99, 1 << 63}).Draw(t, "next")}
		next := o.next
		out, err := o.Stamp(Heap{}, w.Batch())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out.Bytes()); err != nil || out.Len() != len(in) {
			t.Fatalf("it is no batch of %d events any more: %d, %v", len(in), out.Len(), err)
		}
		i := 0
		for at, e := range out.All() {
			want, had := in[i], false
			var left []Attribute
			for _, a := range want.Attributes {
				if a.Key == OriginStream || a.Key == OriginNumber {
					had = true
				} else {
					left = append(left, a)
				}
			}
			if had && o.Keep {
				left = want.Attributes
			} else {
				left = append(left, Attribute{OriginStream, []byte(o.Stream)}, Attribute{OriginNumber, []byte(strconv.FormatUint(next, 10))})
				next++
			}
			if at != 7+Offset(2*i) || e.Time != want.Time || !bytes.Equal(e.Body, want.Body) || !sameAttributes(e.Attributes, left) {
				t.Fatalf("event %d became %v at %d, and was %v", i, e, at, want)
			}
			i++
		}
		if o.next != next {
			t.Fatalf("the next number is %d, and not %d", o.next, next)
		}
	})
}

func sameAttributes(a, b []Attribute) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Key != b[i].Key || !bytes.Equal(a[i].Value, b[i].Value) {
			return false
		}
	}
	return true
}

func TestAnEventWithoutRoomForAnOriginStaysAsItIs(t *testing.T) {
	w := Builder{Host: true, Limit: MaxBatch}
	many := Event{Attributes: make([]Attribute, MaxAttributes-1)}
	if err := errors.Join(w.Append(many), w.Append(Event{})); err != nil {
		t.Fatal(err)
	}
	o := Origins{Stream: "s"}
	out, err := o.Stamp(Heap{}, w.Batch())
	if err != nil {
		t.Fatal(err)
	}
	var counts []int
	for _, e := range out.All() {
		counts = append(counts, len(e.Attributes))
	}
	if len(counts) != 2 || counts[0] != MaxAttributes-1 || counts[1] != 2 {
		t.Errorf("they have %d attributes", counts)
	}
	large := Builder{Host: true, Limit: MaxBatch}
	if err := large.Append(Event{Body: make([]byte, MaxBatch-EventMargin-RecordSize)}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Stamp(Heap{}, large.Batch()); !errors.Is(err, ErrTooBig) {
		t.Errorf("what becomes larger than a batch may be: %v", err)
	}
}

func BenchmarkStamp(b *testing.B) {
	var w Builder
	for range 1024 {
		if err := w.Append(Event{Time: 1, Attributes: []Attribute{{"path", []byte("/var/log/shop/a.log")}, {"level", []byte("info")}}, Body: make([]byte, 256)}); err != nil {
			b.Fatal(err)
		}
	}
	o := Origins{Stream: "web-01/source.shop/0123456789abcdef"}
	pool := Heap{}
	b.ReportAllocs()
	for b.Loop() {
		out, err := o.Stamp(pool, w.Batch())
		if err != nil {
			b.Fatal(err)
		}
		out.Release()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024, "ns/event")
}
