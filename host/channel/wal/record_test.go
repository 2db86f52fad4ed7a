// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

func TestARecordIsWrittenAsTheSpecificationSays(t *testing.T) {
	w := event.Builder{}
	if err := w.Append(event.Event{Time: 42, Body: []byte("body"), Attributes: []event.Attribute{{Key: "k", Value: []byte("v")}}}); err != nil {
		t.Fatal(err)
	}
	b, err := event.Copy(event.Heap{}, w.Bytes(), event.MaxBatch)
	if err != nil {
		t.Fatal(err)
	}
	c := &Channel{pool: event.Heap{}}
	x := &tx{c: c, puts: []channel.Put{{Source: "source.a", Batch: b, Changed: event.Cursor{"at": []byte("9")}, Version: 2, Move: 3}}}
	if err := x.build(); err != nil {
		t.Fatal(err)
	}
	x.header.index, x.header.prev, x.header.first, x.header.flags = 7, 0x0badc0de, 1<<32+3, flagDurable
	x.header.time = 1700000000 * 1e9
	x.header.put(x.entry)

	want := "50535731" + "01" + "01" + "0100" + "00" + "000000" + "00000000" + // magic kind version flags codec reserved key
		"0700000000000000" + "dec0ad0b" + "01000000" + "0300000001000000" + // index prev events first
		"00002a36fe9c9717" + // time
		"44000000" + "44000000" + "28000000" + // body raw tlv
		"5d53c873" + "c20a6bc2" + "bd4c5690" + // CRCs
		"50534231" + "0100" + "0000" + "01000000" + "44000000" + "00000000" + "00000000" + "0000000000000000" + // PSB1
		"24000000" + "0100" + "0000" + "2a00000000000000" + "04000000" + "00000000" + "0100" + "01000000" + "6b" + "76" + "626f6479" +
		"0100" + "0000" + "20000000" + // TLV SOURCE
		"0800" + hex.EncodeToString([]byte("source.a")) + "02000000" + "03000000" + "00" + // name version move removed
		"01000000" + "0200" + "01000000" + hex.EncodeToString([]byte("at")) + "39" // cursor
	if got := hex.EncodeToString(x.entry); got != want {
		t.Errorf("record is\n%s, want\n%s", got, want)
	}
	h, err := parseHeader(x.entry)
	if err != nil || h != x.header {
		t.Errorf("read back as %+v, %v", h, err)
	}
}

