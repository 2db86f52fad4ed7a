// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/penstock-io/penstock/plugins/std/textfile"
)

// state is what is known of a file. The numbers stand in cursors.
type state uint8

const (
	reading state = iota // up to the place
	read                 // wholly; it can go when that is durable
	bad                  // it is to be set aside
)

// stamp is what tells that a file is still what it was.
type stamp struct {
	ino         uint64
	size, mtime int64 // mtime in unix nanoseconds
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ino = uint64(st.Ino)
	}
	return s
}

// same says whether a file with the stamp o, found at the same path, is the one. The inode may differ: some file systems number anew
// when they are mounted.
func (s stamp) same(o stamp) bool { return s.size == o.size && s.mtime == o.mtime }

// entry is what the cursor keeps of a file.
type entry struct {
	state  state
	stamp  stamp // as it was taken up
	place  textfile.Place
	path   string
	reason string // why it is bad
}

const (
	// maxPath is the longest path of a file that is taken up, so that an entry keeps it with a reason.
	maxPath = 3 << 10
	// maxReason is how much is kept of a reason.
	maxReason = 512
)

// append appends the entry in its form of cursor_version 1: u8 state · u8 skip, and then offset, inode, size, mtime and the length of
// the path as varints, the path and the reason.
func (e *entry) append(dst []byte) []byte {
	dst = append(dst, byte(e.state), byte(e.place.Skip))
	for _, v := range [...]int64{e.place.Offset, int64(e.stamp.ino), e.stamp.size, e.stamp.mtime, int64(len(e.path))} {
		dst = binary.AppendVarint(dst, v)
	}
	dst = append(dst, e.path...)
	return append(dst, e.reason[:min(len(e.reason), maxReason)]...)
}

func parseEntry(b []byte) (e entry, err error) {
	if len(b) < 2 {
		return e, fmt.Errorf("cursor entry of %d bytes is too short", len(b))
	}
	e.state, e.place.Skip = state(b[0]), textfile.Skip(b[1])
	b = b[2:]
	var ino, path int64
	for _, v := range [...]*int64{&e.place.Offset, &ino, &e.stamp.size, &e.stamp.mtime, &path} {
		x, n := binary.Varint(b)
		if n <= 0 {
			return e, fmt.Errorf("cursor entry is cut short")
		}
		*v, b = x, b[n:]
	}
	if e.state > bad || e.place.Skip > textfile.SkipEvent || e.place.Offset < 0 || path < 0 || path > int64(len(b)) {
		return e, fmt.Errorf("cursor entry is out of bounds")
	}
	e.stamp.ino, e.path, e.reason = uint64(ino), string(b[:path]), string(b[path:])
	return e, nil
}
