// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/plugins/std/textfile"
	"github.com/penstock-io/penstock/spec/abi"
)

// printSize is the most bytes that a fingerprint covers: more than any header that logs begin with.
const printSize = 1 << 10

// identity is what a file is to its file system.
type identity struct{ dev, ino uint64 }

// key is the identity as the key of a cursor entry.
func (id identity) key() string {
	return strconv.FormatUint(id.dev, 16) + ":" + strconv.FormatUint(id.ino, 16)
}

func parseKey(key string) (identity, error) {
	dev, ino, ok := strings.Cut(key, ":")
	d, err1 := strconv.ParseUint(dev, 16, 64)
	i, err2 := strconv.ParseUint(ino, 16, 64)
	if !ok || err1 != nil || err2 != nil {
		return identity{}, fmt.Errorf("cursor key %q is not device:inode", key)
	}
	return identity{d, i}, nil
}

// fingerprint tells contents apart: the hash of the first n bytes.
type fingerprint struct {
	n    int
	hash uint64
}

// printOf is the fingerprint of a file that begins with head.
func printOf(head []byte) fingerprint {
	head = head[:min(len(head), printSize)]
	h := uint64(14695981039346656037) // FNV-1a
	for _, c := range head {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return fingerprint{len(head), h}
}

// matches says whether a file that begins with head may be the one with this fingerprint, grown.
func (f fingerprint) matches(head []byte) bool {
	return f.n == 0 || len(head) >= f.n && printOf(head[:f.n]) == f
}

// entry is what the cursor keeps of a file.
type entry struct {
	print    fingerprint
	offset   int64 // where the next line begins
	high     int64 // the largest size that the file is known to have had
	mtime    int64 // when it was last written, by its file system, unix nanoseconds
	gone     int64 // since when it is missing, unix nanoseconds; 0 = it is there
	skipping textfile.Skip
	path     string // under which it was found first: the file.path of its events
}

// The form of an entry, cursor_version 1: u8 skipping · u16 n and u64 hash of the fingerprint, and then
// offset, high − offset, mtime and gone as varints, and the path. Little-endian.
const (
	fixedBytes = 1 + 2 + 8
	// maxPath is the longest path that an entry keeps; a longer one is followed, but not found again by its name.
	maxPath = abi.MaxValue - fixedBytes - 4*binary.MaxVarintLen64
)

// maxVarints is what the four numbers take: sizes below 2^48, times before the year 2116.
const maxVarints = 7 + 7 + 9 + 9

// reserve is how many bytes of the cursor the entry of a file may come to take, however large the file grows.
func (id identity) reserve(path string) int {
	return len(id.key()) + fixedBytes + maxVarints + len(path)
}

func (e *entry) append(dst []byte) []byte {
	dst = append(dst, byte(e.skipping))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(e.print.n))
	dst = binary.LittleEndian.AppendUint64(dst, e.print.hash)
	for _, v := range [...]int64{e.offset, max(e.high, e.offset) - e.offset, e.mtime, e.gone} {
		dst = binary.AppendVarint(dst, v)
	}
	if len(e.path) <= maxPath {
		dst = append(dst, e.path...)
	}
	return dst
}

func parseEntry(b []byte) (entry, error) {
	if len(b) < fixedBytes {
		return entry{}, fmt.Errorf("cursor entry of %d bytes is too short", len(b))
	}
	e := entry{skipping: textfile.Skip(b[0])}
	e.print = fingerprint{int(binary.LittleEndian.Uint16(b[1:])), binary.LittleEndian.Uint64(b[3:])}
	b = b[fixedBytes:]
	var behind int64
	for _, v := range [...]*int64{&e.offset, &behind, &e.mtime, &e.gone} {
		x, n := binary.Varint(b)
		if n <= 0 {
			return entry{}, fmt.Errorf("cursor entry is cut short")
		}
		*v, b = x, b[n:]
	}
	if e.offset < 0 || behind < 0 || e.print.n > printSize || e.skipping > textfile.SkipEvent {
		return entry{}, fmt.Errorf("cursor entry is out of bounds")
	}
	e.high = e.offset + behind
	e.path = string(b)
	return e, nil
}

func (e *entry) goneSince() time.Time { return time.Unix(0, e.gone) }
