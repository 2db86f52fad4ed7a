// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero"
)

// maxCache is how many bytes of compiled code, and of the modules it was made of, are kept on disk: a Go guest takes some 20 MiB,
// so this holds a dozen of them, or the last versions of a few.
const maxCache = 256 << 20

// openCache opens the compilation cache in dir, or one in memory for "". What lies there is machine
// code that will run in this process, so the directory must be ours alone.
func openCache(dir string) (wazero.CompilationCache, error) {
	if dir == "" {
		return wazero.NewCompilationCache(), nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the compilation cache: %w", err)
	}
	if err := checkPrivate(dir); err != nil {
		return nil, fmt.Errorf("compilation cache: %w", err)
	}
	c, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the compilation cache: %w", err)
	}
	return c, nil
}

func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, and code in it would run as user %d; remove it, or name another", dir, st.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s, and code in it would run here; chmod 700 it after you have looked at who did", dir)
	case info.Mode().Perm() != 0o700:
		return os.Chmod(dir, 0o700)
	}
	return nil
}

// cached is one file of the cache.
type cached struct {
	path string
	size int64
	made time.Time
}

func listCache(dir string) ([]cached, error) {
	var list []cached
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another agent with the same cache was quicker
		}
		if err == nil {
			list = append(list, cached{path, info.Size(), info.ModTime()})
		}
		return err
	})
	return list, err
}

// trimCache removes the oldest files until limit bytes are left. A file that is needed again is made again.
func trimCache(dir string, limit int64) error {
	list, err := listCache(dir)
	if err != nil {
		return fmt.Errorf("list the compilation cache: %w", err)
	}
	slices.SortFunc(list, func(a, b cached) int { return cmp.Or(b.made.Compare(a.made), cmp.Compare(a.path, b.path)) })
	var total int64
	for _, c := range list {
		total += c.size
		if total <= limit {
			continue
		}
		if err := os.Remove(c.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trim the compilation cache: %w", err)
		}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readChecked reads a file that writeChecked wrote. One that is not there, or not whole, as a power cut leaves one, is made anew.
func readChecked(path string) ([]byte, bool) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) < crc32.Size {
		return nil, false
	}
	b, sum := b[:len(b)-crc32.Size], binary.LittleEndian.Uint32(b[len(b)-crc32.Size:])
	return b, crc32.Checksum(b, castagnoli) == sum
}

// writeChecked writes b and its CRC32C, so that another agent with the same cache sees all of it or nothing.
func writeChecked(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		_, err = f.Write(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)))
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// noRoom says whether err came from a disk that takes no more. An agent that starts on one has to drain its channels, and needs no cache for that. Of
// what wazero cannot make a directory for, it tells in words alone.
func noRoom(err error) bool {
	return err != nil && slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS}, func(full error) bool {
		return errors.Is(err, full) || strings.HasSuffix(err.Error(), ": "+full.Error())
	})
}

// spoiled says whether err came from a damaged file of the cache, as a power cut leaves one: then
// the code has to be made anew. wazero has no error value for it.
func spoiled(err error) bool { return strings.Contains(err.Error(), "compilationcache:") }
