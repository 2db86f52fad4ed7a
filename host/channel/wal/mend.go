// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Mended is one thing that was not as it should be, and what was done about it. Nothing is ever thrown
// away: the bytes that cannot be used lie in quarantine.
type Mended struct {
	File    string      // within the channel's directory
	Offset  int64       // of the first byte that cannot be used
	Length  int64       // how many
	Records uint64      // of the log that are lost, as far as that is known
	Lost    event.Range // the offsets that are lost, as far as they are known
	Events  uint64      // in Lost; more where the channel was opened in between
	Waited  uint64      // of Events: those that some reader had not delivered, as far as that is known; Repair alone looks
	Kept    string      // where the bytes are now; "" when there were none
	What    string      // a sentence
}

// mender writes segments anew, without what is damaged in them, and with GAPs that say what is missing.
// A segment is replaced as a whole, after what is left out lies in quarantine.
type mender struct {
	files
	pool  event.Buffers
	coder *coder
	done  []Mended

	progress func(done, total int64) // of segments; may be nil
}

// neighbour is a segment before or behind the one that is mended.
type neighbour struct {
	index uint64
	first event.Offset
	known bool // first is
}

// patch is one segment that is being mended.
type patch struct {
	*mender
	*survey
	name   string
	prev   uint64     // of the segment before; 0 = there is none
	follow *neighbour // the segment behind; nil = there is none
	data   []byte     // of the file
	out    []byte
	crc    uint32 // of the last header in out
	after  *state // of the segment behind, once it was read
	gaps   int
}

// segment mends one segment, and returns its size. It does nothing to one that is sound.
func (m *mender) segment(index uint64, prev uint64, next *neighbour) (size int64, err error) {
	name := segmentName(index)
	data, err := m.whole(name)
	if err != nil {
		return 0, err
	}
	limit := uint64(0)
	if next != nil {
		limit = next.index
	}
	s := newScanner(readerAt(data), index, int64(len(data)), m.pool, m.coder)
	defer s.release()
	found, err := explore(s, limit)
	if err != nil || !found.damaged() {
		return int64(len(data)), err
	}
	p := &patch{mender: m, survey: found, name: name, prev: prev, follow: next, data: data}
	if err := p.fill(); err != nil {
		return 0, err
	}
	if err := m.Publish(name, p.out); err != nil {
		return 0, fmt.Errorf("write %s anew: %w", name, err)
	}
	if next == nil && p.gaps > 0 { // what appends counts entries: it goes on in a segment of its own
		if err := m.Publish(segmentName(p.scanner.index), nil); err != nil {
			return 0, fmt.Errorf("begin a segment: %w", err)
		}
	}
	return int64(len(p.out)), nil
}

// whole reads a segment; one that is missing is empty.
func (m *mender) whole(name string) ([]byte, error) {
	f, err := m.Open(name, readFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, maxFile))
	if len(b) == maxFile {
		err = fmt.Errorf("%s has more than %d bytes, which no segment has", name, maxFile)
	}
	return b, errors.Join(err, f.Close())
}

// maxFile bounds what is read of one segment: the largest segment, and a record that sticks out.
const maxFile = maxSegment + maxRecord + roomBehind

// readerAt reads a file that is in memory.
type readerAt []byte

