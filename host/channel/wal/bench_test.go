// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// The load of the bars: 64 producers, transactions of 100 events of 256 bytes, a flush before each ack.
const (
	benchProducers = 64
	benchEvents    = 100
	benchBody      = 256
	benchRounds    = 5 // the disk is noisy: the median of so many counts
)

func benchSource() []byte { return benchSourceOf(benchEvents) }

func benchSourceOf(events int) []byte {
	w := event.Builder{}
	for i := range events {
		if err := w.Append(event.Event{Time: int64(i), Body: make([]byte, benchBody)}); err != nil {
			panic(err)
		}
	}
	return slices.Clone(w.Bytes())
}

// committer makes one batch durable.
type committer func(producer int, b event.Batch) error

// committers are what BenchmarkCommit compares: the channel at each level, with one flush per transaction, and a bare file that
// is appended to with the same group commit.
var committers = map[string]func(*testing.B, event.Buffers, time.Duration) committer{
	"group": groupCommit, "single": singleCommit, "bare": bareCommit, "interval": atLevel(Interval), "os": atLevel(OS),
}

func atLevel(level Durability) func(*testing.B, event.Buffers, time.Duration) committer {
	return func(b *testing.B, pool event.Buffers, delay time.Duration) committer {
		return groupCommitOn(openBenchAt(b, pool, delay, level))
	}
}

// BenchmarkCommit compares the committers in one run, and in turns.
func BenchmarkCommit(b *testing.B) {
	for _, delay := range []time.Duration{0, 3 * time.Millisecond} {
		b.Run(fmt.Sprintf("flush+%v", delay), func(b *testing.B) {
			rates := map[string][]float64{}
			pool := channel.NewPool(64 << 20)
			defer pool.Close()
			for b.Loop() {
				for range benchRounds {
					for name, open := range committers {
						rates[name] = append(rates[name], produce(b, pool, open(b, pool, delay)))
					}
				}
			}
			median := func(name string) float64 {
				slices.Sort(rates[name])
				return rates[name][len(rates[name])/2]
			}
			b.ReportMetric(median("group"), "tx/s")
			b.ReportMetric(median("group")*benchEvents, "events/s")
			b.ReportMetric(median("group")/median("single"), "x-single")
			b.ReportMetric(median("group")/median("bare"), "x-bare")
			b.ReportMetric(median("interval")/median("group"), "interval-x-fsync")
			b.ReportMetric(median("os")/median("group"), "os-x-fsync")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// produce runs all producers for a while, and returns transactions per second.
func produce(b *testing.B, pool event.Buffers, commit committer) float64 {
	const lasts = 400 * time.Millisecond
	src := benchSource()
	var all sync.WaitGroup
	var done atomic.Int64
	begun := time.Now()
	for p := range benchProducers {
		all.Go(func() {
			for time.Since(begun) < lasts {
				batch, err := event.Copy(pool, src, event.MaxBatch)
				if err == nil {
					err = commit(p, batch)
				}
				if err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(begun).Seconds()
}

func openBench(b *testing.B, pool event.Buffers, delay time.Duration) *Channel {
	return openBenchAt(b, pool, delay, Fsync)
}

func openBenchAt(b *testing.B, pool event.Buffers, delay time.Duration, level Durability) *Channel {
	dir := b.TempDir()
	sys := realSystem(dir)
	if delay > 0 {
		sys = faulty(sys, func(step string) error {
			if step == "fsync" {
				time.Sleep(delay)
			}
			return nil
		})
	}
	c, err := open(Options{Dir: dir, Pool: pool, Durability: level}, sys)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
		os.RemoveAll(dir)
	})
	return c
}

// BenchmarkPut is the path of a put alone, for a profile: go test -run xxx -bench Put$ -cpuprofile put.prof
func BenchmarkPut(b *testing.B) {
	pool := channel.NewPool(64 << 20)
	defer pool.Close()
	commit := groupCommit(b, pool, 0)
	for b.Loop() {
		produce(b, pool, commit)
	}
}

func groupCommit(b *testing.B, pool event.Buffers, delay time.Duration) committer {
	return groupCommitOn(openBench(b, pool, delay))
}

func groupCommitOn(c *Channel) committer {
	return func(producer int, batch event.Batch) error {
		tx, err := c.Begin(context.Background())
		if err != nil {
			return err
		}
		if err := tx.Put(channel.Put{Source: fmt.Sprint("source.", producer), Batch: batch}); err != nil {
			return err
		}
		return tx.Submit()()
	}
}

// singleCommit lets one in at a time, so that each has a flush of its own.
func singleCommit(b *testing.B, pool event.Buffers, delay time.Duration) committer {
	var one sync.Mutex
	commit := groupCommit(b, pool, delay)
	return func(producer int, batch event.Batch) error {
		one.Lock()
		defer one.Unlock()
		return commit(producer, batch)
	}
}

// bareCommit appends the same bytes to one file, with the same kind of group commit and nothing else.
func bareCommit(b *testing.B, _ event.Buffers, delay time.Duration) committer {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		f.Close()
		os.Remove(f.Name())
	})
	bare := &bareLog{f: f, delay: delay, token: make(chan struct{}, 1)}
	return bare.commit
}

type bareLog struct {
	f     *os.File
	delay time.Duration
	token chan struct{} // holds one while somebody leads
	bytes []byte
	err   error
	mu    sync.Mutex
	queue []bareTx
}

type bareTx struct {
	batch event.Batch
	done  chan struct{}
}

func (l *bareLog) commit(_ int, batch event.Batch) error {
	t := bareTx{batch, make(chan struct{})}
	l.mu.Lock()
	l.queue = append(l.queue, t)
	l.mu.Unlock()
	for {
		select {
		case <-t.done:
			return l.err
		case l.token <- struct{}{}:
			l.lead()
			<-l.token
		}
	}
}

func (l *bareLog) lead() {
	l.mu.Lock()
	group := l.queue
	l.queue = nil
	l.mu.Unlock()
	if len(group) == 0 {
		return
	}
	l.bytes = l.bytes[:0]
	for _, t := range group {
		l.bytes = append(l.bytes, t.batch.Buffer().Frame(headerSize, 0)...)
		t.batch.Release()
	}
	_, err := l.f.Write(l.bytes)
	time.Sleep(l.delay)
	l.err = errors.Join(l.err, err, datasync(l.f))
	for _, t := range group {
		close(t.done)
	}
}

// BenchmarkDrain reads a backlog that is not in memory.
func BenchmarkDrain(b *testing.B) {
	const size = 256 << 20
	pool := channel.NewPool(64 << 20)
	defer pool.Close()
	c := openBench(b, pool, 0)
	if _, err := c.Reader(channel.ReaderSpec{Name: "sink.a"}); err != nil {
		b.Fatal(err)
	}
	src := benchSource()
	commit := groupCommitOn(c)
	for n := 0; n < size; n += len(src) * 64 {
		var all sync.WaitGroup
		for p := range benchProducers {
			all.Go(func() {
				batch, err := event.Copy(pool, src, event.MaxBatch)
				if err == nil {
					err = commit(p, batch)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	end := c.state.end
	for i := 0; b.Loop(); i++ {
		r, err := c.Reader(channel.ReaderSpec{Name: fmt.Sprint("sink.x", i)})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
		for r.Info().Low < end {
			l, err := r.Take(context.Background(), channel.Want{Bytes: 1 << 20})
			if err != nil {
				b.Fatal(err)
			}
			if err := l.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
