// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// A position file is two slots, written in turn, so that a torn write leaves the one before:
//
//	 0  u32  magic "PSP1"
//	 4  u16  version = 1
//	 6  u16  flags: bit 0 = written at a level below fsync, so that it may have outlived what it is about
//	 8  u64  sequence: the higher of two good slots counts
//	16  u64  id of the reader
//	24  u32  generation
//	28  u32  number of finished ranges
//	32  u32  number of assigned ranges
//	36  u32  length of the lane's key
//	40  u64  low mark
//	48  u64  end of the reader; 0 = none
//	56  u32  lane
//	60  u32  lanes; 0 = it gets all
//	64  {u64 first, u64 next}*finished · {u64 first, u64 next, u16 n, member}*assigned · key · u32 CRC-32C of all before
//
// Lane and end are those of the registration: where the log has lost that, it is made up from here.
const (
	posMagic   = 0x31505350
	posVersion = 1
	posRelaxed = 1 // flag
	posFixed   = 64
	// maxAssigned is one more than a ledger has at most, for what reaches beyond what was handed out.
	maxAssigned = channel.MaxShares + 1
	shareFixed  = 18
	// slotSize has room for channel.MaxFinished ranges and maxAssigned ones with the longest names, of which a ledger never has more.
	slotSize = 128 << 10
)

// position is where a reader stood.
type position struct {
	flags      uint16
	sequence   uint64
	id         uint64
	generation uint32
	low        event.Offset
	end        event.Offset // of its registration
	lane       channel.Lane // of its registration
	finished   []event.Range
	shares     []channel.Share // what members of a group were given
	found      bool            // it was read from the disk
	damaged    bool            // not all of what was on the disk could be read
}

// positionFile is a reader's file. Whoever flushes positions owns it.
type positionFile struct {
	file
	name     string
	sequence uint64 // of the slot written last
}

// positionName is the file of a reader: its name, or a digest where that would be too long or unfit for a file.
func positionName(reader string) string {
	const longest = 200
	name := url.PathEscape(reader)
	if len(name) > longest || name[0] == '.' {
		sum := sha256.Sum256([]byte(reader))
		name = hex.EncodeToString(sum[:])
	}
	return posDir + "/" + name
}

func (p *position) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, posMagic)
	dst = le.AppendUint16(dst, posVersion)
	dst = le.AppendUint16(dst, p.flags)
	dst = le.AppendUint64(dst, p.sequence)
	dst = le.AppendUint64(dst, p.id)
	dst = le.AppendUint32(dst, p.generation)
	dst = le.AppendUint32(dst, uint32(len(p.finished)))
	dst = le.AppendUint32(dst, uint32(len(p.shares)))
	dst = le.AppendUint32(dst, uint32(len(p.lane.Key)))
	dst = le.AppendUint64(dst, uint64(p.low))
	dst = le.AppendUint64(dst, uint64(p.end))
	dst = le.AppendUint32(dst, p.lane.Index)
	dst = le.AppendUint32(dst, p.lane.Count)
	for _, r := range p.finished {
		dst = le.AppendUint64(dst, uint64(r.First))
		dst = le.AppendUint64(dst, uint64(r.Next))
	}
	for _, s := range p.shares {
		dst = le.AppendUint64(dst, uint64(s.First))
		dst = le.AppendUint64(dst, uint64(s.Next))
		dst = le.AppendUint16(dst, uint16(len(s.Member)))
		dst = append(dst, s.Member...)
	}
	dst = append(dst, p.lane.Key...)
	return le.AppendUint32(dst, checksum(dst))
}

