// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
)

// small is a batch of two events: the first has an attribute and a body, the second has neither.
func small(t testing.TB) []byte {
	t.Helper()
	var w Builder
	for _, e := range []Event{
		{Time: 7, Attributes: []Attribute{{"key", []byte("value")}}, Body: []byte("body")},
		{Time: 8},
	} {
		if err := w.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	return w.Bytes()
}

// Where the fields of small lie.
const (
	first  = HeaderSize
	attr   = first + RecordSize
	second = first + RecordSize + AttributeSize + 8 + 4
)

func put16(at int, v uint16) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint16(b[at:], v); return b }
}

func put32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
}

func put64(at int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte { binary.LittleEndian.PutUint64(b[at:], v); return b }
}

// cut makes the batch n bytes long, with a header that agrees.
func cut(n int) func([]byte) []byte {
	return func(b []byte) []byte { return put32(12, uint32(n))(b[:n:n]) }
}

func all(fs ...func([]byte) []byte) func([]byte) []byte {
	return func(b []byte) []byte {
		for _, f := range fs {
			b = f(b)
		}
		return b
	}
}

func sealed(b []byte) []byte { Seal(b, 5); return b }

// broken is every way in which small can be made invalid; says is what the error tells.
var broken = []struct {
	name, says string
	do         func([]byte) []byte
}{
	{"empty", "no header", func(b []byte) []byte { return nil }},
	{"header-cut", "no header", func(b []byte) []byte { return b[:HeaderSize-1] }},
	{"magic", "magic", put32(0, Magic+1)},
	{"zeros", "magic", func(b []byte) []byte { clear(b); return b }},
	{"version-0", "version 0", put16(4, 0)},
	{"version-2", "version 2", put16(4, 2)},
	{"flags", "reserved", put16(6, 2)},
	{"reserved", "reserved", put32(20, 1)},
	{"length-short", "length says", put32(12, second)},
	{"length-long", "length says", put32(12, 1<<31)},
	{"bytes-after", "length says", func(b []byte) []byte { return append(b, 0) }},
	{"count-low", "more records", put32(8, 1)},
	{"count-high", "counts 3 events, there are 2", put32(8, 3)},
	{"count-huge", "counts 4294967295 events", put32(8, math.MaxUint32)},
	{"record-cut", "record 1 at byte 74: cut short", cut(second + RecordSize - 1)},
	{"body-cut", "record 0 at byte 32: size", all(cut(second-1), put32(8, 1))},
	{"size-0", "size out of bounds", put32(first, 0)},
	{"size-below-fixed-part", "size out of bounds", put32(second, RecordSize-1)},
	{"size-beyond-end", "size out of bounds", put32(second, RecordSize+1)},
	{"size-huge", "size out of bounds", put32(first, math.MaxUint32)},
	{"type", "type is not 0", put16(first+6, 1)},
	{"body-length-low", "body length", put32(first+16, 3)},
	{"body-length-high", "body length", put32(first+16, 5)},
	{"body-length-huge", "body length", put32(first+16, math.MaxUint32)},
	{"body-length-of-nothing", "body length", put32(second+16, 1)},
	{"attribute-count-low", "body length", put16(first+4, 0)},
	{"attribute-count-high", "attribute out of bounds", put16(first+4, 2)},
	{"attribute-count-huge", "too many attributes", put16(first+4, math.MaxUint16)},
	{"attribute-of-nothing", "attribute out of bounds", put16(second+4, 1)},
	{"key-long", "attribute out of bounds", put16(attr, 13)},
	{"key-huge", "attribute out of bounds", put16(attr, math.MaxUint16)},
	{"value-long", "attribute out of bounds", put32(attr+2, 10)},
	{"value-huge", "attribute out of bounds", put32(attr+2, math.MaxUint32)},
	{"key-not-utf8", "not UTF-8", func(b []byte) []byte { b[attr+AttributeSize] = 0xff; return b }},
	{"key-utf8-cut", "not UTF-8", func(b []byte) []byte { b[attr+AttributeSize+2] = 0xc3; return b }},
	{"delta-falls", "delta out of order", all(put32(first+20, 5), put32(second+20, 4))},
	{"crc", "checksum", all(sealed, put32(first+8, 99))},
	{"crc-field", "checksum", all(sealed, put32(16, 1))},
	{"crc-without-flag", "no flag that says so", put32(16, 1)},
	{"offsets-wrap", "beyond the last", put64(24, math.MaxUint64)},
}

func TestBrokenBatchesAreRefusedAndSayWhy(t *testing.T) {
	for _, c := range broken {
		t.Run(c.name, func(t *testing.T) {
			b := c.do(small(t))
			got, err := Parse(b)
			if got.Len() != 0 {
				t.Errorf("a batch of %d events comes with the error", got.Len())
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Parse answers %v, want %q", err, c.says)
			}
			if got, err := Copy(Heap{}, b, MaxBatch); !errors.Is(err, ErrInvalid) || got.Len() != 0 {
				t.Errorf("Copy answers %v, %v", got, err)
			}
		})
	}
}

// hostOnly is what is valid between hosts, and not from a plugin.
var hostOnly = []struct {
	name, says string
	do         func([]byte) []byte
}{
	{"base", "base and flags", func(b []byte) []byte { PutBase(b, 7); return b }},
	{"with-crc", "base and flags", func(b []byte) []byte { Seal(b, 0); return b }},
	{"delta-from-1", "delta out of order", all(put32(first+20, 1), put32(second+20, 2))},
	{"delta-gap", "delta out of order", put32(second+20, 2)},
	{"delta-twice", "delta out of order", put32(second+20, 0)},
}

