// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

var errCrashed = errors.New("the machine has crashed")

// simDisk is a disk in memory that can crash before any of its steps, and then holds what was flushed
// and, by the kind of crash, some of what was not.
type simDisk struct {
	mu      sync.Mutex          // positions are written beside the log
	names   map[string]*simFile // what a process sees
	durable map[string]*simFile // what is in the folders on disk
	steps   int
	crashAt int    // the step that is not made; 0 = none
	half    bool   // of a write, the first half is made
	last    string // the step that was not made
	fail    func(step, name string) error
	bound   int // bytes that all files may have; 0 = no bound
	logs    int // open
	other   int // of them, what is not the channel's
}

// grow says whether there is room for so much more.
func (d *simDisk) grow(n int) error {
	if d.bound > 0 && n > d.free() {
		return syscall.ENOSPC
	}
	return nil
}

func (d *simDisk) free() int {
	used := d.other
	for _, f := range d.names {
		used += len(f.data)
	}
	return max(0, d.bound-used)
}

// with changes the disk, or what happens on it, while timers may run.
func (d *simDisk) with(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *simDisk) has(name string) (there bool) {
	d.with(func() { _, there = d.names[name] })
	return there
}

// leave makes the rest of the machine take all but so many bytes.
func (d *simDisk) leave(room int) {
	d.with(func() {
		d.other = 0
		d.other = d.free() - room
	})
}

func (d *simDisk) ballast(name string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("ballast", name); err != nil {
		return err
	}
	if err := d.grow(int(size)); err != nil {
		return err
	}
	d.names[name] = &simFile{data: make([]byte, size)}
	return nil
}

type simFile struct {
	data   []byte
	synced []byte
	lost   [2]int // what a failed flush marked as clean: read until the next boot, and never written
}

// flush makes data durable, but for what an earlier flush failed to write.
func (f *simFile) flush() {
	f.synced = slices.Clone(f.data)
	if from, to := min(f.lost[0], len(f.synced)), min(f.lost[1], len(f.synced)); from < to {
		clear(f.synced[from:to])
	}
}

func newSimDisk() *simDisk {
	return &simDisk{names: map[string]*simFile{}, durable: map[string]*simFile{}}
}

