// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The parts of a channel's directory.
const (
	metaFile      = "META"
	cleanFile     = "CLEAN"
	lockFile      = "LOCK"
	logDir        = "log"
	posDir        = "pos"
	quarantineDir = "quarantine"
	reserveFile   = "reserve"
	tempSuffix    = ".tmp"

	dirPerms  = 0o750
	filePerms = 0o640
)

// system is all that a channel touches outside its own memory, so that tests can crash it and make it fail.
type system struct {
	files
	// openLog opens the log for appending, behind what is there, in segments of at least that many bytes.
	openLog func(segmentSize int) (appender, error)
	// room says how much of the disk is free; nil: nobody knows.
	room func() (disk, error)
	// ballast makes a file that takes so much room. It need not last: what a crash takes away is made again.
	ballast func(name string, size int64) error
}

// osSystem is the real thing, in a directory that is absolute.
func osSystem(dir string) system {
	files := osFiles{dir}
	return system{
		files:   files,
		openLog: func(segmentSize int) (appender, error) { return openTidwall(filepath.Join(dir, logDir), segmentSize) },
		room:    func() (disk, error) { return diskOf(dir) },
		ballast: files.ballast,
	}
}

// files is the directory of one channel. Names are relative to it, with slashes.
type files interface {
	// List returns the files of a folder by name. A folder that is not there is empty.
	List(dir string) ([]fileInfo, error)
	Open(name string, how openMode) (file, error)
	// Publish replaces a file by one that holds data, durably and at once.
	Publish(name string, data []byte) error
	// Remove unlinks a file; it is durable when its folder is synced.
	Remove(name string) error
}

// file is an open file or folder. Sync makes what it holds durable.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
}

// truncater is a file that can be cut.
type truncater interface{ Truncate(size int64) error }

// preallocater is a file that can be given its room before it is written.
type preallocater interface{ Preallocate(size int64) }

type fileInfo struct {
	name string
	size int64
}

type openMode uint8

const (
	readFile   openMode = iota
	writeFile           // must be there
	createFile          // may be there
	openFolder          // made when it is not there
)

// appender is the tail of the log.
type appender interface {
	// Append writes entries, the first of which is entry number first. After the entry with which a segment
	// reaches its size it flushes that and makes the next. A failed flush wraps errFlush. After an error only Close may be called.
	Append(first uint64, entries [][]byte) error
	// Last is the number of the last entry.
	Last() (uint64, error)
	// Trim frees memory of what was appended to segments before the last.
	Trim()
	// Close flushes and closes the tail.
	Close() error
}

// errFlush: it is unknown what of the written bytes is on disk.
var errFlush = errors.New("flush failed")

// osFiles is the real thing. dir is absolute.
type osFiles struct{ dir string }

func (o osFiles) path(name string) string { return filepath.Join(o.dir, filepath.FromSlash(name)) }

func (o osFiles) List(dir string) ([]fileInfo, error) {
	entries, err := os.ReadDir(o.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []fileInfo
	for _, e := range entries {
		info, ierr := e.Info()
		if errors.Is(ierr, fs.ErrNotExist) { // unlinked since it was listed
			continue
		}
		if ierr != nil {
			return nil, ierr
		}
		if info.Mode().IsRegular() {
			list = append(list, fileInfo{e.Name(), info.Size()})
		}
	}
	return list, err
}

func (o osFiles) Open(name string, how openMode) (file, error) {
	path := o.path(name)
	flags := map[openMode]int{readFile: os.O_RDONLY, writeFile: os.O_RDWR, createFile: os.O_RDWR | os.O_CREATE, openFolder: os.O_RDONLY}[how]
	if how == openFolder {
		if err := os.MkdirAll(path, dirPerms); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, flags, filePerms)
	if err != nil {
		return nil, err
	}
	if how == openFolder {
		return f, nil // (*os.File).Sync is fsync, which is what a folder needs
	}
	return osFile{f}, nil
}

func (o osFiles) Publish(name string, data []byte) error {
	path := o.path(name)
	temp := path + tempSuffix
	if err := writeSynced(temp, data); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerms)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ballast lets the system set the room aside, and writes zeros where it cannot.
func (o osFiles) ballast(name string, size int64) error {
	f, err := os.OpenFile(o.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerms)
	if err != nil {
		return err
	}
	if err = occupy(f, size); errors.Is(err, errors.ErrUnsupported) {
		_, err = io.CopyN(f, zeros{}, size)
	}
	return errors.Join(err, f.Close())
}

// zeros is an endless file of them.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func (o osFiles) Remove(name string) error { return os.Remove(o.path(name)) }

// osFile flushes data alone, without timestamps, where the system can.
type osFile struct{ *os.File }

func (f osFile) Sync() error {
	if err := datasync(f.File); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f osFile) Uncache(size int64) { uncache(f.File, size) }

func (f osFile) Preallocate(size int64) { preallocate(f.File, size) }

// readAll reads the first size bytes of a file.
func readAll(fs files, name string, size int64) ([]byte, error) {
	f, err := fs.Open(name, readFile)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], errors.Join(err, f.Close())
}

// removeTemps removes what a Publish that was cut short left behind.
func removeTemps(fs files) error {
	for _, dir := range []string{".", logDir, quarantineDir} {
		list, err := fs.List(dir)
		if err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		for _, f := range list {
			if !strings.HasSuffix(f.name, tempSuffix) {
				continue
			}
			if err := fs.Remove(join(dir, f.name)); err != nil {
				return fmt.Errorf("remove what an earlier run left behind: %w", err)
			}
		}
	}
	return nil
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// segmentName is the name that the log gives to the segment whose first record has that index.
func segmentName(index uint64) string { return fmt.Sprintf("%s/%020d", logDir, index) }
