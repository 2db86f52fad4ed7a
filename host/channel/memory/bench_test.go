// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/spec/event"
)

// BenchmarkThrough moves batches from producers to one reader: of 100 events of 256 B as they are, and joined to 4096.
func BenchmarkThrough(b *testing.B) {
	for _, c := range []struct {
		name      string
		producers int
		want      channel.Want
	}{
		{"1 producer, as they are", 1, channel.Want{Events: 100}},
		{"64 producers, as they are", 64, channel.Want{Events: 100}},
		{"64 producers, joined", 64, channel.Want{Events: 4096, Bytes: 2 << 20}},
	} {
		b.Run(c.name, func(b *testing.B) { through(b, c.producers, c.want) })
	}
}

const perBatch = 100

func through(b *testing.B, producers int, want channel.Want) {
	pool := channel.NewPool(64 << 20)
	defer pool.Close()
	c := memory.New(memory.Options{Capacity: channel.Capacity{Bytes: 32 << 20}, Pool: pool})
	defer c.Close()
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.bench"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() { produce(b, c, pool, b.N/producers+min(1, max(0, b.N%producers-p))) })
	}
	for left := b.N * perBatch; left > 0; {
		l, err := r.Take(context.Background(), want)
		if err != nil {
			b.Fatal(err)
		}
		left -= l.Delivery().Batch.Len()
		if err := l.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)*perBatch/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

// produce commits n batches. What is measured is the channel: the batch's bytes are not copied anew each time.
func produce(b *testing.B, c *memory.Channel, pool event.Buffers, n int) {
	var w event.Builder
	for range perBatch {
		if err := w.Append(event.Event{Body: bytes.Repeat([]byte{'x'}, 256)}); err != nil {
			b.Error(err)
			return
		}
	}
	batch, err := event.Copy(pool, w.Bytes(), event.MaxBatch)
	if err != nil {
		b.Error(err)
		return
	}
	defer batch.Release()
	for range n {
		tx, err := c.Begin(context.Background())
		if err != nil {
			b.Error(err)
			return
		}
		batch.Retain()
		if err := tx.Put(channel.Put{Source: "source.bench", Batch: batch}); err != nil {
			b.Error(err)
			return
		}
		if err := tx.Submit()(); err != nil {
			b.Error(err)
			return
		}
	}
}
