// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

func TestAPoolGivesTheSameBlockAgain(t *testing.T) {
	p := NewPool(1 << 20)
	defer p.Close()
	b := p.Get(100_000)
	if len(b.Bytes()) != 100_000 || b.Trailer() < poolTrailer || p.Used() == 0 {
		t.Fatalf("bytes %d, trailer %d, used %d", len(b.Bytes()), b.Trailer(), p.Used())
	}
	b.Retain()
	b.Release()
	if p.Used() == 0 {
		t.Fatal("a block that is held went back")
	}
	b.Release()
	if c := p.Get(99_000); c != b || len(c.Bytes()) != 99_000 {
		t.Error("a block that is free was not used again")
	}
}

func TestAPoolKeepsNoMoreThanItsBound(t *testing.T) {
	p := NewPool(64 << 10)
	defer p.Close()
	var held []*event.Buffer
	for range 10 {
		held = append(held, p.Get(30_000))
	}
	for _, b := range held {
		b.Release()
	}
	if p.idles > 64<<10 || p.idles == 0 || p.Used() != 0 {
		t.Errorf("idle %d, used %d", p.idles, p.Used())
	}
}

func TestABlockIsAtMostAQuarterLargerThanAsked(t *testing.T) {
	for n := 1; n < 40<<20; n += n/7 + 1 {
		size := blockSize(n)
		if size < n || size%poolMin != 0 || (n > 16*poolMin && size > n+n/4+1) {
			t.Fatalf("block of %d for %d", size, n)
		}
		if blockSize(size) != size {
			t.Fatalf("block size %d is not its own", size)
		}
	}
}