func TestEveryFlippedBitOfAHeaderIsSeen(t *testing.T) {
	h := header{kind: kindPut, index: 1, events: 3, body: 100, raw: 100, tlv: 7}
	b := make([]byte, headerSize)
	h.put(b)
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := parseHeader(b); err == nil {
			t.Errorf("bit %d", bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

func TestARecordOfANewerVersionIsNotTakenForDamage(t *testing.T) {
	h := header{kind: kindPut, index: 1}
	b := make([]byte, headerSize)
	for _, at := range []int{5, 8} { // version, codec
		h.put(b)
		b[at] += 3
		binary.LittleEndian.PutUint32(b[68:], checksum(b[:68]))
		if _, err := parseHeader(b); !errors.Is(err, errVersion) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

func TestStateAndTrailerAreReadBack(t *testing.T) {
	s := newState([16]byte{1, 2, 3})
	s.events, s.bytes, s.before = 5, 6, seal{7, 8, 9}
	s.cursors.Change(&channel.CursorChange{Source: "source.a", Version: 1, Move: 2, Changed: event.Cursor{"k": []byte("v"), "l": []byte("w")}}, 8)
	s.cursors.Change(&channel.CursorChange{Source: "source.a", Version: 1, Move: 2, Changed: event.Cursor{"l": []byte("w")}}, 9)
	s.cursors.Change(&channel.CursorChange{Source: "source.b"}, 7)
	s.readers["sink.a"] = readerEntry{id: 1, generation: 2, first: 3, name: "sink.a"}
	s.fence(11, 1<<32)
	s.end += 4
	s.fence(12, 2<<32)
	body := s.append(nil)
	if len(body) > s.size() {
		t.Errorf("STATE has %d bytes, size says %d", len(body), s.size())
	}
	got, err := parseState(&header{first: s.end}, body)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("STATE came back as %+v, %v", got, err)
	}
	c := changes{
		sources: []channel.CursorChange{{Source: "source.a", Version: 1, Move: 2, Removed: true, Changed: event.Cursor{"k": []byte("v")}},
			{Source: "source.b", Changed: event.Cursor{}}},
		readers: []readerEntry{{id: 1, generation: 2, first: 3, name: "sink.a"}},
		forget:  []string{"sink.b"},
		only:    "sink.c",
	}
	tlv := c.append(nil)
	if len(tlv) > c.size() {
		t.Errorf("trailer has %d bytes, size says %d", len(tlv), c.size())
	}
	unknown := append([]byte{99, 0, 0, 0, 2, 0, 0, 0, 1, 2}, tlv...) // of a later version
	back, err := parseChanges(unknown)
	if err != nil || !reflect.DeepEqual(back, c) || onlyOf(unknown) != "sink.c" {
		t.Errorf("trailer came back as %+v, %v", back, err)
	}
	for n := range len(tlv) {
		parseChanges(tlv[:n]) //nolint:errcheck // must not panic
		if _, err := parseState(&header{}, body[:n]); err == nil {
			t.Errorf("STATE of %d bytes was read", n)
		}
	}
}

// segmentOf lays records one after the other, as the library does.
func segmentOf(records ...[]byte) (b []byte) {
	for _, r := range records {
		b = append(binary.AppendUvarint(b, uint64(len(r))), r...)
	}
	return b
}

func TestARecordInTheWrongPlaceIsSeen(t *testing.T) {
	put := func(index uint64, prev uint32) ([]byte, uint32) {
		b := make([]byte, headerSize)
		h := header{kind: kindPut, index: index, prev: prev}
		h.put(b)
		return b, h.crc
	}
	one, crc := put(1, 0)
	two, _ := put(2, crc)
	three, _ := put(3, crc)
	stranger, _ := put(2, crc+1)
	for _, c := range []struct {
		second []byte
		want   error
	}{{two, io.EOF}, {three, errIndex}, {stranger, errChain}, {one, errIndex}} {
		b := segmentOf(one, c.second)
		s := newScanner(bytes.NewReader(b), 1, int64(len(b)), event.Heap{}, nil)
		var err error
		for err == nil {
			_, err = s.next()
		}
		if !errors.Is(err, c.want) {
			t.Errorf("want %v, got %v", c.want, err)
		}
		s.release()
	}
}

func FuzzScan(f *testing.F) {
	s := newState([16]byte{})
	body := s.append(nil)
	state := make([]byte, headerSize, 200)
	h := header{kind: kindState, index: 1, body: uint32(len(body)), raw: uint32(len(body)), bodyCRC: checksum(body)}
	h.put(state)
	state = append(state, body...)
	put := make([]byte, headerSize)
	p := header{kind: kindPut, index: 2, prev: h.crc}
	p.put(put)
	f.Add(segmentOf(state, put))
	f.Add(segmentOf(state))
	lost := gap{index: 2, records: 3, lost: event.Range{First: 0, Next: 1 << 32}, incarnations: []incarnation{{id: 7, first: 1 << 32}}}
	mended, _ := appendMended(segmentOf(state), header{kind: kindGap, index: 2, prev: h.crc, raw: 3}, lost.body(), nil)
	f.Add(mended)
	f.Add([]byte{0})
	f.Add([]byte(strings.Repeat("PSW1", 50)))
	f.Fuzz(func(t *testing.T, b []byte) {
		sc := newScanner(bytes.NewReader(b), 1, int64(len(b)), event.Heap{}, nil)
		defer sc.release()
		r := recovered{}
		err := r.walk(sc)
		if err != nil && !errors.Is(err, channel.ErrCorrupt) {
			t.Fatalf("not damage: %v", err)
		}
		if _, err := explore(newScanner(bytes.NewReader(b), 1, int64(len(b)), event.Heap{}, nil), 9); err != nil && !foreign(err) && !strings.Contains(err.Error(), "two logs are mixed") {
			t.Fatalf("explored: %v", err)
		}
		for sc.resync(func(*header) bool { return true }) {
			if _, err := sc.next(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, channel.ErrCorrupt) {
				t.Fatalf("not damage: %v", err)
			}
		}
	})
}

func FuzzPosition(f *testing.F) {
	p := position{sequence: 1, id: 2, generation: 3, low: 4, end: 9, lane: channel.Lane{Key: "key", Count: 2}, finished: []event.Range{{First: 6, Next: 7}}}
	f.Add(p.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parsePosition(b); ok && !bytes.HasPrefix(b, p.append(nil)[:32]) {
			t.Errorf("%+v is not what was read", p)
		}
	})
}
