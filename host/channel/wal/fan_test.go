// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// fan are readers that take and commit all that comes.
type fan struct {
	readers []channel.Reader
	stop    context.CancelFunc
	all     sync.WaitGroup
	events  atomic.Uint64 // committed, of all of them
	done    chan struct{} // closed when that is want
	want    uint64
	err     atomic.Pointer[error]
}

func openFan(tb testing.TB, c *Channel, readers int) *fan {
	tb.Helper()
	f := &fan{done: make(chan struct{})}
	for i := range readers {
		r, err := c.Reader(channel.ReaderSpec{Name: fmt.Sprint("sink.", i), Order: channel.InOrder})
		if err != nil {
			tb.Fatal(err)
		}
		f.readers = append(f.readers, r)
	}
	return f
}

// run reads until all have committed that many events. The caller calls finish.
func (f *fan) run(events uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	f.stop, f.want = cancel, events*uint64(len(f.readers))
	for _, r := range f.readers {
		f.all.Go(func() {
			if err := f.read(ctx, r); err != nil && ctx.Err() == nil {
				f.err.Store(&err)
				cancel()
			}
		})
	}
	f.all.Go(func() {
		select {
		case <-f.done:
			cancel()
		case <-ctx.Done():
		}
	})
}

// read takes as much as sinks take unless a pipeline file says otherwise.
func (f *fan) read(ctx context.Context, r channel.Reader) error {
	for {
		l, err := r.Take(ctx, channel.Want{Events: 4096, Bytes: 1 << 20})
		if err != nil {
			return err
		}
		n := uint64(l.Delivery().Batch.Len())
		if err := l.Commit(); err != nil {
			return err
		}
		if f.events.Add(n) == f.want {
			close(f.done)
		}
	}
}

// finish waits until all is committed.
func (f *fan) finish() error {
	f.all.Wait()
	f.stop()
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

func TestACommitIsFlushedOnceHoweverManyRead(t *testing.T) {
	const commits = 200
	pool := channel.NewPool(64 << 20)
	defer pool.Close()
	var flushes atomic.Int64
	dir := t.TempDir()
	sys := faulty(realSystem(dir), func(step string) error {
		if step == "fsync" {
			flushes.Add(1)
		}
		return nil
	})
	c, err := open(Options{Dir: dir, Pool: pool}, sys)
	if err != nil {
		t.Fatal(err)
	}
	f := openFan(t, c, 8)
	before := flushes.Load()
	f.run(commits * benchEvents)
	commit, src := groupCommitOn(c), benchSource()
	for range commits {
		batch, err := event.Copy(pool, src, event.MaxBatch)
		if err == nil {
			err = commit(0, batch)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.finish(); err != nil {
		t.Fatal(err)
	}
	if got := flushes.Load() - before; got != commits {
		t.Errorf("%d commits, one after the other, that eight readers read: %d flushes of the log", commits, got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// fanCost is what it took to put events and to have all readers commit them.
type fanCost struct{ put, all, cpu time.Duration }

// fanLoad is what is put: so many batches of so many events by each of so many producers.
type fanLoad struct{ producers, batches, events int }

func (l fanLoad) total() uint64 { return uint64(l.producers * l.batches * l.events) }

// out puts the load into a channel of its own, and counts until all readers have committed it.
func (l fanLoad) out(b *testing.B, pool event.Buffers, readers int) (cost fanCost) {
	dir := b.TempDir()
	c, err := Open(Options{Dir: dir, Pool: pool, Capacity: channel.Capacity{Bytes: 4 << 30}})
	if err != nil {
		b.Fatal(err)
	}
	f := openFan(b, c, readers)
	src := benchSourceOf(l.events)
	commit := groupCommitOn(c)
	begun, cpu := time.Now(), processorTime()
	f.run(l.total())
	var all sync.WaitGroup
	for p := range l.producers {
		all.Go(func() {
			for range l.batches {
				batch, err := event.Copy(pool, src, event.MaxBatch)
				if err == nil {
					err = commit(p, batch)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	cost.put = time.Since(begun)
	err = f.finish()
	cost.all, cost.cpu = time.Since(begun), processorTime()-cpu
	if err := errors.Join(err, c.Close(), os.RemoveAll(dir)); err != nil {
		b.Fatal(err)
	}
	return cost
}

// BenchmarkFanOut compares eight readers with one, in turns. The figures are medians: x-put of the time until all is acknowledged, x-all of that until all
// is read, x-cpu of the processor time of all of it. "large" is a source that reads files, with two batches on their way to disk; "small" is the load of
// the other bars, where what a reader takes is gathered from many records.
func BenchmarkFanOut(b *testing.B) {
	for name, load := range map[string]fanLoad{"large": {2, 200, 2048}, "small": {benchProducers, 100, benchEvents}} {
		b.Run(name, func(b *testing.B) {
			pool := channel.NewPool(64 << 20)
			defer pool.Close()
			load.out(b, pool, 1) // fills the pool
			figures := map[string][]float64{}
			note := func(unit string, v float64) { figures[unit] = append(figures[unit], v) }
			for i := 0; b.Loop(); i++ {
				costs := map[int]fanCost{}
				for n := range 2 {
					readers := []int{1, 8}[(i+n)%2]
					costs[readers] = load.out(b, pool, readers)
				}
				one, eight := costs[1], costs[8]
				note("x-put", float64(eight.put)/float64(one.put))
				note("x-all", float64(eight.all)/float64(one.all))
				note("x-cpu", float64(eight.cpu)/float64(one.cpu))
				note("events/s", float64(load.total())/eight.all.Seconds())
			}
			for unit, list := range figures {
				slices.Sort(list)
				b.ReportMetric(list[len(list)/2], unit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
