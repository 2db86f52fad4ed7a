// SPDX-License-Identifier: Apache-2.0

// Package watch tells when pipeline files, or the modules beside them, are others than before.
//
// Directories are watched, never files: editors write a new file and rename it into place, and Kubernetes swaps a symbolic link that a whole
// directory goes through. What an event says counts for little; after each, when things have been quiet for a moment, the files are looked at, and
// somebody is told if what is in them is not what it was.
package watch

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing must have happened before the files are looked at: an editor writes in several steps, a copy of files in many.
	quiet = 200 * time.Millisecond
	// patience bounds how long that is waited for, where something happens all the time.
	patience = 2 * time.Second
	// lookEvery is how often the files are looked at whatever is heard: some file systems say nothing, and a directory may have been replaced above the
	// one that is watched.
	lookEvery = 10 * time.Second
	// swapped is the link that Kubernetes has the files of a directory go through, and swaps.
	swapped = "..data"
	// maxFile bounds what is read of a file: more than any that would be taken.
	maxFile = 64 << 20
)

// Options say what to watch.
type Options struct {
	Path string // a file, or a directory of which all pipeline files and modules count
	// Others are files beside them, by absolute names, as they are wanted at this moment: modules that lie elsewhere, what the pipeline reads. It may be nil.
	Others func() []string
	// Changed is called by the one goroutine of Run. What changes meanwhile is found afterwards.
	Changed func()
}

// Run calls Changed each time that the files have changed, until ctx ends. It returns an error when the system does not let it watch.
func Run(ctx context.Context, o Options) error {
	w, err := fsnotify.NewWatcher()
	if err == nil {
		o.Path, err = filepath.Abs(o.Path)
	}
	if err != nil {
		return fmt.Errorf("watch %s: %w", o.Path, err)
	}
	defer w.Close()
	f := &files{Options: o, watcher: w}
	if err := f.follow(); err != nil {
		return err
	}
	state, heard := f.state(), false
	for {
		if err := f.await(ctx, heard); err != nil {
			return nil // it is over
		}
		now := f.state()
		if heard = false; maps.Equal(now, state) {
			continue
		}
		o.Changed()
		f.followOn()
		state, heard = f.meanwhile(now)
	}
}

// files are those that are watched.
type files struct {
	Options
	watcher  *fsnotify.Watcher
	watching []string
	looked   time.Time // when state was asked for last
}

// follow watches the directories of today. They are watched anew each time, since one of the same name may be another by now.
func (f *files) follow() error {
	for _, dir := range f.watching {
		_ = f.watcher.Remove(dir) // it may be gone
	}
	f.watching = f.dirs()
	for _, dir := range f.watching {
		if err := f.watcher.Add(dir); err != nil && dir == f.watching[0] {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return nil
}

// followOn is follow for who watches already: a directory may be gone for a while, and the files are looked at all the same.
func (f *files) followOn() { _ = f.follow() }

// dirs are the directory of the pipeline, the one that it is in, and those of other files.
func (f *files) dirs() []string {
	path := filepath.Clean(f.Path)
	dirs := []string{path, filepath.Dir(path)}
	if !isDir(path) {
		dirs = dirs[1:]
	}
	for _, other := range f.others() {
		if dir := filepath.Dir(other); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (f *files) others() []string {
	if f.Others == nil {
		return nil
	}
	return f.Others()
}

// await waits until something has happened, if it is not heard of already, and it is quiet again, or until it is time to look anyway.
func (f *files) await(ctx context.Context, heard bool) error {
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	var latest time.Time // that it is waited for; zero: nothing has happened
	if heard {
		latest = time.Now().Add(patience)
		look.Reset(quiet)
	}
	for {
		select {
		case e := <-f.watcher.Events:
			if !f.concerns(e.Name) {
				continue
			}
		case <-f.watcher.Errors: // events were lost: then something has happened
		case <-look.C:
			f.followOn()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		if latest.IsZero() {
			latest = time.Now().Add(patience)
		}
		look.Reset(min(quiet, time.Until(latest)))
	}
}

// concerns says whether an event is about anything that counts. In the directory above the pipeline that is the pipeline alone.
func (f *files) concerns(name string) bool {
	path := filepath.Clean(f.Path)
	if filepath.Dir(name) == path || name == path || filepath.Base(name) == swapped || slices.Contains(f.others(), name) {
		return true
	}
	return !isDir(path) && filepath.Dir(name) == filepath.Dir(path) // the directory of a single file: a link that it goes through may be swapped
}

// meanwhile says what has been told of the files that are wanted by now, and whether they have changed since: events of directories that are watched
// anew are lost. A file that nobody wanted before is as it was read for that, unless it was written since, or something has come to where it is: it may have been missed.
func (f *files) meanwhile(told map[string]string) (state map[string]string, changed bool) {
	before := f.looked
	now := f.state()
	state = maps.Clone(now)
	for name := range now {
		if was, ok := told[name]; ok {
			state[name] = was
		} else if since(name, before) || since(filepath.Dir(name), before) {
			state[name] = "" // no digest
		}
	}
	for name, was := range told { // one that has gone meanwhile; others are not wanted any more
		if _, there := now[name]; !there && filepath.Dir(name) == f.Path {
			state[name] = was
		}
	}
	return state, !maps.Equal(now, state)
}

// since says whether a file, or a directory, is there and was written after a moment, or just before: file systems count in steps.
func since(name string, at time.Time) bool {
	info, err := os.Stat(name)
	return err == nil && info.ModTime().After(at.Add(-quiet/4))
}

// state has a digest of each file that counts.
func (f *files) state() map[string]string {
	f.looked = time.Now()
	state := map[string]string{}
	names := f.others()
	if entries, err := os.ReadDir(f.Path); err == nil {
		for _, e := range entries {
			if counts(e.Name()) {
				names = append(names, filepath.Join(f.Path, e.Name()))
			}
		}
	} else {
		names = append(names, f.Path)
	}
	for _, name := range names {
		h := sha256.New()
		if err := add(h, name); err != nil {
			fmt.Fprint(h, err)
		}
		state[name] = string(h.Sum(nil))
	}
	return state
}

// counts says whether a file in the pipeline's directory is part of it, but for what editors leave about.
func counts(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	return strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".hcl.json") || strings.HasSuffix(name, ".wasm")
}

// add reads a file: its time says nothing, since a copy may keep it.
func add(h io.Writer, name string) error {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(h, io.LimitReader(file, maxFile))
	return err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
