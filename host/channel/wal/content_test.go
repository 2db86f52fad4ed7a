// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// What is in this file has right checksums, and is wrong all the same: of another program, or of a bug in ours.

// TestContentOfAnyOtherLengthIsRefused: every body and every trailer, cut anywhere, and with a byte too many.
func TestContentOfAnyOtherLengthIsRefused(t *testing.T) {
	s := newState([16]byte{1})
	s.cursors.Change(&channel.CursorChange{Source: "source.a", Changed: event.Cursor{"k": []byte("v")}}, 1)
	s.readers["sink.a"] = readerEntry{id: 1, generation: 2, first: 3, name: "sink.a"}
	s.fence(11, 1<<32)
	g := gap{index: 2, records: 3, incarnations: []incarnation{{id: 7, first: 1 << 32}}}
	source := changes{sources: []channel.CursorChange{{Source: "source.a", Changed: event.Cursor{"k": []byte("v")}}}}
	reader := changes{readers: []readerEntry{{id: 1, generation: 2, first: 3, name: "sink.a"}}}
	for name, c := range map[string]struct {
		whole []byte
		parse func([]byte) error
	}{
		"STATE":  {s.append(nil), func(b []byte) error { _, err := parseState(&header{}, b); return err }},
		"GAP":    {g.body(), func(b []byte) error { _, err := parseGap(b); return err }},
		"FENCE":  {newState([16]byte{}).appendFence(nil, 7), func(b []byte) error { return newState([16]byte{}).applyFence(&header{}, b) }},
		"SOURCE": {source.append(nil), func(b []byte) error { _, err := parseChanges(b); return err }},
		"READER": {reader.append(nil), func(b []byte) error { _, err := parseChanges(b); return err }},
		"in SOURCE": {source.append(nil)[8:], func(b []byte) error {
			_, err := parseChanges(appendTLV(nil, tlvSource, func(dst []byte) []byte { return append(dst, b...) }))
			return err
		}},
		"in READER": {reader.append(nil)[8:], func(b []byte) error {
			_, err := parseChanges(appendTLV(nil, tlvReader, func(dst []byte) []byte { return append(dst, b...) }))
			return err
		}},
	} {
		if err := c.parse(c.whole); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for n := range c.whole {
			if err := c.parse(c.whole[:n:n]); err == nil && n > 0 {
				t.Errorf("%s was read of %d bytes, it has %d", name, n, len(c.whole))
			}
		}
		if c.parse(append(slices.Clip(c.whole), 0)) == nil {
			t.Errorf("%s was read with a byte too many", name)
		}
	}
}

