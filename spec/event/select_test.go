// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// numbered is a batch of n events from base, whose bodies say their offsets.
func numbered(t testing.TB, base Offset, n int) Batch {
	t.Helper()
	var w Builder
	for i := range n {
		e := Event{Time: int64(i), Attributes: []Attribute{{"n", []byte{byte(i)}}}, Body: fmt.Appendf(nil, "%d", base+Offset(i))}
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	b, err := Copy(Heap{}, w.Bytes(), MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	return b.WithBase(base)
}

// sound checks what every result of joining must be, and returns its offsets.
func sound(t *testing.T, b Batch, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	framed := bytes.Clone(b.Bytes())
	if p, err := Parse(framed); err != nil || p.Base() != b.Base() {
		t.Fatalf("the result has base %d and is not valid with base %d: %v", b.Base(), p.Base(), err)
	}
	var s []string
	for o, e := range b.All() {
		s = append(s, fmt.Sprint(o))
		if string(e.Body) != fmt.Sprint(o) || len(e.Attributes) != 1 {
			t.Fatalf("event %d came as %q", o, e.Body)
		}
	}
	if b.Len() != len(s) {
		t.Fatalf("Len %d of %d", b.Len(), len(s))
	}
	b.Release()
	return strings.Join(s, " ")
}

func TestTheLastOffset(t *testing.T) {
	if got := (Batch{base: 7}).Last(); got != 7 {
		t.Errorf("of no events from 7: %d", got)
	}
	b := numbered(t, 1000, 5)
	if got := b.Last(); got != 1004 {
		t.Errorf("of five from 1000: %d", got)
	}
	some, err := Select(Heap{}, func(o Offset) bool { return o != 1004 }, b)
	if err != nil || some.Last() != 1003 {
		t.Errorf("without the last: %d, %v", some.Last(), err)
	}
}

func TestASliceKeepsOffsets(t *testing.T) {
	in := numbered(t, 1000, 5)
	before := told(in)
	for _, c := range []struct {
		r    Range
		want string
	}{
		{Range{0, 2000}, "1000 1001 1002 1003 1004"},
		{Range{1000, 1005}, "1000 1001 1002 1003 1004"},
		{Range{1001, 1003}, "1001 1002"},
		{Range{1004, 1005}, "1004"},
		{Range{1005, 2000}, ""},
		{Range{0, 1000}, ""},
		{Range{1003, 1003}, ""},
	} {
		b, err := Slice(Heap{}, in, c.r)
		if got := sound(t, b, err); got != c.want {
			t.Errorf("%v gives %q, want %q", c.r, got, c.want)
		}
		// A slice of a slice, whose deltas do not begin with 0.
		again, err := Slice(Heap{}, b, Range{1002, 1004})
		want, _ := Slice(Heap{}, in, c.r.Intersect(Range{1002, 1004}))
		if got := sound(t, again, err); got != sound(t, want, nil) {
			t.Errorf("%v and again gives %q", c.r, got)
		}
	}
	if told(in) != before {
		t.Error("the batch was changed")
	}
}

func TestAMergeKeepsOffsets(t *testing.T) {
	middle, err := Slice(Heap{}, numbered(t, 50, 10), Range{53, 55})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says  string
		parts []Batch
		want  string
	}{
		{"nothing", nil, ""},
		{"empty parts", []Batch{{}, numbered(t, 9, 0), {}}, ""},
		{"one", []Batch{numbered(t, 3, 2)}, "3 4"},
		{"several, with gaps and empty ones", []Batch{numbered(t, 3, 2), {}, numbered(t, 5, 1), numbered(t, 9, 0), numbered(t, 90, 2)}, "3 4 5 90 91"},
		{"a part whose deltas do not begin with 0 comes first", []Batch{middle, numbered(t, 60, 1)}, "53 54 60"},
		{"or last", []Batch{numbered(t, 3, 2), middle}, "3 4 53 54"},
		{"as far apart as can be", []Batch{numbered(t, 7, 1), numbered(t, 7+1<<32-1, 1)}, "7 4294967302"},
	} {
		b, err := Merge(Heap{}, c.parts...)
		if got := sound(t, b, err); got != c.want {
			t.Errorf("%s: %q, want %q", c.says, got, c.want)
		}
		b, err = Select(Heap{}, func(Offset) bool { return true }, c.parts...)
		if got := sound(t, b, err); got != c.want {
			t.Errorf("%s, selected: %q, want %q", c.says, got, c.want)
		}
	}
}

func TestASelectionKeepsOffsets(t *testing.T) {
	parts := []Batch{numbered(t, 0, 5), numbered(t, 5, 1), numbered(t, 100, 4)}
	b, err := Select(Heap{}, func(o Offset) bool { return o%2 == 1 }, parts...)
	if got := sound(t, b, err); got != "1 3 5 101 103" {
		t.Errorf("it gives %q", got)
	}
	b, err = Select(Heap{}, func(o Offset) bool { return false }, parts...)
	if got := sound(t, b, err); got != "" {
		t.Errorf("nothing kept gives %q", got)
	}
}

func TestJoinedEventsAreNumberedAnew(t *testing.T) {
	odd, err := Select(Heap{}, func(o Offset) bool { return o%2 == 1 }, numbered(t, 70, 4))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Join(Heap{}, numbered(t, 500, 2), Batch{}, odd, numbered(t, 3, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(Heap{}, b.Bytes(), MaxBatch); err != nil {
		t.Errorf("a channel would not take it: %v", err)
	}
	var got []string
	for o, e := range b.All() {
		got = append(got, fmt.Sprintf("%d:%s", o, e.Body))
	}
	if s := strings.Join(got, " "); s != "0:500 1:501 2:71 3:73" {
		t.Errorf("it gives %q", s)
	}
}

func TestOffsetsThatDoNotFitOneBatchAreRefused(t *testing.T) {
	pool := &counting{}
	for says, parts := range map[string][]Batch{
		"going back":    {numbered(t, 10, 2), numbered(t, 5, 2)},
		"too far apart": {numbered(t, 7, 1), numbered(t, 7+1<<32, 1)},
	} {
		if _, err := Merge(pool, parts...); !errors.Is(err, ErrSpan) {
			t.Errorf("%s: Merge answers %v", says, err)
		}
		if _, err := Select(pool, func(Offset) bool { return true }, parts...); !errors.Is(err, ErrSpan) {
			t.Errorf("%s: Select answers %v", says, err)
		}
	}
	if pool.live != 0 {
		t.Errorf("%d buffers are held", pool.live)
	}
}

func TestAMergeKeepsToTheLargestBatch(t *testing.T) {
	w := Builder{Limit: MaxBatch}
	if err := w.Append(Event{Body: make([]byte, MaxBatch/2)}); err != nil {
		t.Fatal(err)
	}
	half := w.Batch()
	if _, err := Merge(Heap{}, half, half.WithBase(1)); !errors.Is(err, ErrTooBig) {
		t.Errorf("it answers %v", err)
	}
}

func TestNothingIsAllocatedPerBatch(t *testing.T) {
	src := bytes.Clone(lines(t, 64))
	pool := &onePool{}
	b, err := Copy(Heap{}, src, MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	parts := []Batch{b, b.WithBase(64)}
	var w Builder
	var d Decoder
	for name, f := range map[string]func(){
		"Parse": func() { _, _ = Parse(src) },
		"Copy":  func() { b, _ := Copy(pool, src, MaxBatch); b.Release() },
		"Merge": func() { b, _ := Merge(pool, parts...); b.Release() },
		"Slice": func() { b, _ := Slice(pool, b, Range{1, 60}); b.Release() },
		"Decoder and Builder": func() {
			w.Reset()
			for _, e := range d.All(b) {
				_ = w.Append(e)
			}
			_ = w.Bytes()
		},
	} {
		f()
		if n := testing.AllocsPerRun(20, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestRenumberedEventsCountFromNoughtAndTheirParentsAreCounted(t *testing.T) {
	a, err := Slice(Heap{}, ofBodies(t, "a", "b", "c"), Range{1, 3})
	if err != nil {
		t.Fatal(err)
	}
	twice, err := Merge(Heap{}, a.WithBase(7), ofBodies(t, "d").WithBase(9)) // d is of the same offset as c
	if err != nil {
		t.Fatal(err)
	}
	b, parents := Renumber(twice)
	if parents != 2 || b.Base() != 0 || !b.Numbered() || b.Len() != 3 {
		t.Errorf("%d parents, base %d: %s", parents, b.Base(), told(b))
	}
	if b, parents := Renumber(Batch{}); b.Len() != 0 || parents != 0 {
		t.Error("of nothing comes nothing")
	}
}

func ofBodies(t *testing.T, bodies ...string) Batch {
	t.Helper()
	var w Builder
	for _, body := range bodies {
		if err := w.Append(Event{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	return w.Batch()
}

func TestWhatAProcessorMadeIsCheckedAsItIsCopied(t *testing.T) {
	made, err := Slice(Heap{}, ofBodies(t, "a", "b", "c"), Range{1, 3}) // numbered 1, 2
	if err != nil {
		t.Fatal(err)
	}
	if b, err := CopyMade(Heap{}, made.Bytes(), 3); err != nil || told(b) != told(made) {
		t.Errorf("%s, %v", told(b), err)
	}
	if _, err := CopyMade(Heap{}, made.Bytes(), 2); err == nil {
		t.Error("an event is numbered after the last that was given")
	}
	host := Builder{Host: true}
	if err := host.Append(Event{Attributes: []Attribute{{Key: ReservedPrefix + "x"}}}); err != nil {
		t.Fatal(err)
	}
	based := ofBodies(t, "a")
	PutBase(based.Bytes(), 7)
	for name, src := range map[string][]byte{"an attribute of the host's": host.Bytes(), "a base": based.Bytes(), "half a batch": made.Bytes()[:made.Size()-1]} {
		if _, err := CopyMade(Heap{}, src, 9); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
