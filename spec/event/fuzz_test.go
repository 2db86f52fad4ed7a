// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"testing"
)

// seeds are the valid batch, and every broken one.
func seeds(f *testing.F) {
	f.Add(bytes.Clone(small(f)))
	f.Add(sealed(bytes.Clone(small(f))))
	f.Add(new(Builder).Bytes())
	for _, c := range broken {
		f.Add(c.do(bytes.Clone(small(f))))
	}
	for _, c := range hostOnly {
		f.Add(c.do(bytes.Clone(small(f))))
	}
}

// walked counts the events of b and checks that offsets do not decrease.
func walked(t *testing.T, b Batch) (n int) {
	t.Helper()
	last := b.Base()
	for o, e := range b.All() {
		if o < last || len(e.Attributes) > MaxAttributes {
			t.Fatalf("offset %d after %d, %d attributes", o, last, len(e.Attributes))
		}
		last = o
		n++
	}
	if n != b.Len() {
		t.Fatalf("%d events, Len %d", n, b.Len())
	}
	return n
}

// Whatever the bytes, Parse answers, and what it takes can be walked, built again and sliced.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		b, err := Parse(src)
		if err != nil {
			return
		}
		n := walked(t, b)
		w := Builder{Limit: MaxBatch, Host: true}
		for _, e := range b.All() {
			if err := w.Append(e); err != nil {
				return // larger than Builder lets one event be
			}
		}
		if again, err := Parse(w.Bytes()); err != nil || again.Len() != n {
			t.Fatalf("built again it has %d events of %d: %v", again.Len(), n, err)
		}
		if n > 0 {
			half := Range{b.Base() + 1, b.Base() + Offset(n)}
			if s, err := Slice(Heap{}, b, half); err != nil || walked(t, s) > n {
				t.Fatalf("slice: %v", err)
			}
		}
	})
}

// Whatever Copy takes, Parse takes, and it is the same.
func FuzzCopy(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		pool := &counting{}
		b, err := Copy(pool, src, MaxBatch)
		if err != nil {
			if pool.live != 0 {
				t.Fatal("a refused batch is still held")
			}
			return
		}
		p, err := Parse(src)
		if err != nil {
			t.Fatalf("Copy took what Parse refuses: %v", err)
		}
		if !bytes.Equal(b.Bytes(), src) || told(b) != told(p) || b.Sum() != p.Sum() || walked(t, b) != p.Len() {
			t.Fatal("the copy differs")
		}
		i := 0
		for o := range b.All() {
			if o != Offset(i) {
				t.Fatalf("event %d has offset %d", i, o)
			}
			i++
		}
	})
}
