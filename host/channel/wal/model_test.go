// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
)

// Segments are small, so that the log rolls and is reclaimed within a few steps. Nothing is flushed:
// what a process leaves behind that is killed does not depend on it.
func TestItDoesWhatTheModelDoes(t *testing.T) {
	for _, s := range []storage{{name: "plain"}, {name: "sealed", codec: S2, key: true}} {
		t.Run(s.name, func(t *testing.T) {
			channeltest.RunModel(t, func(o channeltest.Options) (channel.Channel, error) {
				sys := realSystem(o.Dir)
				sys.files = unflushed{sys.files}
				own := Options{Dir: o.Dir, Capacity: o.Capacity, OnFull: o.OnFull, Observer: o.Observer, Pool: o.Buffers, SegmentSize: 8 << 10, ForgetAfter: o.ForgetAfter, Scrub: 24 * time.Hour, Log: slog.New(slog.DiscardHandler)}
				s.apply(&own)
				return open(own, sys)
			}, true)
		})
	}
}

// The log may begin behind an opening, where all before it is committed; a position that was written
// before says less. Among the sizes is one with which the segment ends just with the opening's record.
func TestAPositionBeforeAnOpeningIsGoodForALogThatBeginsBehindIt(t *testing.T) {
	for size := 7000; size < 8200; size += 50 {
		b := newBench(t, Options{SegmentSize: 8 << 10})
		fast := b.reader("sink.fast")
		b.reader("sink.slow")
		body := strings.Repeat("b", size)
		b.put("source.a", "1", body)
		b.drained(fast, body)
		b.open() // the fast one's position was written, and is not again
		b.put("source.a", "2", "in the next segment")
		b.drained(b.reader("sink.slow"), body, "in the next segment")
		b.open() // the first segment is gone
		b.drained(b.reader("sink.fast"), "in the next segment")
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
