// SPDX-License-Identifier: Apache-2.0

package filesink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/penstock-io/penstock/spec/event"
)

const (
	magic       = 0x314a5350 // "PSJ1"
	version     = 1
	sumFrom     = 12
	headerBytes = 68
	rangeBytes  = 24

	// slotBytes is the room of a slot: some 2700 ranges. A reader in order needs one range an
	// incarnation; only a member of a group, which sees a part of the stream, needs more.
	slotBytes = 64 << 10
	// maxStream bounds the name of a stream: two UUIDs and a number are 90 bytes.
	maxStream = 1 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errRanges means that there are more ranges than a slot holds.
var errRanges = errors.New("too many ranges")

// identity is what a file is, whatever its name.
type identity struct{ dev, ino uint64 }

// state is what a slot says.
type state struct {
	sequence uint64
	output   identity
	length   int64 // of the output, committed
	since    int64 // when the output got its first line, unix nanoseconds; 0 = has none
	rotated  uint64
	stream   string
	held     ranges
}

func (s *state) append(dst []byte) ([]byte, error) {
	le := binary.LittleEndian
	size := headerBytes + len(s.stream) + len(s.held)*rangeBytes
	if len(s.stream) > maxStream {
		return nil, fmt.Errorf("stream name of %d bytes is over the limit of %d", len(s.stream), maxStream)
	}
	if size > slotBytes {
		return nil, fmt.Errorf("%w: %d do not fit the journal; the host prunes them as its low mark rises", errRanges, len(s.held))
	}
	dst = le.AppendUint32(dst, magic)
	dst = le.AppendUint32(dst, uint32(size))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, version)
	dst = le.AppendUint16(dst, uint16(len(s.stream)))
	for _, v := range [...]uint64{
		s.sequence, s.output.dev, s.output.ino, uint64(s.length), uint64(s.since), s.rotated,
	} {
		dst = le.AppendUint64(dst, v)
	}
	dst = le.AppendUint32(dst, uint32(len(s.held)))
	dst = append(dst, s.stream...)
	for _, h := range s.held {
		dst = le.AppendUint64(dst, h.incarnation)
		dst = le.AppendUint64(dst, uint64(h.First))
		dst = le.AppendUint64(dst, uint64(h.Next))
	}
	le.PutUint32(dst[8:], crc32.Checksum(dst[sumFrom:], castagnoli))
	return dst, nil
}

// parse reads a slot; false if it is not one.
func parse(slot []byte) (state, bool) {
	le := binary.LittleEndian
	if len(slot) < headerBytes || le.Uint32(slot) != magic {
		return state{}, false
	}
	size := le.Uint32(slot[4:])
	if size < headerBytes || uint64(size) > uint64(len(slot)) {
		return state{}, false
	}
	slot = slot[:size]
	if le.Uint32(slot[8:]) != crc32.Checksum(slot[sumFrom:], castagnoli) || le.Uint16(slot[12:]) != version {
		return state{}, false
	}
	nameLen, n := int(le.Uint16(slot[14:])), int64(le.Uint32(slot[64:]))
	if headerBytes+int64(nameLen)+n*rangeBytes != int64(size) {
		return state{}, false
	}
	s := state{
		sequence: le.Uint64(slot[16:]), output: identity{le.Uint64(slot[24:]), le.Uint64(slot[32:])},
		length: int64(le.Uint64(slot[40:])), since: int64(le.Uint64(slot[48:])), rotated: le.Uint64(slot[56:]),
		stream: string(slot[headerBytes : headerBytes+nameLen]),
	}
	for r := slot[headerBytes+nameLen:]; len(r) > 0; r = r[rangeBytes:] {
		s.held = append(s.held, held{le.Uint64(r),
			event.Range{First: event.Offset(le.Uint64(r[8:])), Next: event.Offset(le.Uint64(r[16:]))}})
	}
	return s, true
}

// journal is the file of two slots.
type journal struct {
	f   *os.File
	buf []byte // reused
}

// openJournal opens or creates the journal and returns what it says, or fresh if it never said anything.
func openJournal(path string) (j *journal, s state, fresh bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrNotExist) { // what comes first for somebody who tries it out
		return nil, state{}, false, fmt.Errorf("the directory %[1]s is not there: make it, mkdir -p %[1]s (open journal: %[2]w)", filepath.Dir(path), err)
	}
	if err != nil {
		return nil, state{}, false, fmt.Errorf("open journal: %w", err)
	}
	j = &journal{f: f}
	s, fresh, err = j.read()
	if err != nil {
		_ = f.Close() // the other error is the one to tell
		return nil, state{}, false, fmt.Errorf("read journal %s: %w", path, err)
	}
	return j, s, fresh, nil
}

func (j *journal) read() (s state, fresh bool, err error) {
	data := make([]byte, 2*slotBytes)
	n, err := j.f.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return state{}, false, err
	}
	data = data[:n]
	first, ok0 := parse(data[:min(n, slotBytes)])
	second, ok1 := parse(data[min(n, slotBytes):])
	switch {
	case ok0 && (!ok1 || first.sequence > second.sequence):
		return first, false, nil
	case ok1:
		return second, false, nil
	}
	// The very first slot may be torn: no line was written before it was whole. A second one is there
	// only when the first had been; then neither is a disk's doing.
	if n > slotBytes {
		return state{}, false, errors.New("neither slot has a right checksum, so which lines are committed is not known; " +
			"move it away to go on after the end of the output, where the last delivery may be repeated")
	}
	return state{}, true, nil
}

// write puts s into the slot that is not in use, and makes it durable. at is called before each step.
func (j *journal) write(s *state, at func(step string) error) (err error) {
	if j.buf, err = s.append(j.buf[:0]); err != nil {
		return err
	}
	if err := at("journal write"); err != nil {
		return err
	}
	if _, err := j.f.WriteAt(j.buf, int64((s.sequence-1)%2)*slotBytes); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := at("journal sync"); err != nil {
		return err
	}
	if err := datasync(j.f); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	return nil
}
