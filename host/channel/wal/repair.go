// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// repairIdle is how much memory Repair keeps for its next read.
const repairIdle = 4 << 20

// Repair makes a channel openable whose log, META or positions are damaged or missing: what is sound stays,
// what is damaged goes to quarantine, and GAPs say what is missing. It is refused while a process has the
// channel open. With dry set it only says what it would do. After a repair it finds nothing more to do.
// progress, which may be nil, is told how many segments of how many have been looked at.
// What is sealed needs its keys; the first one seals what is written.
func Repair(dir string, dry bool, progress func(done, total int64), keys ...Key) ([]Mended, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("repair channel: %w", err)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, fmt.Errorf("repair channel: %w", err)
	}
	pool := channel.NewPool(repairIdle)
	var sys files = osFiles{dir}
	if dry {
		sys = &rehearsal{files: sys, changed: map[string][]byte{}}
	}
	done, err := repair(sys, pool, coderOf(keys), progress)
	if err = errors.Join(err, pool.Close(), held.Close()); err != nil {
		return done, fmt.Errorf("repair channel %s: %w", dir, err)
	}
	return done, nil
}

// repair mends the channel in sys.
func repair(sys files, pool event.Buffers, c *coder, progress func(done, total int64)) ([]Mended, error) {
	m := &mender{files: sys, pool: pool, coder: c, progress: progress}
	for _, dir := range []string{logDir, posDir, quarantineDir} {
		f, err := sys.Open(dir, openFolder)
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	if err := removeTemps(sys); err != nil {
		return nil, err
	}
	if err := errors.Join(c.missing(sys, pool), c.learn(sys, pool)); err != nil {
		return nil, err
	}
	if err := m.log(true); err != nil {
		return m.done, err
	}
	names, err := listSegments(sys)
	if err != nil {
		return m.done, err
	}
	if len(names) == 0 || names[len(names)-1].size == 0 && len(names) == 1 {
		return m.done, m.beginAnew()
	}
	rec, err := recoverTail(sys, names, pool, c)
	if err != nil {
		return m.done, err
	}
	segments, _, err := heads(sys, rec.before(), rec.tail, 0, 0, pool, c)
	if err != nil {
		return m.done, err
	}
	if err := m.identity(rec.state.uuid); err != nil {
		return m.done, err
	}
	oldest := rec.tail.first
	if len(segments) > 0 {
		oldest = segments[0].first
	}
	return m.done, m.positions(rec.state, oldest)
}

// log mends all segments, the oldest first; missing ones too, if it is asked for.
func (m *mender) log(missing bool) error {
	names, err := listSegments(m)
	if err != nil {
		return err
	}
	indexes, err := m.complete(names, missing)
	if err != nil {
		return err
	}
	for i, index := range indexes {
		prev := uint64(0)
		if i > 0 {
			prev = indexes[i-1]
		}
		var next *neighbour
		if i+1 < len(indexes) {
			if next, err = m.neighbour(indexes[i+1]); err != nil {
				return err
			}
		}
		if _, err := m.segment(index, prev, next); err != nil {
			return err
		}
		if m.progress != nil {
			m.progress(int64(i+1), int64(len(indexes)))
		}
	}
	return nil
}

// complete adds the segments that are missing between others, as far as the STATE behind says where they began.
func (m *mender) complete(names []fileInfo, missing bool) ([]uint64, error) {
	var all []uint64
	for i, f := range names {
		index := segmentIndex(f.name)
		if i > 0 && missing {
			st, err := m.stateOf(index)
			if err != nil {
				return nil, err
			}
			if before := segmentIndex(names[i-1].name); st != nil && st.before.index > before && st.before.index < index {
				all = append(all, st.before.index)
			}
		}
		all = append(all, index)
	}
	return all, nil
}

// neighbour finds out with which offset a segment begins, from its first record that is whole.
func (m *mender) neighbour(index uint64) (*neighbour, error) {
	n := &neighbour{index: index}
	data, err := m.whole(segmentName(index))
	if err != nil {
		return nil, err
	}
	s := newScanner(readerAt(data), index, int64(len(data)), m.pool, m.coder)
	defer s.release()
	rec, err := s.head()
	if err != nil && s.resync(func(h *header) bool { return h.index > index }) {
		rec, err = s.head()
	}
	if err == nil && rec.kind != kindFence {
		n.first, n.known = rec.first, true
	}
	return n, nil
}

// keep copies a file to quarantine.
func (m *mender) keep(name, what string) error {
	data, err := m.whole(name)
	if err != nil {
		return err
	}
	done := Mended{File: name, Length: int64(len(data)), What: what}
	if len(data) > 0 {
		done.Kept = fmt.Sprintf("%s/%s-%d", quarantineDir, strings.ReplaceAll(name, "/", "-"), time.Now().UnixNano())
		if err := m.Publish(done.Kept, data); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	m.done = append(m.done, done)
	return nil
}

// identity makes META say what the log says.
func (m *mender) identity(uuid [16]byte) error {
	old, found, err := loadMeta(m)
	switch {
	case err == nil && found && old.uuid == uuid:
		return nil
	case err != nil && !errors.Is(err, channel.ErrCorrupt):
		return err
	}
	what := "META is missing, it is written anew from the log"
	if found {
		what = "META is damaged or of another channel, it is written anew from the log"
	}
	if err := m.keep(metaFile, what); err != nil {
		return err
	}
	now := newMeta()
	now.uuid = uuid
	return m.Publish(metaFile, now.text())
}

// beginAnew clears the way for an empty log, when there is nothing left of the old one.
func (m *mender) beginAnew() error {
	_, _, merr := loadMeta(m)
	list, err := m.List(posDir)
	if err != nil || len(list) == 0 && merr == nil {
		return err
	}
	// META goes first: without positions, and with the uuid of before, the channel would open as if nothing had been.
	if err := m.move(metaFile, "the log is lost: the channel begins anew, under another uuid"); err != nil {
		return err
	}
	for _, f := range list {
		if err := m.move(posDir+"/"+f.name, "the log is lost, and with it what this position is in"); err != nil {
			return err
		}
	}
	return nil
}

// move keeps a file and removes it.
func (m *mender) move(name, what string) error {
	if err := m.keep(name, what); err != nil {
		return err
	}
	if err := m.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// positions puts readers that stand outside the log at its nearer end.
func (m *mender) positions(st *state, oldest event.Offset) error {
	lowest := st.end
	if len(st.readers) == 0 {
		lowest = 0 // who reads it is not known
	}
	for _, name := range slices.Sorted(maps.Keys(st.readers)) {
		p, err := loadPosition(m, st.readers[name])
		if err != nil {
			return err
		}
		lowest = min(lowest, p.low)
		for gap := range st.gaps {
			if gap.First <= p.low && p.low < gap.Next {
				p.low = gap.Next
			}
		}
		was, what := p.low, ""
		switch {
		case p.low < oldest:
			what = fmt.Sprintf("%s stood at offset %d, the log begins with %d: older segments are missing", name, p.low, oldest)
			p.low = oldest
		case p.low > st.end:
			what = fmt.Sprintf("%s stood at offset %d, the log ends with %d: newer segments are missing", name, p.low, st.end)
			p.low, p.finished = st.end, nil
		case p.damaged:
			what = "a position could not be read: what " + name + " had committed may be delivered again"
		default:
			continue
		}
		if err := m.keep(positionName(name), what); err != nil {
			return err
		}
		if was < p.low {
			m.done[len(m.done)-1].Lost = event.Range{First: was, Next: p.low}
		}
		if err := m.seat(name, &p); err != nil {
			return err
		}
	}
	m.waited(lowest)
	return nil
}

// waited takes from what is lost that which all readers had behind them.
func (m *mender) waited(lowest event.Offset) {
	for i := range m.done {
		if d := &m.done[i]; d.Lost.First < lowest {
			d.Waited = min(d.Waited, uint64(max(d.Lost.Next, lowest)-lowest))
		}
	}
}

// seat writes a position anew.
func (m *mender) seat(name string, p *position) error {
	if err := p.publish(m, positionName(name)); err != nil {
		return fmt.Errorf("write the position of %s: %w", name, err)
	}
	return nil
}

// fromPositions makes up a STATE where there is none in the log: the readers that have positions, and no cursors.
func (m *mender) fromPositions() (*state, error) {
	meta, _, err := loadMeta(m)
	if err != nil {
		if !errors.Is(err, channel.ErrCorrupt) {
			return nil, err
		}
		meta = newMeta()
	}
	st := newState(meta.uuid)
	list, err := m.List(posDir)
	if err != nil {
		return nil, err
	}
	for _, f := range list {
		name, err := url.PathUnescape(f.name)
		if err != nil || positionName(name) != posDir+"/"+f.name {
			continue // its name is a digest, or it is no position
		}
		b, err := readAll(m, posDir+"/"+f.name, 2*slotSize)
		if err != nil {
			return nil, err
		}
		var best position
		for slot := range slices.Chunk(b, slotSize) {
			if p, ok := parsePosition(slot); ok && p.sequence >= best.sequence {
				best = p
			}
		}
		if best.id != 0 {
			st.readers[name] = readerEntry{id: best.id, generation: best.generation, first: best.low, end: best.end, lane: best.lane, name: name}
			st.end = max(st.end, best.low)
		}
	}
	return st, nil
}

// rehearsal is a directory in which changes are only remembered.
type rehearsal struct {
	files
	changed map[string][]byte // nil: removed
}

func (r *rehearsal) List(dir string) ([]fileInfo, error) {
	list, err := r.files.List(dir)
	list = slices.DeleteFunc(list, func(f fileInfo) bool { _, ok := r.changed[join(dir, f.name)]; return ok })
	for name, data := range r.changed {
		if data != nil && filepath.Dir(name) == dir {
			list = append(list, fileInfo{filepath.Base(name), int64(len(data))})
		}
	}
	slices.SortFunc(list, func(a, b fileInfo) int { return strings.Compare(a.name, b.name) })
	return list, err
}

func (r *rehearsal) Open(name string, how openMode) (file, error) {
	if how == openFolder {
		return rehearsed{}, nil
	}
	data, ok := r.changed[name]
	switch {
	case !ok:
		return r.files.Open(name, readFile)
	case data == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return rehearsed{readerAt: data}, nil
}

func (r *rehearsal) Publish(name string, data []byte) error {
	if filepath.Dir(name) == quarantineDir {
		data = nil // nobody reads it again
	}
	if r.changed[name] = bytes.Clone(data); data == nil {
		r.changed[name] = []byte{}
	}
	return nil
}

func (r *rehearsal) Remove(name string) error {
	r.changed[name] = nil
	return nil
}

// rehearsed is a file that was not really written.
type rehearsed struct{ readerAt }

func (rehearsed) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (rehearsed) Close() error                       { return nil }
func (rehearsed) Sync() error                        { return nil }