// parsePosition decodes one slot.
func parsePosition(b []byte) (p position, ok bool) {
	le := binary.LittleEndian
	if len(b) < posFixed+4 || le.Uint32(b) != posMagic || le.Uint16(b[4:]) != posVersion {
		return p, false
	}
	n, m := int64(le.Uint32(b[28:])), le.Uint32(b[32:])
	if n > channel.MaxFinished || m > maxAssigned {
		return p, false
	}
	assigned := posFixed + 16*n
	shares, key, ok := parseShares(b, assigned, int(m))
	end := key + int64(le.Uint32(b[36:]))
	if !ok || end+4 > int64(len(b)) || checksum(b[:end]) != le.Uint32(b[end:]) {
		return p, false
	}
	p = position{
		flags: le.Uint16(b[6:]), sequence: le.Uint64(b[8:]), id: le.Uint64(b[16:]), generation: le.Uint32(b[24:]),
		low: event.Offset(le.Uint64(b[40:])), end: event.Offset(le.Uint64(b[48:])),
		lane:   channel.Lane{Key: string(b[key:end]), Index: le.Uint32(b[56:]), Count: le.Uint32(b[60:])},
		shares: shares,
	}
	for b := b[posFixed:assigned]; len(b) > 0; b = b[16:] {
		p.finished = append(p.finished, event.Range{First: event.Offset(le.Uint64(b)), Next: event.Offset(le.Uint64(b[8:]))})
	}
	return p, p.lane.Check() == nil
}

// parseShares decodes n assigned ranges that stand at an offset of b, and returns where they end.
func parseShares(b []byte, at int64, n int) (shares []channel.Share, end int64, ok bool) {
	le := binary.LittleEndian
	for range n {
		if at+shareFixed > int64(len(b)) {
			return nil, 0, false
		}
		r := event.Range{First: event.Offset(le.Uint64(b[at:])), Next: event.Offset(le.Uint64(b[at+8:]))}
		name := at + shareFixed
		at = name + int64(le.Uint16(b[at+16:]))
		if at > int64(len(b)) {
			return nil, 0, false
		}
		shares = append(shares, channel.Share{Range: r, Member: string(b[name:at])})
	}
	return shares, at, true
}

// loadPosition reads the position of a reader. Where there is none that can be trusted, it is where the reader began;
// never below what a policy gave up.
func loadPosition(f files, r readerEntry) (position, error) {
	p := position{low: r.first}
	b, err := readAll(f, positionName(r.name), 2*slotSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, fmt.Errorf("read position of %s: %w", r.name, err)
	}
	damaged := len(b) < 2*slotSize
	for slot := range slices.Chunk(b, slotSize) {
		s, ok := parsePosition(slot)
		switch {
		case !ok:
			damaged = damaged || !bytes.Equal(slot, make([]byte, len(slot)))
		case s.id == r.id && s.generation == r.generation && (!p.found || s.sequence > p.sequence):
			p = s
			p.found = true
		}
	}
	p.id, p.generation, p.end, p.lane, p.damaged = r.id, r.generation, r.end, r.lane, damaged
	p.low = max(p.low, r.floor)
	return p, nil
}

// openPosition opens the file of a reader that stands at p for writing, and makes it when it is not there.
func openPosition(f files, reader string, p position) (*positionFile, error) {
	name := positionName(reader)
	file, err := f.Open(name, writeFile)
	if errors.Is(err, fs.ErrNotExist) {
		if err = p.publish(f, name); err == nil {
			file, err = f.Open(name, writeFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open position of %s: %w", reader, err)
	}
	return &positionFile{file: file, name: name, sequence: p.sequence}, nil
}

// publish makes a file with p in it: whole and durable, so that no later write of a position needs room on the disk.
func (p *position) publish(f files, name string) error {
	p.sequence++
	slots := make([]byte, 2*slotSize)
	copy(slots[int64(p.sequence%2)*slotSize:], p.append(nil))
	return f.Publish(name, slots)
}

// write puts p into the slot that is not the newest.
func (p *positionFile) write(pos *position) error {
	pos.sequence = p.sequence + 1
	if _, err := p.WriteAt(pos.append(nil), int64(pos.sequence%2)*slotSize); err != nil {
		return fmt.Errorf("write %s: %w", p.name, err)
	}
	p.sequence = pos.sequence
	return nil
}
