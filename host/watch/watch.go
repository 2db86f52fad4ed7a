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
	"errors"
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

// Watcher watches files. It is for one goroutine.
type Watcher struct {
	path     string          // a file, or a directory of which all pipeline files and modules count; absolute
	beside   func() []string // may be nil
	watcher  *fsnotify.Watcher
	watching []string
	state    map[string]string // as they were last told of, or at first
	looked   time.Time         // when state was asked for last
}

// New begins to watch a file, or a directory of which all pipeline files and modules count: Run tells of what changes from now on, so that nothing is
// missed by who reads them after it. It returns an error when the system does not let it watch. Close it.
func New(path string) (*Watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	w := &Watcher{path: path, watcher: notify}
	if err := w.follow(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.state = w.look()
	return w, nil
}

// Close gives back what the system lends.
func (w *Watcher) Close() error { return w.watcher.Close() }

// Run calls changed each time that the files have changed, until ctx ends. beside, unless it is nil, says which files count too at this moment, by absolute
// names: modules that lie elsewhere, what the pipeline reads. Both are called by Run's goroutine; what changes meanwhile is found afterwards.
func (w *Watcher) Run(ctx context.Context, beside func() []string, changed func()) {
	w.beside = beside
	w.followOn()
	heard := w.meanwhile(w.state)
	for w.await(ctx, heard) == nil {
		now := w.look()
		if heard = false; maps.Equal(now, w.state) {
			continue
		}
		changed()
		w.followOn()
		heard = w.meanwhile(now)
	}
}

// follow watches the directories of today. They are watched anew each time, since one of the same name may be another by now.
func (w *Watcher) follow() error {
	for _, dir := range w.watching {
		_ = w.watcher.Remove(dir) // it may be gone
	}
	w.watching = w.dirs()
	for _, dir := range w.watching {
		if err := w.watcher.Add(dir); err != nil && dir == w.watching[0] {
			return fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return nil
}

// followOn is follow for who watches already: a directory may be gone for a while, and the files are looked at all the same.
func (w *Watcher) followOn() { _ = w.follow() }

// dirs are the directory of the pipeline, the one that it is in, and those of other files.
func (w *Watcher) dirs() []string {
	dirs := []string{w.path, filepath.Dir(w.path)}
	if !isDir(w.path) {
		dirs = dirs[1:]
	}
	for _, other := range w.others() {
		if dir := filepath.Dir(other); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (w *Watcher) others() []string {
	if w.beside == nil {
		return nil
	}
	return w.beside()
}

// await waits until something has happened, if it is not heard of already, and it is quiet again, or until it is time to look anyway.
func (w *Watcher) await(ctx context.Context, heard bool) error {
	look := time.NewTimer(lookEvery)
	defer look.Stop()
	var latest time.Time // that it is waited for; zero: nothing has happened
	if heard {
		latest = time.Now().Add(patience)
		look.Reset(quiet)
	}
	for {
		select {
		case e := <-w.watcher.Events:
			if !w.concerns(e.Name) {
				continue
			}
		case <-w.watcher.Errors: // events were lost: then something has happened
		case <-look.C:
			w.followOn()
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
func (w *Watcher) concerns(name string) bool {
	if filepath.Dir(name) == w.path || name == w.path || filepath.Base(name) == swapped || slices.Contains(w.others(), name) {
		return true
	}
	return !isDir(w.path) && filepath.Dir(name) == filepath.Dir(w.path) // the directory of a single file: a link that it goes through may be swapped
}

// meanwhile takes for the state what has been told of the files that are wanted by now, and says whether they have changed since: events of directories that
// are watched anew are lost. A file that nobody wanted before is as it was read for that, unless it was written since, or something has come to where it is:
// it may have been missed.
func (w *Watcher) meanwhile(told map[string]string) (changed bool) {
	before := w.looked
	now := w.look()
	w.state = maps.Clone(now)
	for name := range now {
		if was, ok := told[name]; ok {
			w.state[name] = was
		} else if since(name, before) || since(filepath.Dir(name), before) {
			w.state[name] = "" // no digest
		}
	}
	for name, was := range told { // one that has gone meanwhile; others are not wanted any more
		if _, there := now[name]; !there && filepath.Dir(name) == w.path {
			w.state[name] = was
		}
	}
	return !maps.Equal(now, w.state)
}

// since says whether a file, or a directory, is there and was written after a moment, or just before: file systems count in steps.
func since(name string, at time.Time) bool {
	info, err := os.Stat(name)
	return err == nil && info.ModTime().After(at.Add(-quiet/4))
}

// look has a digest of each file that counts.
func (w *Watcher) look() map[string]string {
	w.looked = time.Now()
	state := map[string]string{}
	names := w.others()
	if entries, err := os.ReadDir(w.path); err == nil {
		for _, e := range entries {
			if counts(e.Name()) {
				names = append(names, filepath.Join(w.path, e.Name()))
			}
		}
	} else {
		names = append(names, w.path)
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
