// SPDX-License-Identifier: Apache-2.0

//go:build unix

package wal

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// logBatches are transactions of lines as a web shop logs them, with the attributes of the source file.
func logBatches(b *testing.B, n, lines int) (all [][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	position := uint64(0)
	for range n {
		var w event.Builder
		for range lines {
			line := fmt.Appendf(nil, `10.%d.%d.%d - - [26/Nov/2026:12:%02d:%02d +0000] "GET /products/%d?ref=%x HTTP/1.1" %d %d "https://shop.example/search?page=%d" "Mozilla/5.0 (X11; Linux x86_64; rv:1%d.0) Firefox/1%d.0" %dms`,
				r.IntN(4), r.IntN(256), r.IntN(256), r.IntN(60), r.IntN(60), r.IntN(5000), r.Uint32(), []int{200, 200, 200, 304, 404, 500}[r.IntN(6)],
				r.IntN(90000), r.IntN(40), r.IntN(40), r.IntN(40), r.IntN(900))
			position += uint64(len(line)) + 1
			err := w.Append(event.Event{Time: int64(position), Body: line, Attributes: []event.Attribute{
				{Key: "file.path", Value: []byte("/var/log/shop/access.log")}, {Key: "file.position", Value: binary.LittleEndian.AppendUint64(nil, position)}}})
			if err != nil {
				b.Fatal(err)
			}
		}
		all = append(all, slices.Clone(w.Bytes()))
	}
	return all
}

// spent is the processor time of this process.
func spent(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStorage compares, in turns, what compression and encryption cost: put with a flush before each acknowledgement,
// and drained from the page cache by one reader. Figures are medians, of the bytes that were put.
func BenchmarkStorage(b *testing.B) {
	const producers, rounds, lines = 8, 5, 1000
	batches := logBatches(b, 160, lines)
	total := 0
	for _, src := range batches {
		total += len(src)
	}
	figures := map[string][]float64{}
	add := func(name, what string, v float64) { figures[name+"-"+what] = append(figures[name+"-"+what], v) }
	all := append([]storage{{name: "plain"}}, storages...)
	gib := float64(total) / (1 << 30)
	for b.Loop() {
		for range rounds {
			for _, s := range all {
				pool := channel.NewPool(64 << 20)
				o := Options{Dir: b.TempDir(), Pool: pool}
				s.apply(&o)
				c := opened(b, o)
				begun, cpu := time.Now(), spent(b)
				putAll(b, c, pool, batches, producers)
				add(s.name, "put-MiB/s", gib*1024/time.Since(begun).Seconds())
				add(s.name, "put-cpu-s/GiB", (spent(b)-cpu).Seconds()/gib)
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				c = opened(b, o)
				begun, cpu = time.Now(), spent(b)
				drainAll(b, c)
				add(s.name, "drain-MiB/s", gib*1024/time.Since(begun).Seconds())
				add(s.name, "drain-cpu-s/GiB", (spent(b)-cpu).Seconds()/gib)
				stored := int64(0)
				for _, seg := range c.segments {
					stored += seg.size
				}
				add(s.name, "stored/put", float64(stored)/float64(total))
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
				pool.Close() //nolint:errcheck // it never fails
			}
		}
	}
	for name, list := range figures {
		slices.Sort(list)
		b.ReportMetric(list[len(list)/2], strings.ReplaceAll(name, ", ", "+"))
	}
	b.ReportMetric(0, "ns/op")
}

func opened(b *testing.B, o Options) *Channel {
	c, err := Open(o)
	if err == nil {
		_, err = c.Reader(channel.ReaderSpec{Name: "sink.a"})
	}
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// putAll commits all batches, each in a transaction of its own.
func putAll(b *testing.B, c *Channel, pool event.Buffers, batches [][]byte, producers int) {
	commit := groupCommitOn(c)
	var all sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			for i := p; i < len(batches); i += producers {
				batch, err := event.Copy(pool, batches[i], event.MaxBatch)
				if err == nil {
					err = commit(p, batch)
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// drainAll reads all that is there as a reader that is new.
func drainAll(b *testing.B, c *Channel) {
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.b"})
	if err != nil {
		b.Fatal(err)
	}
	for r.Info().Waiting > 0 {
		l, err := r.Take(context.Background(), channel.Want{Bytes: 1 << 20})
		if err == nil {
			err = l.Commit()
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