func TestAReaderWithoutANameOrWithTooLongAOneIsRefused(t *testing.T) {
	for _, n := range []int{0, channel.MaxName + 1} {
		c := changes{readers: []readerEntry{{id: 1, name: string(make([]byte, n))}}}
		if _, err := parseChanges(c.append(nil)); !errors.Is(err, errLength) {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
	}
}

// TestWhatFollowsAnErrorInATrailerDoesNotMendIt: behind a name of more bytes than there are lies a sound cursor.
func TestWhatFollowsAnErrorInATrailerDoesNotMendIt(t *testing.T) {
	cursor := abi.AppendCursor(nil, event.Cursor{"k": []byte("v")})
	b := appendTLV(nil, tlvSource, func(dst []byte) []byte { return append(append(dst, 0xff, 0xff), cursor...) })
	if c, err := parseChanges(b); !errors.Is(err, errShort) {
		t.Errorf("it was read as %+v, %v", c, err)
	}
}

// TestANumberOfThingsThatAreNotThereMakesNothing: what it counts is made at once.
func TestANumberOfThingsThatAreNotThereMakesNothing(t *testing.T) {
	const size = 16
	for there, ok := range map[int]bool{3 * size: true, 3*size - 1: false, 0: false} {
		d := decoder{b: append([]byte{3, 0, 0, 0}, make([]byte, there)...)}
		if n := d.count(size); (n == 3) != ok || (n == 0) == ok || errors.Is(d.err, errShort) == ok {
			t.Errorf("3 things in %d bytes: %d, %v", there, n, d.err)
		}
	}
}

func TestARecordThatDoesNotContinueTheSumIsRefused(t *testing.T) {
	fence := func(parent uint64, end event.Offset) []byte {
		le := binary.LittleEndian
		return le.AppendUint64(le.AppendUint64(le.AppendUint64(nil, 99), parent), uint64(end))
	}
	missing := func(first, next, opened event.Offset) []byte {
		g := gap{index: 5, records: 1, lost: event.Range{First: first, Next: next}, incarnations: []incarnation{{id: 99, first: opened}}}
		return g.body()
	}
	const end, later = 1<<32 + 5, 2 << 32
	for name, c := range map[string]struct {
		h    header
		body []byte
		ok   bool
	}{
		"FENCE":                               {header{kind: kindFence, first: later}, fence(7, end), true},
		"FENCE of another parent":             {header{kind: kindFence, first: later}, fence(8, end), false},
		"FENCE of a parent that ended before": {header{kind: kindFence, first: later}, fence(7, end-1), false},
		"FENCE that goes back":                {header{kind: kindFence, first: 1 << 32}, fence(7, end), false},
		"FENCE between the steps":             {header{kind: kindFence, first: later + 1}, fence(7, end), false},
		"PUT":                                 {header{kind: kindPut, first: end}, nil, true},
		"PUT that leaves out":                 {header{kind: kindPut, first: end + 1}, nil, false},
		"PUT that repeats":                    {header{kind: kindPut, first: end - 1}, nil, false},
		"GAP":                                 {header{kind: kindGap, first: end}, missing(end, later, end+1), true},
		"GAP whose header begins later":       {header{kind: kindGap, first: end + 1}, missing(end, later, end+1), false},
		"GAP that begins later":               {header{kind: kindGap, first: end}, missing(end+1, later, end+1), false},
		"GAP that ends before it begins":      {header{kind: kindGap, first: end}, (&gap{index: 5, records: 1, lost: event.Range{First: end, Next: end - 1}}).body(), false},
		"GAP with an incarnation before it":   {header{kind: kindGap, first: end}, missing(end, later, end-1), false},
		"GAP with an incarnation behind it":   {header{kind: kindGap, first: end}, missing(end, later, later+1), false},
		"a kind that is not known":            {header{kind: 9, first: end}, nil, false},
	} {
		s := newState([16]byte{})
		s.fence(7, 1<<32)
		s.end = end
		data := append(make([]byte, headerSize), c.body...)
		c.h.body = uint32(len(c.body))
		r := recovered{state: s}
		if err := r.interpret(&record{header: c.h, data: data}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASlotOfAPositionWithRightChecksumsMustMakeSenseToo(t *testing.T) {
	good := (&position{sequence: 1, id: 2, generation: 3, low: 4, finished: []event.Range{{First: 6, Next: 7}}}).append(nil)
	sum := func(b []byte, end int) []byte {
		binary.LittleEndian.PutUint32(b[end:], checksum(b[:end]))
		return b
	}
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		ok     bool
	}{
		"as it is":        {func(b []byte) []byte { return b }, true},
		"another magic":   {func(b []byte) []byte { b[0]++; return sum(b, len(b)-4) }, false},
		"a newer version": {func(b []byte) []byte { b[4]++; return sum(b, len(b)-4) }, false},
		"too short":       {func(b []byte) []byte { return b[:posFixed+3] }, false},
		"cut":             {func(b []byte) []byte { return b[:len(b)-1] }, false},
		"too many ranges": {func(b []byte) []byte {
			b = append(b[:posFixed], make([]byte, 16*(channel.MaxFinished+1)+4)...)
			binary.LittleEndian.PutUint32(b[28:], channel.MaxFinished+1)
			return sum(b, len(b)-4)
		}, false},
		"a lane that there cannot be": {func(b []byte) []byte { b[60] = 2; return sum(b, len(b)-4) }, false},
		"a key longer than the slot":  {func(b []byte) []byte { b[39] = 0xff; return sum(b, len(b)-4) }, false},
	} {
		if _, ok := parsePosition(c.change(bytes.Clone(good))); ok != c.ok {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

// oneFile is a directory that holds META and nothing else.
type oneFile struct {
	files
	text []byte
}

func (f oneFile) Open(string, openMode) (file, error) {
	if f.text == nil {
		return nil, fs.ErrNotExist
	}
	return rehearsed{readerAt: f.text}, nil
}

func TestMETAMustMakeSense(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	text := func(version, id, created string) []byte {
		return sealed(fmt.Sprintf("penstock channel %s\nuuid %s\ncreated %s\n", version, id, created))
	}
	const day = "2026-01-02T03:04:05Z"
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"as it should be":         {text("1", id, day), nil},
		"another version":         {text("2", id, day), errVersion},
		"a uuid that is too long": {text("1", id+"00", day), channel.ErrCorrupt},
		"a uuid that is short":    {text("1", id[2:], day), channel.ErrCorrupt},
		"a uuid that is none":     {text("1", "x"+id[1:], day), channel.ErrCorrupt},
		"no day":                  {text("1", id, "yesterday"), channel.ErrCorrupt},
		"other lines":             {sealed("something else\n"), channel.ErrCorrupt},
		"no checksum":             {[]byte("penstock channel 1\n"), channel.ErrCorrupt},
		"another checksum":        {bytes.Replace(text("1", id, day), []byte("04:05"), []byte("04:06"), 1), channel.ErrCorrupt},
		"something behind it":     {append(text("1", id, day), ' '), channel.ErrCorrupt},
		"nothing":                 {[]byte{}, channel.ErrCorrupt},
	} {
		_, found, err := loadMeta(oneFile{text: c.text})
		if !errors.Is(err, c.want) || c.want == nil && err != nil || !found {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, found, err := loadMeta(oneFile{}); found || err != nil {
		t.Errorf("where there is none: found %v, %v", found, err)
	}
}

func TestLengthsOfARecordThatCannotBeAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		h  header
		ok bool
	}{
		"as it is":                           {header{kind: kindPut, body: 10, raw: 10, tlv: 5}, true},
		"as it is, of another length":        {header{kind: kindPut, body: 10, raw: 11}, false},
		"compressed":                         {header{kind: kindPut, codec: S2, body: 10, raw: 100}, true},
		"compressed to nothing":              {header{kind: kindPut, codec: S2, raw: 100}, false},
		"compressed from nothing":            {header{kind: kindPut, codec: S2, body: 10}, false},
		"compressed from more than a batch":  {header{kind: kindPut, codec: S2, body: 10, raw: event.MaxBatch + 1}, false},
		"a STATE larger than a batch":        {header{kind: kindState, codec: S2, body: 10, raw: event.MaxBatch + 1}, true},
		"a STATE larger than a record":       {header{kind: kindState, codec: S2, body: 10, raw: maxRecord + 1}, false},
		"sealed":                             {header{kind: kindPut, key: 1, body: sealOverhead + 10, raw: 10, tlv: sealOverhead + 1}, true},
		"a sealed body of nothing":           {header{kind: kindPut, key: 1, body: sealOverhead, codec: S2, raw: 10}, false},
		"sealed TLVs of less than a seal":    {header{kind: kindPut, key: 1, tlv: sealOverhead - 1}, false},
		"sealed TLVs of nothing":             {header{kind: kindPut, key: 1, tlv: sealOverhead}, false},
		"a GAP that stands for many records": {header{kind: kindGap, body: 48, raw: 7}, true},
		"a compressed GAP":                   {header{kind: kindGap, codec: S2, body: 48, raw: 7}, false},
	} {
		if _, _, err := c.h.lengths(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestABodyThatUnpacksToAnotherLengthIsRefused(t *testing.T) {
	c, body := newCoder(NoCodec, nil), bytes.Repeat([]byte("body "), 100)
	for _, codec := range []Codec{S2, Zstd} {
		packed := make([]byte, c.room(codec, len(body)))
		b, ok := c.compress(codec, packed, body)
		if !ok {
			t.Fatal("it did not get smaller")
		}
		for _, n := range []int{len(body), len(body) - 1, len(body) + 1} {
			err := c.decompress(codec, make([]byte, n), b)
			if (err == nil) != (n == len(body)) {
				t.Errorf("codec %d, into %d bytes instead of %d: %v", codec, n, len(body), err)
			}
		}
	}
}
