// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// entries makes n of a cursor, from that one on, with keys of 80 bytes and values of 16.
func entries(from, n int) event.Cursor {
	c := make(event.Cursor, n)
	for i := range n {
		c[fmt.Sprintf("%080d", from+i)] = fmt.Appendf(nil, "%016d", i)
	}
	return c
}

// put20000 gives source.many 20 000 entries.
func put20000(c *Channel, pool event.Buffers) error {
	return commitCursor(c, pool, benchSource(), entries(0, 20_000))
}

func commitCursor(c *Channel, pool event.Buffers, body []byte, changed event.Cursor) error {
	batch, err := event.Copy(pool, body, event.MaxBatch)
	if err != nil {
		return err
	}
	tx, err := c.Begin(context.Background())
	if err != nil {
		return err
	}
	if err := tx.Put(channel.Put{Source: "source.many", Batch: batch, Changed: changed}); err != nil {
		return err
	}
	return tx.Submit()()
}

// However many entries a cursor has: the log is mostly events, a segment in eight bytes of STATE at most, and it can be
// read back, verified and taken up again.
func TestTwentyThousandEntriesInOneSource(t *testing.T) {
	dir := t.TempDir()
	pool := channel.NewPool(4 << 20)
	defer pool.Close()
	o := Options{Dir: dir, Pool: pool, Durability: OS}
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := put20000(c, pool); err != nil {
		t.Fatal(err)
	}
	source := benchSource()
	for n := 0; len(c.segments) < 5; n++ {
		if err := commitCursor(c, pool, source, entries(n%20_000, 2)); err != nil {
			t.Fatal(err)
		}
	}
	for _, seg := range c.segments[2:4] { // the second grew while it was written
		if seg.state < 20_000*96 || seg.size < statesPerSegment*seg.state || seg.size > maxSegment {
			t.Errorf("a segment of %d bytes with a STATE of %d", seg.size, seg.state)
		}
	}
	want := c.state.cursors.Position("source.many")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Verify(dir, nil)
	if err != nil || !report.Sound() {
		t.Fatalf("%v: %v", err, report.Damage)
	}
	if c, err = Open(o); err != nil {
		t.Fatal(err)
	}
	got, err := c.Cursor(t.Context(), "source.many")
	if err != nil || len(got.Cursor) != 20_000 || fmt.Sprint(got.Cursor) != fmt.Sprint(want.Cursor) {
		t.Errorf("%d entries came back, %v", len(got.Cursor), err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is forgotten is a record like others: STATE is the sum of what was before it.
func TestWhatIsForgottenStaysTheSumOfTheRecords(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		said := new(strings.Builder)
		o := Options{Dir: dir, SegmentSize: 64 << 10, ForgetAfter: 720 * time.Hour, Log: slog.New(slog.NewTextHandler(said, nil))}
		c, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Cursor(t.Context(), "source.many"); err != nil {
			t.Fatal(err)
		}
		source := benchSource()
		for round := range 4 {
			for range 3 { // of a segment each
				if err := commitCursor(c, event.Heap{}, source, entries(100*round, 50)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(721 * time.Hour)
		}
		if n := c.Stats().Forgotten; n != 150 {
			t.Errorf("%d were forgotten, want 150", n)
		}
		if n := strings.Count(said.String(), "source=source.many entries=50"); n != 3 {
			t.Errorf("it was said %d times: %s", n, said)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if report, err := Verify(dir, nil); err != nil || !report.Sound() || report.Segments < 4 {
			t.Errorf("%v, %d segments: %v", err, report.Segments, report.Damage)
		}
		if c, err = Open(o); err != nil {
			t.Fatal(err)
		}
		if got := c.state.cursors.Position("source.many").Cursor; len(got) != 50 || got[fmt.Sprintf("%080d", 300)] == nil {
			t.Errorf("%d entries came back", len(got))
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCursorsInASTATEAreCheckedWhenTheyAreRead(t *testing.T) {
	long, swapped := newState([16]byte{}), newState([16]byte{})
	long.cursors.Change(&channel.CursorChange{Source: "source.a", Changed: event.Cursor{strings.Repeat("k", abi.MaxKey+1): []byte("1")}}, 1)
	if _, err := parseState(&header{}, long.append(nil)); !errors.Is(err, errLength) {
		t.Errorf("a key that is too long: %v", err)
	}
	swapped.cursors.Change(&channel.CursorChange{Source: "source.a", Changed: event.Cursor{"k1": []byte("1"), "k2": []byte("1")}}, 1)
	body := bytes.Replace(swapped.append(nil), []byte("k1"), []byte("k3"), 1)
	if _, err := parseState(&header{}, body); err == nil || !strings.Contains(err.Error(), "not in order") {
		t.Errorf("keys out of order: %v", err)
	}
}

// BenchmarkCursors commits two entries of few and of many, side by side, and rolls and opens with many.
func BenchmarkCursors(b *testing.B) {
	pool := channel.NewPool(64 << 20)
	defer pool.Close()
	source := benchSource()
	for _, n := range []int{2, 20_000} {
		b.Run(fmt.Sprintf("commit 2 of %d", n), func(b *testing.B) {
			c := openBenchAt(b, pool, 0, OS)
			if err := commitCursor(c, pool, source, entries(0, n)); err != nil {
				b.Fatal(err)
			}
			two := entries(0, 2)
			b.ReportAllocs()
			for b.Loop() {
				if err := commitCursor(c, pool, source, two); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("write a STATE of 20000", func(b *testing.B) {
		c := openBenchAt(b, pool, 0, OS)
		if err := put20000(c, pool); err != nil {
			b.Fatal(err)
		}
		buf := make([]byte, 0, c.state.size())
		b.ReportAllocs()
		for b.Loop() {
			c.state.append(buf)
		}
	})
	b.Run("copy a position of 20000", func(b *testing.B) {
		c := openBenchAt(b, pool, 0, OS)
		if err := put20000(c, pool); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Cursor(b.Context(), "source.many"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("open with 20000", func(b *testing.B) {
		o := Options{Dir: b.TempDir(), Pool: pool}
		defer os.RemoveAll(o.Dir)
		c, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		if err := put20000(c, pool); err != nil {
			b.Fatal(err)
		}
		took := time.Duration(0)
		for b.Loop() {
			if err := c.Close(); err != nil {
				b.Fatal(err)
			}
			begun := time.Now()
			if c, err = Open(o); err != nil {
				b.Fatal(err)
			}
			took += time.Since(begun)
		}
		b.ReportMetric(float64(took.Microseconds())/float64(b.N)/1000, "ms/open")
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	})
}
