// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"log/slog"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
	"github.com/penstock-io/penstock/spec/event"
)

// Segments are small, so that the log rolls and is reclaimed within a few steps. Nothing is flushed:
// what a process leaves behind that is killed does not depend on it.
func TestItDoesWhatTheModelDoes(t *testing.T) {
	channeltest.RunModel(t, func(o channeltest.Options) (channel.Channel, error) {
		sys := realSystem(o.Dir)
		sys.files = unflushed{sys.files}
		return open(Options{Dir: o.Dir, Pool: o.Buffers, SegmentSize: 8 << 10, Log: slog.New(slog.DiscardHandler)}, sys)
	}, true)
}

// What a reader has committed may be gone from the log up to the next opening's first offset, though its position says less.
func TestALogThatWasEmptiedAndReclaimedOpensAgain(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 8 << 10})
	for range 4 {
		r, err := b.c.Reader(channel.ReaderSpec{Name: "sink.a"})
		b.must(err)
		tx, err := b.c.Begin(t.Context())
		b.must(err)
		var w event.Builder
		b.must(w.Append(event.Event{Body: make([]byte, 10<<10)})) // fills a segment
		b.must(tx.Put(channel.Put{Source: "source.a", Batch: w.Batch()}))
		b.must(tx.Submit()())
		l, err := r.Take(t.Context(), channel.Want{})
		b.must(err)
		b.must(l.Commit())
		b.open()
		b.open() // nobody takes anything: the position is as it was
		b.open()
	}
}

// unflushed is files whose Sync does nothing.
type unflushed struct{ files }

func (u unflushed) Open(name string, how openMode) (file, error) {
	f, err := u.files.Open(name, how)
	if real, ok := f.(osFile); ok {
		return unflushedFile{real}, err
	}
	return f, err
}

type unflushedFile struct{ osFile }

func (unflushedFile) Sync() error { return nil }
