// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// reasonSuffix is what the name of a file has that says why the one beside it was set aside.
	reasonSuffix = ".reason"
	// stampForm is what a name gets at its end when there is one of that name already.
	stampForm = "20060102T150405.000Z"
	// maxNamesakes bounds how many names are tried for a file at once.
	maxNamesakes = 100
)

// leave moves the files away whose last batch is durable, and lets their entries go when the new names are.
func (s *Source) leave(now time.Time) {
	if s.moveErr != nil && now.Before(s.moveAfter) {
		return
	}
	var stay []*file
	var errs error
	stuck := 0
	for _, f := range s.leaving {
		if f.to == "" && !f.dirty && f.seq <= s.durable {
			here, err := s.send(f, now)
			if err != nil {
				errs = errors.Join(errs, err)
				stuck++
			}
			if !here {
				continue
			}
		}
		stay = append(stay, f)
	}
	s.leaving = s.depart(stay, &errs)
	s.stuck.Set(float64(stuck))
	if errs == nil {
		s.moveErr, s.moveTries = nil, 0
		return
	}
	first, _, _ := strings.Cut(errs.Error(), "\n")
	s.moveErr = errors.New(first)
	if s.moveTries++; s.moveTries == 1 {
		s.log.Error("cannot move files away that were read; they are not read again, and moving them is tried again",
			"files", stuck, "error", s.moveErr)
	}
	s.moveAfter = now.Add(backoff(s.moveTries))
}

// depart makes durable that files have moved, and forgets those. It returns the others.
func (s *Source) depart(files []*file, errs *error) (stay []*file) {
	dirs := map[string]bool{}
	for _, f := range files {
		if f.to == "" {
			continue
		}
		dirs[filepath.Dir(f.path)] = true
		for d := filepath.Dir(f.to); strings.HasPrefix(d, s.cfg.root); d = filepath.Dir(d) { // it may be new, and so may its parents
			dirs[d] = true
		}
	}
	for _, d := range slices.Sorted(maps.Keys(dirs)) {
		if err := s.syncDir(d); err != nil {
			*errs = errors.Join(*errs, err)
			return files
		}
	}
	for _, f := range files {
		switch {
		case f.to == "":
			stay = append(stay, f)
			continue
		case f.state == bad:
			s.aside.Add(1)
			s.log.Warn("file set aside", "path", f.path, "to", f.to, "read_to", f.place.Offset, "reason", f.reason)
		default:
			s.done.Add(1)
		}
		s.drop(f)
	}
	return stay
}

func (s *Source) syncDir(path string) error {
	if err := s.at("sync " + s.rel(path)); err != nil {
		return err
	}
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open directory to sync it: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// rel is a path from the spool on.
func (s *Source) rel(path string) string {
	rel, err := filepath.Rel(s.cfg.root, path)
	if err != nil {
		return path
	}
	return rel
}

// send moves or deletes f. here: it is still one of those that leave.
func (s *Source) send(f *file, now time.Time) (here bool, err error) {
	info, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		s.seek(f, now)
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("look at a file that was read: %w", err)
	}
	o := stampOf(info)
	switch {
	case !f.stamp.same(o) && o.ino != f.stamp.ino:
		s.gone(f)
		return false, nil
	case f.state == bad:
		return true, s.setAside(f, now)
	case !f.stamp.same(o): // what was written since is in no channel
		f.state, f.reason = bad, changed("it changed after it was read to its end", f.stamp, o)
		s.touch(f)
		return true, nil
	case s.cfg.remove:
		if err := s.at("delete"); err != nil {
			return true, err
		}
		if err := os.Remove(f.path); err != nil {
			return true, fmt.Errorf("delete a file that was read: %w", err)
		}
		f.to = "-"
		return true, nil
	}
	to, err := s.free(filepath.Join(s.cfg.done, s.rel(f.path)), "", now)
	if err != nil {
		return true, err
	}
	return true, s.move(f, to)
}

func (s *Source) move(f *file, to string) error {
	if err := s.at("rename"); err != nil {
		return err
	}
	if err := os.Rename(f.path, to); err != nil {
		return fmt.Errorf("move a file that was read: %w", err)
	}
	f.to = to
	return nil
}

// setAside writes down why the file is bad, and moves it: whoever finds it there finds the reason, too.
func (s *Source) setAside(f *file, now time.Time) error {
	text := s.reasonOf(f)
	to, err := s.free(filepath.Join(s.cfg.bad, s.rel(f.path)), text, now)
	if err != nil {
		return err
	}
	if err := s.writeReason(to+reasonSuffix, text); err != nil {
		return err
	}
	return s.move(f, to)
}

// reasonOf is what the one who looks after a bad file should know. It is made of the entry alone, so that it is the same after a crash.
func (s *Source) reasonOf(f *file) string {
	var text strings.Builder
	fmt.Fprintf(&text, "file    %s, %d bytes, of %s\nreason  %s\n", f.path, f.stamp.size, clock(f.stamp.mtime), f.reason)
	name := filepath.Base(f.path)
	if f.place.Offset == 0 {
		fmt.Fprintf(&text, "read    nothing of it\nnext    put right what is wrong, and move it back to be read: mv %s %s/\n", quote(name), quote(filepath.Dir(f.path)))
		return text.String()
	}
	fmt.Fprintf(&text, "read    the first %d bytes: their events are in the channel\n", f.place.Offset)
	fmt.Fprintf(&text, "next    to have only what follows read: tail -c +%d %s > %s\n", f.place.Offset+1, quote(name), quote(restPath(f.path)))
	return text.String()
}

// restPath is where to put what was not read of a file.
func restPath(path string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + ".rest" + ext
}

// quote makes a word of a shell.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/+,:@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// writeReason writes a whole file or none.
func (s *Source) writeReason(path, text string) error {
	if err := s.at("reason write"); err != nil {
		return err
	}
	part := filepath.Join(filepath.Dir(path), ".reason.tmp")
	f, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("write why a file is set aside: %w", err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write why a file is set aside: %w", err)
	}
	if err := s.at("reason rename"); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return fmt.Errorf("write why a file is set aside: %w", err)
	}
	return nil
}

// free finds a name that nothing has, and makes its directory. A reason that is there already may be what a crash has left of this one.
func (s *Source) free(path, reason string, now time.Time) (string, error) {
	if err := s.at("make directory"); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("make the folder that a file goes to: %w", err)
	}
	stamped := path + "." + now.UTC().Format(stampForm)
	for n := range maxNamesakes {
		name := path
		switch n {
		case 0:
		case 1:
			name = stamped
		default:
			name = fmt.Sprintf("%s-%d", stamped, n)
		}
		_, err := os.Lstat(name)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for a free name: %w", err)
		}
		if reason == "" {
			return name, nil
		}
		was, err := os.ReadFile(name + reasonSuffix)
		if errors.Is(err, fs.ErrNotExist) || err == nil && string(was) == reason {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s and %d names like it are taken; clear that folder", path, maxNamesakes)
}