func (b readerAt) ReadAt(p []byte, at int64) (int, error) {
	if at >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fill goes through the pieces.
func (p *patch) fill() error {
	for i := range p.pieces {
		q := &p.pieces[i]
		if q.cause == nil {
			if i == 0 && !p.state { // never: what is not a STATE does not begin a segment
				return fmt.Errorf("%s: %w", p.name, channel.ErrCorrupt)
			}
			p.out, p.crc = append(p.out, p.data[q.at:q.end]...), q.crc
			continue
		}
		if err := p.replace(i); err != nil {
			return err
		}
	}
	return nil
}

// replace puts a STATE and a GAP, as they are needed, in the place of a damaged stretch.
func (p *patch) replace(i int) error {
	q := &p.pieces[i]
	if !q.known[1] && p.follow != nil && p.follow.known {
		q.behind, q.known[1] = p.follow.first, true
	}
	begin := q.index
	if q.index == p.sum.index && p.needsState(q) {
		first, err := p.rebuild(i)
		if err != nil {
			return err
		}
		q.first, q.known[0] = first, true
		begin++
	}
	g := gap{index: begin, lost: event.Range{First: q.first, Next: max(q.first, q.behind)}}
	if !q.known[1] {
		g.lost.Next = g.lost.First
	}
	if q.next > begin {
		g.records = q.next - begin
		g.incarnations = p.incarnations(i, &g)
		g.events = p.events(&g)
		h := header{kind: kindGap, index: begin, prev: p.crc, first: g.lost.First, raw: uint32(g.records), time: time.Now().UnixNano()}
		p.out, p.crc = appendMended(p.out, h, g.body(), p.coder)
		p.gaps++
	}
	return p.aside(q, &g, begin > q.index)
}

// needsState says whether a segment of which q is the beginning must have one: not when nothing of it is left, at
// the end of the log, and the log does not depend on it.
func (p *patch) needsState(q *piece) bool {
	return q.next > 0 || p.prev == 0
}

// rebuild writes the STATE with which the segment begins: the sum of what was before it. It returns the next offset.
func (p *patch) rebuild(i int) (event.Offset, error) {
	st, crc, err := p.sumBefore()
	if err != nil {
		return 0, err
	}
	if st == nil {
		if st, err = p.guess(i); err != nil {
			return 0, err
		}
	}
	h := header{kind: kindState, index: p.sum.index, prev: crc, first: st.end, time: time.Now().UnixNano()}
	p.out, p.crc = appendMended(p.out, h, st.append(nil), p.coder)
	return st.end, nil
}

// sumBefore reads the segment before, at the end of which everything is known; nil when it cannot be read.
func (p *patch) sumBefore() (*state, uint32, error) {
	if p.prev == 0 {
		return nil, 0, nil
	}
	var r recovered
	data, err := p.whole(segmentName(p.prev))
	if err != nil {
		return nil, 0, err
	}
	s := newScanner(readerAt(data), p.prev, int64(len(data)), p.pool, p.coder)
	defer s.release()
	err = r.walk(s)
	if unreadable(err) {
		return nil, 0, err
	}
	if _, damaged := errors.AsType[*Damage](err); damaged || r.tail == nil || s.index != p.sum.index {
		return nil, 0, nil
	}
	r.state.before = s.sum
	return r.state, s.prev, err
}

// guess makes up the STATE of the oldest segment from what is around it. The cursors and readers of later STATEs
// count; where there is none, those in the positions are the readers, and sources begin anew.
func (p *patch) guess(i int) (*state, error) {
	q := &p.pieces[i]
	st, err := p.stateBehind()
	if err != nil {
		return nil, err
	}
	if st == nil {
		if st, err = p.fromPositions(); err != nil {
			return nil, err
		}
		st.incarnations = []incarnation{{id: p.parentBehind(i), first: q.behind &^ (offsetStep - 1)}}
	}
	low := st.end
	for _, r := range st.readers {
		pos, err := loadPosition(p.files, r)
		if err != nil {
			return nil, err
		}
		low = min(low, pos.low)
	}
	switch {
	case !q.known[1]:
	case q.next == q.index+1:
		st.end = q.behind
	default: // what is below every position is not missed
		st.end = max(min(low, q.behind), q.behind&^(offsetStep-1))
	}
	st.before = seal{}
	if p.after != nil { // its sums are those of the end of this segment
		st.events -= min(st.events, p.after.count(event.Range{First: st.end, Next: p.after.end}))
		st.bytes -= min(st.bytes, uint64(len(p.data)))
	}
	if q.index == 1 && q.next == 2 { // the FENCE behind it begins the first incarnation
		st.incarnations = nil
	}
	for n := len(st.incarnations); n > 0 && st.incarnations[n-1].first > st.end; n-- {
		st.incarnations = st.incarnations[:n-1]
	}
	return st, nil
}

// stateBehind reads the STATE of the next segment, nil when there is none.
func (p *patch) stateBehind() (*state, error) {
	if p.follow == nil {
		return nil, nil
	}
	if p.after != nil {
		again := *p.after
		return &again, nil
	}
	st, err := p.stateOf(p.follow.index)
	if st == nil || err != nil {
		return nil, err
	}
	p.after = st
	again := *st
	return &again, nil
}

// stateOf reads the STATE of a segment, nil when it cannot be read.
func (m *mender) stateOf(index uint64) (*state, error) {
	data, err := m.whole(segmentName(index))
	if err != nil {
		return nil, err
	}
	s := newScanner(readerAt(data), index, int64(len(data)), m.pool, m.coder)
	defer s.release()
	rec, err := s.next()
	if unreadable(err) {
		return nil, err
	}
	if err != nil || rec.kind != kindState {
		return nil, nil //nolint:nilerr // it is damaged, and found so in its turn
	}
	st, err := parseState(&rec.header, rec.bodyBytes())
	if err != nil {
		return nil, nil //nolint:nilerr // as above
	}
	return st, nil
}

// parentBehind is the incarnation before the next FENCE that is whole, or one that nobody knows.
func (p *patch) parentBehind(i int) uint64 {
	for _, q := range p.pieces[i:] {
		if q.parent != 0 {
			return q.parent
		}
	}
	var id [8]byte
	rand.Read(id[:]) // never fails
	return binary.LittleEndian.Uint64(id[:])
}

// incarnations are those that began in the gap, whose FENCEs are lost.
func (p *patch) incarnations(i int, g *gap) []incarnation {
	veryFirst := p.sum.index == 1 && g.index == 2 // the second record of all begins the first incarnation
	if !veryFirst && g.lost.First/offsetStep == g.lost.Next/offsetStep {
		return nil
	}
	var list []incarnation
	after, err := p.stateBehind()
	if err == nil && after != nil {
		for _, in := range after.incarnations {
			if in.first <= g.lost.Next && (in.first > g.lost.First || veryFirst && in.first == g.lost.First) {
				list = append(list, in)
			}
		}
		return list
	}
	return []incarnation{{id: p.parentBehind(i), first: g.lost.Next &^ (offsetStep - 1)}}
}

// events is how many events are lost. Where the channel was opened in between and nobody knows when, only those
// behind are counted.
func (p *patch) events(g *gap) (n uint64) {
	after, err := p.stateBehind()
	if err == nil && after != nil {
		return after.count(g.lost)
	}
	if n := len(g.incarnations); n > 0 {
		return event.Range{First: g.incarnations[n-1].first, Next: g.lost.Next}.Len()
	}
	return g.lost.Len()
}

// aside keeps the bytes of a stretch, and notes what was done.
func (p *patch) aside(q *piece, g *gap, state bool) error {
	done := Mended{File: p.name, Offset: q.at, Length: q.end - q.at, Lost: g.lost, Events: g.events, Waited: g.events, Records: g.records}
	if state {
		done.Records++
	}
	switch {
	case q.torn:
		done.What = "the end of the log, which was being written when the process ended, is cut off; it was never acknowledged"
	case q.next == 0:
		done.What = "the end of the log is cut off"
	case len(p.data) == 0:
		done.What = "the segment is missing, another stands in its place"
	case done.Length == 0:
		done.What = "the segment is cut short"
	default:
		done.What = "damaged: " + q.cause.Error()
	}
	if done.Length > 0 {
		done.Kept = quarantineName(p.sum.index, q.at)
		if err := p.Publish(done.Kept, p.data[q.at:q.end]); err != nil {
			return fmt.Errorf("keep what is damaged in %s: %w", done.Kept, err)
		}
	}
	p.done = append(p.done, done)
	return nil
}

func quarantineName(segment uint64, at int64) string {
	return fmt.Sprintf("%s/%020d-%d-%d", quarantineDir, segment, at, time.Now().UnixNano())
}
