// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"log/slog"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
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