func TestWhatAPluginMayNotEmitIsRefused(t *testing.T) {
	for _, c := range hostOnly {
		t.Run(c.name, func(t *testing.T) {
			b := c.do(small(t))
			if _, err := Parse(b); err != nil {
				t.Errorf("Parse answers %v", err)
			}
			if _, err := Copy(Heap{}, b, MaxBatch); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Copy answers %v, want %q", err, c.says)
			}
		})
	}
	hosts := Builder{Host: true}
	if err := hosts.Append(Event{Attributes: []Attribute{{ReservedPrefix + "dead.reason", nil}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(hosts.Bytes()); err != nil {
		t.Errorf("Parse answers %v", err)
	}
	if _, err := Copy(Heap{}, hosts.Bytes(), MaxBatch); err == nil || !strings.Contains(err.Error(), "are the host's") {
		t.Errorf("Copy answers %v", err)
	}
}

func TestTheNumberOfAttributesIsBounded(t *testing.T) {
	for _, c := range []struct {
		n           int
		copy, parse bool
	}{{GuestAttributes, true, true}, {GuestAttributes + 1, false, true}, {MaxAttributes, false, true}, {MaxAttributes + 1, false, false}} {
		b := make([]byte, HeaderSize+RecordSize+c.n*AttributeSize)
		putHeader(b, 1, 0)
		put32(first, uint32(len(b)-HeaderSize))(b)
		put16(first+4, uint16(c.n))(b)
		if _, err := Parse(b); err == nil != c.parse {
			t.Errorf("%d attributes: Parse answers %v", c.n, err)
		}
		if _, err := Copy(Heap{}, b, MaxBatch); err == nil != c.copy {
			t.Errorf("%d attributes: Copy answers %v", c.n, err)
		}
	}
}

func TestCopyKeepsToItsLimit(t *testing.T) {
	b := small(t)
	if _, err := Copy(Heap{}, b, len(b)); err != nil {
		t.Error(err)
	}
	if _, err := Copy(Heap{}, b, len(b)-1); !errors.Is(err, ErrInvalid) {
		t.Errorf("it answers %v", err)
	}
}

func TestABatchOverTheLargestIsRefused(t *testing.T) {
	b := make([]byte, MaxBatch+1)
	putHeader(b, 0, 0)
	if _, err := Parse(b); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "over the limit") {
		t.Errorf("it answers %v", err)
	}
}

// dirty gives out memory that was something else before.
type dirty struct{}

func (dirty) Get(n int) *Buffer { return NewBuffer(bytes.Repeat([]byte{0xff}, Headroom+n), n, nil) }

// A record that lies across two copy steps is checked when all of it has been copied, and not before.
func TestCopyChecksWhatLiesAcrossTwoSteps(t *testing.T) {
	for before := range 60 { // bytes of the second record in the first step
		for _, key := range []string{"a good name", "a bad name\xff"} {
			w := Builder{Limit: MaxBatch}
			if err := w.Append(Event{Body: make([]byte, copyStep-before-RecordSize)}); err != nil {
				t.Fatal(err)
			}
			if err := w.Append(Event{Attributes: []Attribute{{strings.Repeat("k", len(key)), nil}}}); err != nil {
				t.Fatal(err)
			}
			b := w.Bytes()
			copy(b[len(b)-len(key):], key)
			if _, err := Copy(dirty{}, b, MaxBatch); err == nil != (key == "a good name") {
				t.Errorf("%d bytes before the step, %q: %v", before, key, err)
			}
		}
	}
}

// Whatever the sizes, a batch of many copy steps is checked in each of them.
func TestCopyChecksAcrossItsSteps(t *testing.T) {
	for _, body := range []int{0, 1, 100, copyStep - HeaderSize - 2*RecordSize, copyStep - HeaderSize - RecordSize + 1, 3*copyStep + 7} {
		w := Builder{Limit: MaxBatch}
		for w.Size() < 5*copyStep && w.Len() < 3000 {
			if err := w.Append(Event{Time: int64(w.Len()), Body: make([]byte, body)}); err != nil {
				t.Fatal(err)
			}
		}
		b := w.Bytes()
		got, err := Copy(Heap{}, b, MaxBatch)
		if err != nil {
			t.Fatalf("bodies of %d: %v", body, err)
		}
		if string(got.Bytes()) != string(b) || got.Sum() != Trusted(b, 0, nil).Sum() {
			t.Errorf("bodies of %d: the copy or its sum differs", body)
		}
		last := len(b) - RecordSize - body
		put16(last+6, 1)(b) // the type of the last record
		if _, err := Copy(Heap{}, b, MaxBatch); err == nil {
			t.Errorf("bodies of %d: a broken last record was taken", body)
		}
	}
}

func TestARefusedBatchGivesItsMemoryBack(t *testing.T) {
	pool := &counting{}
	for _, c := range broken {
		if b, err := Copy(pool, c.do(small(t)), MaxBatch); err == nil {
			b.Release()
		}
	}
	if pool.live != 0 {
		t.Errorf("%d buffers are held", pool.live)
	}
}

// counting is Buffers that counts what is held.
type counting struct{ live int }

func (c *counting) Get(n int) *Buffer {
	c.live++
	return NewBuffer(make([]byte, Headroom+n), n, func(*Buffer) { c.live-- })
}
