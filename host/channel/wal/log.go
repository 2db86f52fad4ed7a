// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	tidwall "github.com/tidwall/wal"
)

// tidwallLog appends through github.com/tidwall/wal.
type tidwallLog struct {
	log    *tidwall.Log
	batch  tidwall.Batch // reused
	memory []byte        // of the tail segment, and then of the next
}

// roomBehind is how much larger the memory of a segment is than its size: the last record sticks out.
const roomBehind = 1 << 20

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
	l := &tidwallLog{log: log, memory: make([]byte, 0, segmentSize+roomBehind)}
	l.makeRoom()
	return l, nil
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
// error could only say that the log is closed. Its memory goes to the next segment.
func (l *tidwallLog) Trim() {
	_ = l.log.ClearCache()
	l.makeRoom()
}

// makeRoom gives the library the memory for its tail segment at once. Left alone it lets a slice grow from nothing
// to the size of a segment by quarters, each time into new memory: half of all time, and most of all garbage.
func (l *tidwallLog) makeRoom() {
	tail := tailBuffer(l.log)
	if tail == nil || cap(*tail) >= cap(l.memory) || len(*tail) > cap(l.memory) {
		return
	}
	*tail = append(l.memory[:0], *tail...)
}

// tailBuffer finds where the library keeps its tail segment, nil when it is built in another way than
// the release that we know: then it works as well, only slower. The library has no option for this.
func tailBuffer(log *tidwall.Log) *[]byte {
	segments := reflect.ValueOf(log).Elem().FieldByName("segments")
	if segments.Kind() != reflect.Slice || segments.Len() == 0 {
		return nil
	}
	tail := segments.Index(segments.Len() - 1)
	if tail.Kind() != reflect.Pointer || tail.Elem().Kind() != reflect.Struct {
		return nil
	}
	buffer := tail.Elem().FieldByName("ebuf")
	if buffer.Kind() != reflect.Slice || buffer.Type().Elem().Kind() != reflect.Uint8 {
		return nil
	}
	return (*[]byte)(buffer.Addr().UnsafePointer())
}

func (l *tidwallLog) Close() error { return flushError(l.log.Close()) }

// flushError tells a failed flush, which leaves in doubt what is on disk, from other errors.
func flushError(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok && p.Op == "sync" {
		return fmt.Errorf("%w: %w", errFlush, err)
	}
	return err
}
