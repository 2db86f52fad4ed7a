// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"testing"
)

// line is the event that benchmarks are made of: a body of 256 bytes and two attributes.
func line(i int) Event {
	return Event{
		Time: int64(i),
		Attributes: []Attribute{
			{Key: "file.path", Value: []byte("/var/log/shop/orders.log")},
			{Key: "file.position", Value: []byte{0, 1, 2, 3, 4, 5, 6, byte(i)}},
		},
		Body: bytes.Repeat([]byte{'x'}, 256),
	}
}

// lines encodes n of them.
func lines(t testing.TB, n int) []byte {
	var w Builder
	for i := range n {
		if err := w.Append(line(i)); err != nil {
			t.Fatal(err)
		}
	}
	return w.Bytes()
}

// onePool gives the same buffer again as soon as it is free.
type onePool struct{ b *Buffer }

func (p *onePool) Get(n int) *Buffer {
	if b := p.b; b != nil && n <= b.Cap() {
		p.b = nil
		b.Reset(n)
		return b
	}
	return NewBuffer(make([]byte, Headroom+n+512), n, func(b *Buffer) { p.b = b })
}

// each runs f for batches of several sizes; f handles one batch and is counted in events.
func each(b *testing.B, f func(b *testing.B, batch []byte, n int)) {
	for _, c := range []struct {
		name string
		n    int
	}{{"64", 64}, {"4096", 4096}} {
		b.Run(c.name, func(b *testing.B) {
			batch := lines(b, c.n)
			b.ReportAllocs()
			b.SetBytes(int64(len(batch)))
			f(b, batch, c.n)
			b.ReportMetric(float64(c.n)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}

func BenchmarkCopy(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, _ int) {
		pool := &onePool{}
		for b.Loop() {
			got, err := Copy(pool, batch, MaxBatch)
			if err != nil {
				b.Fatal(err)
			}
			got.Release()
		}
	})
}

func BenchmarkParse(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, _ int) {
		for b.Loop() {
			if _, err := Parse(batch); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, _ int) {
		in, err := Parse(batch)
		if err != nil {
			b.Fatal(err)
		}
		var d Decoder
		for b.Loop() {
			for _, e := range d.All(in) {
				if len(e.Body) != 256 {
					b.Fatal(len(e.Body))
				}
			}
		}
	})
}

// A forward decodes every event and builds it again: what a processor that changes nothing does.
func BenchmarkForward(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, n int) {
		in, err := Parse(batch)
		if err != nil {
			b.Fatal(err)
		}
		var d Decoder
		w := Builder{Limit: MaxBatch}
		for b.Loop() {
			w.Reset()
			for _, e := range d.All(in) {
				if err := w.Append(e); err != nil {
					b.Fatal(err)
				}
			}
			if len(w.Bytes()) != len(batch) {
				b.Fatal(w.Len(), n)
			}
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	pool := &onePool{}
	var parts []Batch
	next := Offset(0)
	for range 16 {
		p, err := Parse(lines(b, 64))
		if err != nil {
			b.Fatal(err)
		}
		parts = append(parts, p.WithBase(next))
		next += 64
	}
	b.ReportAllocs()
	for b.Loop() {
		got, err := Merge(pool, parts...)
		if err != nil {
			b.Fatal(err)
		}
		got.Release()
	}
	b.ReportMetric(16*64*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkSlice(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, n int) {
		pool := &onePool{}
		in, err := Parse(batch)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			got, err := Slice(pool, in, Range{Offset(n / 4), Offset(n)})
			if err != nil {
				b.Fatal(err)
			}
			got.Release()
		}
	})
}

// Of every two events one is left out.
func BenchmarkSelect(b *testing.B) {
	each(b, func(b *testing.B, batch []byte, _ int) {
		pool := &onePool{}
		in, err := Parse(batch)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			got, err := Select(pool, func(o Offset) bool { return o%2 == 0 }, in)
			if err != nil {
				b.Fatal(err)
			}
			got.Release()
		}
	})
}
