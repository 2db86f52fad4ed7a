// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

// forger lays down a log by hand: of right records, and of others that have right checksums too.
type forger struct {
	coder *coder // how records are stored; nil: as they are
	state *state // the sum of the right ones
	data  []byte
	at    []int64 // where each record begins
	index uint64  // of the next
	prev  uint32  // header CRC of the last
}

// forge begins a log with a STATE and a FENCE.
func forge(c *coder) *forger {
	f := &forger{coder: c, state: newState([16]byte{9}), index: 1}
	f.add(header{kind: kindState}, f.state.append(nil))
	f.add(header{kind: kindFence}, f.state.appendFence(nil, 7))
	f.state.fence(7, 0)
	return f
}

// add appends a record, of which the header says what it says.
func (f *forger) add(h header, body []byte) {
	h.index, h.prev = f.index, f.prev
	buf := event.Heap{}.Get(len(body))
	copy(buf.Bytes(), body)
	entry := f.coder.own(event.Heap{}, &h, buf).Frame(headerSize, 0)
	h.put(entry)
	f.at = append(f.at, int64(len(f.data)))
	f.data = append(f.data, segmentOf(entry)...)
	f.index, f.prev = f.index+1, h.crc
}

// put appends a record with one event, written after all before it was flushed.
func (f *forger) put(t *testing.T, body string) {
	t.Helper()
	f.add(header{kind: kindPut, flags: flagDurable, first: f.state.end, events: 1}, encodedBatch(t, body))
	f.state.end++
}

// strikeHeader flips a bit in the header of the record with that index, strikeBody one of its last.
func (f *forger) strikeHeader(index uint64) { f.data[f.at[index-1]+30] ^= 1 }
func (f *forger) strikeBody(index uint64)   { f.data[f.end(index)-1] ^= 1 }

// end is behind the record with that index.
func (f *forger) end(index uint64) int64 {
	if index < uint64(len(f.at)) {
		return f.at[index]
	}
	return int64(len(f.data))
}

func (f *forger) scanner() *scanner {
	return newScanner(readerAt(f.data), 1, int64(len(f.data)), event.Heap{}, nil)
}

// explored returns what explore finds of the log, of which the next segment begins with the record limit.
func (f *forger) explored(limit uint64) (*survey, error) {
	s := f.scanner()
	defer s.release()
	return explore(s, limit)
}

// bytesOf is a record without body and trailer.
func bytesOf(h header) string {
	b := make([]byte, headerSize)
	h.put(b)
	return string(b)
}

// entryOf is the whole entry of one, as it comes into an event when somebody collects the files of a log.
func entryOf(h header) string { return string(segmentOf([]byte(bytesOf(h)))) }

// TestARecordWithinABodyIsNotTakenForTheLog where its place or its offset cannot be right.
func TestARecordWithinABodyIsNotTakenForTheLog(t *testing.T) {
	const hit, limit = 4, 7
	for name, h := range map[string]header{
		"of the same index":   {kind: kindPut, index: hit, first: 1},
		"of an index before":  {kind: kindPut, index: hit - 1, first: 1},
		"of an index behind":  {kind: kindPut, index: limit, first: 1},
		"of an offset before": {kind: kindPut, index: hit + 1, first: 0},
	} {
		f := forge(nil)
		f.put(t, "event 0")
		f.put(t, entryOf(h))
		f.put(t, "event 2")
		f.put(t, "event 3")
		f.strikeHeader(hit)
		found, err := f.explored(limit)
		if err != nil {
			t.Fatal(err)
		}
		if p := found.pieces; len(p) != 3 || p[1].at != f.at[hit-1] || p[1].end != f.at[hit] || p[1].next != hit+1 || p[2].end != int64(len(f.data)) {
			t.Errorf("%s: it found %+v", name, p)
		}
		if h.index < hit {
			s := f.scanner()
			for s.index < hit {
				if _, err := s.next(); err != nil {
					t.Fatal(err)
				}
			}
			if !s.resync(func(*header) bool { return true }) || s.at != f.at[hit] {
				t.Errorf("%s: it goes on at byte %d", name, s.at)
			}
			s.release()
		}
	}
}

// TestARecordWithinATornOneDoesNotMakeItDamage: it says that all before it was flushed, and has no later index.
func TestARecordWithinATornOneDoesNotMakeItDamage(t *testing.T) {
	f := forge(nil)
	f.put(t, "event 0")
	f.put(t, entryOf(header{kind: kindPut, index: 4, first: 1, flags: flagDurable}))
	f.strikeHeader(4)
	found, err := f.explored(0)
	if err != nil {
		t.Fatal(err)
	}
	if p := found.pieces; len(p) != 2 || !p[1].torn {
		t.Errorf("it found %+v", p)
	}
}

