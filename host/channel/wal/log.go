// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io/fs"

	tidwall "github.com/tidwall/wal"
)

// tidwallLog appends through github.com/tidwall/wal.
type tidwallLog struct {
	log   *tidwall.Log
	batch tidwall.Batch // reused
}

var _ appender = (*tidwallLog)(nil)

func openTidwall(dir string, segmentSize int) (appender, error) {
	log, err := tidwall.Open(dir, &tidwall.Options{
		NoSync:           true, // we flush through a file of our own, outside the library's lock
		SegmentSize:      segmentSize,
		LogFormat:        tidwall.Binary,
		SegmentCacheSize: 1,
		AllowEmpty:       true, // the only segment may be an empty one, just rolled to
		DirPerms:         dirPerms,
		FilePerms:        filePerms,
	})
	if err != nil {
		return nil, err
	}
	return &tidwallLog{log: log}, nil
}

func (l *tidwallLog) Append(first uint64, entries [][]byte) error {
	l.batch.Clear()
	for i, e := range entries {
		l.batch.Write(first+uint64(i), e)
	}
	return flushError(l.log.WriteBatch(&l.batch))
}

func (l *tidwallLog) Last() (uint64, error) { return l.log.LastIndex() }

// Trim: a segment that is full stays in the library's cache, though we never read through it. The
// error could only say that the log is closed.
func (l *tidwallLog) Trim() { _ = l.log.ClearCache() }

func (l *tidwallLog) Close() error { return flushError(l.log.Close()) }

// flushError tells a failed flush, which leaves in doubt what is on disk, from other errors.
func flushError(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok && p.Op == "sync" {
		return fmt.Errorf("%w: %w", errFlush, err)
	}
	return err
}