// failing sets what is asked before each step.
func (d *simDisk) failing(fail func(step, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// step counts one step, and says whether it is made.
func (d *simDisk) step(what, name string) error {
	d.steps++
	if d.crashAt > 0 && d.steps >= d.crashAt {
		if d.last == "" {
			d.last = what + " " + name
		}
		return errCrashed
	}
	if d.fail != nil {
		return d.fail(what, name)
	}
	return nil
}

// after is what a crash leaves.
type after func(f *simFile) []byte

var crashes = map[string]struct {
	names bool // changes of folders that were not flushed are there too
	data  after
}{
	"power cut, nothing unflushed is there":          {false, func(f *simFile) []byte { return f.synced }},
	"kill -9, all is there":                          {true, func(f *simFile) []byte { return f.data }},
	"power cut, names are there, data is not":        {true, func(f *simFile) []byte { return f.synced }},
	"power cut, half of the unflushed is there":      {false, func(f *simFile) []byte { return halved(f) }},
	"power cut, zeros where the unflushed should be": {true, func(f *simFile) []byte { return zeroed(f) }},
	"power cut, later pages are there, earlier not":  {true, func(f *simFile) []byte { return reordered(f) }},
}

func halved(f *simFile) []byte {
	if len(f.data) <= len(f.synced) {
		return f.data
	}
	return f.data[:(len(f.synced)+len(f.data))/2]
}

func zeroed(f *simFile) []byte {
	b := slices.Clone(f.synced)
	return append(b, make([]byte, max(0, len(f.data)-len(f.synced)))...)
}

func reordered(f *simFile) []byte {
	b := slices.Clone(f.data)
	if n := len(f.synced); len(b) > n {
		clear(b[n : n+(len(b)-n)/2])
	}
	return b
}

// crash returns the disk that the next boot finds.
func (d *simDisk) crash(kind string) *simDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	how := crashes[kind]
	left := newSimDisk()
	left.bound, left.other = d.bound, d.other
	names := d.durable
	if how.names {
		names = d.names
	}
	for name, f := range names {
		b := slices.Clone(how.data(f))
		left.names[name] = &simFile{data: b, synced: slices.Clone(b)}
	}
	left.durable = maps.Clone(left.names)
	return left
}

func (d *simDisk) system() system {
	sys := system{files: d, openLog: func(segmentSize int) (appender, error) { return openSimLog(d, segmentSize) }}
	if d.bound > 0 {
		sys.ballast = d.ballast
		sys.room = func() (now disk, err error) {
			d.with(func() { now = disk{uint64(d.free()), uint64(d.bound)} })
			return now, nil
		}
	}
	return sys
}

func (d *simDisk) List(dir string) (list []fileInfo, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.names {
		if path.Dir(name) == dir {
			list = append(list, fileInfo{path.Base(name), int64(len(f.data))})
		}
	}
	slices.SortFunc(list, func(a, b fileInfo) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

func (d *simDisk) Open(name string, how openMode) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if how == openFolder {
		return &simHandle{d: d, name: name, folder: true}, nil
	}
	f, ok := d.names[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &simHandle{d: d, name: name, f: f}, nil
}

func (d *simDisk) Publish(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("publish", name); err != nil {
		return err
	}
	if err := d.grow(len(data)); err != nil {
		return err
	}
	f := &simFile{data: slices.Clone(data), synced: slices.Clone(data)}
	d.names[name+tempSuffix] = f // a new file: nothing is lost in it
	if err := d.step("rename", name); err != nil {
		return err
	}
	delete(d.names, name+tempSuffix)
	d.names[name] = f
	return d.syncDir(path.Dir(name))
}

func (d *simDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.names[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	if err := d.step("remove", name); err != nil {
		return err
	}
	delete(d.names, name)
	return nil
}

func (d *simDisk) syncDir(dir string) error {
	if err := d.step("dirsync", dir); err != nil {
		return err
	}
	for name := range d.durable {
		if _, there := d.names[name]; path.Dir(name) == dir && !there {
			delete(d.durable, name)
		}
	}
	for name, f := range d.names {
		if path.Dir(name) == dir {
			d.durable[name] = f
		}
	}
	return nil
}

// writeBack is what a kernel does when it has time.
func (d *simDisk) writeBack(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, f := range d.names {
		if path.Dir(name) == dir {
			f.flush()
		}
	}
}

// simHandle is an open file or folder.
type simHandle struct {
	d      *simDisk
	name   string
	f      *simFile
	folder bool
}

func (h *simHandle) Close() error { return nil }

func (h *simHandle) ReadAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return bytes.NewReader(h.f.data).ReadAt(b, at)
}

func (h *simHandle) WriteAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.d.step("write", h.name)
	if err != nil && h.d.half {
		b = b[:len(b)/2]
	} else if err != nil {
		return 0, err
	}
	if grow := int(at) + len(b) - len(h.f.data); err == nil && h.d.grow(grow) != nil {
		err, b = syscall.ENOSPC, b[:max(0, len(b)-grow+h.d.free())] // what fits is written
	}
	if grow := int(at) + len(b) - len(h.f.data); grow > 0 {
		h.f.data = append(slices.Clip(h.f.data), make([]byte, grow)...)
	}
	return copy(h.f.data[at:], b), err
}

func (h *simHandle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.folder {
		return h.d.syncDir(h.name)
	}
	if err := h.d.step("fsync", h.name); err != nil {
		if !errors.Is(err, errCrashed) {
			h.f.lost = [2]int{len(h.f.synced), len(h.f.data)}
		}
		return err
	}
	h.f.flush()
	return nil
}

func (h *simHandle) Truncate(size int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.d.step("truncate", h.name); err != nil {
		return err
	}
	h.f.data = h.f.data[:size:size] // on the disk it is when it is flushed
	return nil
}

// simLog appends as tidwall/wal does.
type simLog struct {
	d    *simDisk
	tail *simHandle // nil: it could not make the next segment
	last uint64
	size int
	over bool // an append has failed: it may only be closed
}

func openSimLog(d *simDisk, segmentSize int) (appender, error) {
	names, _ := listSegments(d)
	d.with(func() { d.logs++ })
	l := &simLog{d: d, size: segmentSize}
	if len(names) == 0 {
		return l, l.create()
	}
	name := names[len(names)-1].name
	tail, err := d.Open(logDir+"/"+name, writeFile)
	if err != nil {
		return nil, err
	}
	l.tail = tail.(*simHandle)
	l.last = segmentIndex(name) - 1
	for b := l.tail.f.data; len(b) > 0; l.last++ {
		n, u := binary.Uvarint(b)
		if u <= 0 || uint64(len(b)-u) < n {
			return nil, errors.New("log corrupt")
		}
		b = b[u+int(n):]
	}
	return l, nil
}

func (l *simLog) create() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	name := segmentName(l.last + 1)
	l.tail = nil
	if err := l.d.step("create", name); err != nil {
		return err
	}
	l.d.names[name] = &simFile{}
	l.tail = &simHandle{d: l.d, name: name, f: l.d.names[name]}
	return nil
}

func (l *simLog) Append(first uint64, entries [][]byte) (err error) {
	if l.over || first != l.last+1 {
		return errors.New("out of order")
	}
	defer func() { l.over = err != nil }()
	mark := int64(len(l.tail.f.data))
	b := segmentOf(entries...)
	if _, err := l.tail.WriteAt(b, mark); err != nil {
		return err
	}
	l.last += uint64(len(entries))
	if len(l.tail.f.data) < l.size {
		return nil
	}
	if err := l.tail.Sync(); err != nil {
		return errors.Join(errFlush, err)
	}
	return l.create()
}

func (l *simLog) Last() (uint64, error) { return l.last, nil }
func (l *simLog) Trim()                 {}

func (l *simLog) Close() error {
	l.d.with(func() { l.d.logs-- })
	if l.tail == nil {
		return fs.ErrInvalid
	}
	if err := l.tail.Sync(); err != nil {
		return errors.Join(errFlush, err)
	}
	return nil
}
