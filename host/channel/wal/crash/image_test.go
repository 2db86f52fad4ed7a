// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"testing"
)

const (
	sectorSize = 512 // what a disk writes whole or not at all
	pageSize   = 4096
)

// image is what is on a disk. A page is never changed, only replaced: so a copy costs a map, and a snapshot of each flush is affordable.
type image struct {
	size  int64
	pages map[int64]*page // by number; one that is not there is zeros
	sum   digest
}

type page struct {
	data [pageSize]byte
	sum  digest
}

// digest is a sum over pages that can be kept up to date page by page.
type digest [2]uint64

func (d digest) plus(o digest) digest  { return digest{d[0] + o[0], d[1] + o[1]} }
func (d digest) minus(o digest) digest { return digest{d[0] - o[0], d[1] - o[1]} }

func newImage(size int64) *image { return &image{size: size, pages: map[int64]*page{}} }

func (m *image) clone() *image {
	c := *m
	c.pages = maps.Clone(m.pages)
	return &c
}

// loadImage reads a file system that was made in a file.
func loadImage(path string) (*image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m := newImage(info.Size())
	var b [pageSize]byte
	for n := int64(0); n*pageSize < m.size; n++ {
		if _, err := f.ReadAt(b[:], n*pageSize); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read page %d: %w", n, err)
		}
		if b != ([pageSize]byte{}) {
			m.write(b[:], n*pageSize)
		}
	}
	return m, nil
}

func (m *image) read(dst []byte, at int64) int {
	dst = dst[:max(0, min(int64(len(dst)), m.size-at))]
	for n := 0; n < len(dst); {
		in := (at + int64(n)) % pageSize
		part := dst[n:min(len(dst), n+int(pageSize-in))]
		if p := m.pages[(at+int64(n))/pageSize]; p != nil {
			copy(part, p.data[in:])
		} else {
			clear(part)
		}
		n += len(part)
	}
	return len(dst)
}

func (m *image) write(src []byte, at int64) {
	for len(src) > 0 {
		n, in := at/pageSize, at%pageSize
		part := src[:min(len(src), int(pageSize-in))]
		m.replace(n, part, in)
		src, at = src[len(part):], at+int64(len(part))
	}
}

func (m *image) replace(n int64, part []byte, in int64) {
	next := &page{}
	if old := m.pages[n]; old != nil {
		next.data = old.data
		m.sum = m.sum.minus(old.sum)
	}
	copy(next.data[in:], part)
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	h.Write(next.data[:])
	sum := h.Sum(nil)
	next.sum = digest{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
	m.pages[n] = next
	m.sum = m.sum.plus(next.sum)
}

func TestAnImageReadsWhatWasWrittenAndItsCopyStaysAsItWas(t *testing.T) {
	m := newImage(3 * pageSize)
	m.write([]byte("across two pages"), pageSize-6)
	was := m.clone()
	m.write([]byte("ACROSS"), pageSize-6)
	for _, c := range []struct {
		m    *image
		want string
	}{{m, "ACROSS two pages"}, {was, "across two pages"}} {
		got := make([]byte, len(c.want))
		if n := c.m.read(got, pageSize-6); n != len(got) || string(got) != c.want {
			t.Errorf("read %d bytes %q, want %q", n, got, c.want)
		}
	}
	if m.sum == was.sum {
		t.Error("different images have the same sum")
	}
	m.write([]byte("across"), pageSize-6)
	if m.sum != was.sum {
		t.Error("equal images have different sums")
	}
	if n := m.read(make([]byte, pageSize), 3*pageSize-10); n != 10 {
		t.Errorf("read %d bytes at the end, want 10", n)
	}
}