// TestOnlyWhatIsDamagedIsPassedOver: what lies behind it counts, whatever is wrong.
func TestOnlyWhatIsDamagedIsPassedOver(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(f *forger) // from record 4 on
		lost   uint64          // records
		torn   bool
	}{
		"a batch of more events than its header says": {func(f *forger) {
			f.add(header{kind: kindPut, first: 1, events: 1}, encodedBatch(t, "one", "two"))
		}, 1, false},
		"a FENCE that is too long":   {func(f *forger) { f.add(header{kind: kindFence, first: offsetStep}, make([]byte, fenceBody+1)) }, 1, false},
		"a STATE in the middle":      {func(f *forger) { f.add(header{kind: kindState, first: 1}, f.state.append(nil)) }, 1, false},
		"a GAP that is none":         {func(f *forger) { f.add(header{kind: kindGap, first: 1}, []byte("?")) }, 1, false},
		"a body that is no batch":    {func(f *forger) { f.add(header{kind: kindPut, first: 1, events: 1}, []byte("?")) }, 1, false},
		"a record that was another":  {func(f *forger) { f.add(header{kind: kindPut, first: 1, events: 1}, []byte("?")); f.prev++ }, 1, false},
		"two bodies, one by another": {func(f *forger) { f.put(t, "one"); f.put(t, "two"); f.strikeBody(4); f.strikeBody(5) }, 2, false},
		"a body and a header":        {func(f *forger) { f.put(t, "one"); f.put(t, "two"); f.strikeBody(4); f.strikeHeader(5) }, 2, false},
	} {
		f := forge(nil)
		f.put(t, "event 0")
		c.damage(f)
		end := int64(len(f.data))
		f.put(t, "behind")
		f.put(t, "and once more")
		for _, limit := range []uint64{f.index, 0} {
			found, err := f.explored(limit)
			if err != nil {
				t.Fatal(err)
			}
			p := found.pieces
			if len(p) != 3 || !found.damaged() || p[1].at != f.at[3] || p[1].end != end || p[1].index != 4 || p[1].next != 4+c.lost || p[1].torn ||
				p[2].cause != nil || p[2].next != f.index {
				t.Errorf("%s: it found %+v", name, p)
			}
		}
	}
}

// TestATornTailBehindDamageIsCutOffWithIt: they are one stretch, to the end of the file.
func TestATornTailBehindDamageIsCutOffWithIt(t *testing.T) {
	f := forge(nil)
	f.put(t, "event 0")
	f.add(header{kind: kindPut, first: 1, events: 1}, []byte("no batch"))
	f.put(t, "event 1")
	f.data = f.data[:len(f.data)-3]
	found, err := f.explored(0)
	if err != nil {
		t.Fatal(err)
	}
	if p := found.pieces; len(p) != 2 || p[1].at != f.at[3] || p[1].end != int64(len(f.data)) || p[1].next != 0 || !p[1].torn {
		t.Errorf("it found %+v", p)
	}
}

func TestASegmentWithMoreRecordsThanTheNextAllowsIsOfAnotherLog(t *testing.T) {
	f := forge(nil)
	f.put(t, "event 0")
	f.put(t, "event 1")
	if found, err := f.explored(4); err == nil || !strings.Contains(err.Error(), "two logs are mixed") {
		t.Errorf("it found %+v, %v", found, err)
	}
	if found, err := f.explored(5); err != nil || found.damaged() {
		t.Errorf("where it ends as it should, it found %+v, %v", found, err)
	}
}

// TestARecordThatDoesNotFitItsPlaceIsRefused whatever the reader of the file could give.
func TestARecordThatDoesNotFitItsPlaceIsRefused(t *testing.T) {
	empty := bytesOf(header{kind: kindPut, index: 1})
	trailed := header{kind: kindPut, index: 1, tlv: 9, tlvCRC: checksum([]byte("a trailer"))}
	magical := []byte(empty)
	magical[1]++
	binary.LittleEndian.PutUint32(magical[68:], checksum(magical[:68]))
	for name, c := range map[string]struct {
		data []byte
		end  int64 // of what counts; 0 = of the data
		want error
	}{
		"as it is":                           {segmentOf([]byte(empty)), 0, nil},
		"an entry longer than its record":    {append(segmentOf([]byte(empty+"?")), 0), 0, errLength},
		"a record longer than its entry":     {append([]byte{headerSize}, bytesOf(trailed)+"a trailer"...), 0, errLength},
		"an entry that has no length":        {[]byte(strings.Repeat("\xff", 100)), 0, errLength},
		"another magic":                      {segmentOf(magical), 0, errMagic},
		"what is behind the end":             {segmentOf([]byte(bytesOf(trailed) + "a trailer")), 75, errShort},
		"a file that is shorter than it was": {segmentOf([]byte(bytesOf(trailed) + "a trailer"))[:75], 82, errShort},
		"a file of which nothing is left":    {nil, 82, errShort},
		"as it is, with a trailer":           {segmentOf([]byte(bytesOf(trailed) + "a trailer")), 0, nil},
		"a trailer that was changed":         {segmentOf([]byte(bytesOf(trailed) + "A trailer")), 0, errTLV},
	} {
		if c.end == 0 {
			c.end = int64(len(c.data))
		}
		s := newScanner(readerAt(c.data), 1, c.end, event.Heap{}, nil)
		_, err := s.next()
		if _, damaged := errors.AsType[*Damage](err); !errors.Is(err, c.want) || damaged != (c.want != nil) {
			t.Errorf("%s: %v", name, err)
		}
		s.release()
	}
}
