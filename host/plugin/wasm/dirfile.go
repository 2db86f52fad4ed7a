// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasys "github.com/tetratelabs/wazero/sys"
)

// file is an open file or directory of a grant. Reads and writes go straight between the kernel and guest memory.
type file struct {
	sys.UnimplementedFile
	f      *os.File
	dirs   *dirs
	path   string
	append bool
	dir    bool
	dev    uint64
	ino    wasys.Inode
}

// newFile takes f over: what is neither a file nor a directory is closed again.
func (d *dirs) newFile(f *os.File, at place, flag sys.Oflag) (sys.File, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, errors.Join(err, f.Close())
	case !info.Mode().IsRegular() && !info.IsDir():
		_ = f.Close()
		return nil, d.deny(at.path, sys.EACCES)
	}
	st := wasys.NewStat_t(info)
	d.files++
	return &file{f: f, dirs: d, path: at.path, append: flag&sys.O_APPEND != 0, dir: info.IsDir(), dev: st.Dev, ino: st.Ino}, nil
}

func (f *file) errno(err error) sys.Errno {
	if err == nil {
		return 0
	}
	return f.dirs.errno(f.path, err)
}

// Dev implements [sys.File].
func (f *file) Dev() (uint64, sys.Errno) { return f.dev, 0 }

// Ino implements [sys.File].
func (f *file) Ino() (wasys.Inode, sys.Errno) { return f.ino, 0 }

// IsDir implements [sys.File].
func (f *file) IsDir() (bool, sys.Errno) { return f.dir, 0 }

// IsAppend implements [sys.File].
func (f *file) IsAppend() bool { return f.append }

// SetAppend implements [sys.File]: it is decided at open.
func (f *file) SetAppend(enable bool) sys.Errno {
	if enable != f.append {
		return sys.ENOSYS
	}
	return 0
}

// Stat implements [sys.File].
func (f *file) Stat() (wasys.Stat_t, sys.Errno) {
	info, err := f.f.Stat()
	if err != nil {
		return wasys.Stat_t{}, f.errno(err)
	}
	return wasys.NewStat_t(info), 0
}

// Read implements [sys.File].
func (f *file) Read(b []byte) (int, sys.Errno) {
	if f.dir {
		return 0, sys.EISDIR
	}
	n, err := f.f.Read(b)
	return n, f.errno(err)
}

// Pread implements [sys.File].
func (f *file) Pread(b []byte, off int64) (int, sys.Errno) {
	switch {
	case f.dir:
		return 0, sys.EISDIR
	case off < 0:
		return 0, sys.EINVAL
	}
	n, err := f.f.ReadAt(b, off)
	return n, f.errno(err)
}

// Write implements [sys.File].
func (f *file) Write(b []byte) (int, sys.Errno) {
	n, err := f.f.Write(b)
	return n, f.errno(err)
}

// Pwrite implements [sys.File]. A file opened to append is appended to, as on Linux.
func (f *file) Pwrite(b []byte, off int64) (int, sys.Errno) {
	switch {
	case off < 0:
		return 0, sys.EINVAL
	case f.append:
		return f.Write(b)
	}
	n, err := f.f.WriteAt(b, off)
	return n, f.errno(err)
}

// filePos is an offset in a file. By its own name it keeps vet from taking the Seek of wazero's interface for io.Seeker's.
type filePos = int64

// Seek implements [sys.File]. A directory can only be read from its beginning again.
func (f *file) Seek(offset filePos, whence int) (int64, sys.Errno) {
	if whence < io.SeekStart || io.SeekEnd < whence || f.dir && (offset != 0 || whence != io.SeekStart) {
		return 0, sys.EINVAL
	}
	n, err := f.f.Seek(offset, whence)
	return n, f.errno(err)
}

// Readdir implements [sys.File]. Inode numbers are left out: they would cost a look at each file, and who wants them does that.
func (f *file) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	if !f.dir {
		return nil, sys.ENOTDIR
	}
	entries, err := f.f.ReadDir(n)
	list := make([]sys.Dirent, len(entries))
	for i, e := range entries {
		list[i] = sys.Dirent{Name: e.Name(), Type: e.Type()}
	}
	return list, f.errno(err)
}

// Truncate implements [sys.File].
func (f *file) Truncate(size int64) sys.Errno {
	switch {
	case f.dir:
		return sys.EISDIR
	case size < 0:
		return sys.EINVAL
	}
	return f.errno(f.f.Truncate(size))
}

// Sync implements [sys.File].
func (f *file) Sync() sys.Errno { return f.errno(f.f.Sync()) }

// Datasync implements [sys.File].
func (f *file) Datasync() sys.Errno { return f.errno(datasync(f.f)) }

// Close implements [sys.File].
func (f *file) Close() sys.Errno {
	err := f.f.Close()
	if !errors.Is(err, os.ErrClosed) {
		f.dirs.files--
	}
	return f.errno(err)
}

// virtual is a directory above a grant: it shows the way there and nothing else.
type virtual struct {
	sys.UnimplementedFile
	names []string // that have not been read
	all   []string
}

var virtualStat = wasys.Stat_t{Ino: 1, Mode: fs.ModeDir | 0o555, Nlink: 1}

// onTheWay says whether p is a directory above a grant, and itself in none.
func (d *dirs) onTheWay(p string) bool {
	_, granted := d.find(p)
	return !granted && d.leads(p)
}

func (d *dirs) openVirtual(p string, flag sys.Oflag) (sys.File, sys.Errno) {
	if flag&(sys.O_RDWR|sys.O_WRONLY|sys.O_CREAT|sys.O_TRUNC) != 0 {
		return nil, d.deny(p, sys.EISDIR)
	}
	var names []string
	for _, g := range d.grants {
		if rest := strings.TrimPrefix(strings.TrimPrefix(g.path, p), "/"); within(g.path, p) && rest != "" {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return &virtual{names: names, all: names}, 0
}

// IsDir implements [sys.File].
func (v *virtual) IsDir() (bool, sys.Errno) { return true, 0 }

// Ino implements [sys.File].
func (v *virtual) Ino() (wasys.Inode, sys.Errno) { return virtualStat.Ino, 0 }

// Stat implements [sys.File].
func (v *virtual) Stat() (wasys.Stat_t, sys.Errno) { return virtualStat, 0 }

// Read implements [sys.File].
func (v *virtual) Read([]byte) (int, sys.Errno) { return 0, sys.EISDIR }

// Seek implements [sys.File].
func (v *virtual) Seek(offset filePos, whence int) (int64, sys.Errno) {
	if offset != 0 || whence != io.SeekStart {
		return 0, sys.EINVAL
	}
	v.names = v.all
	return 0, 0
}

// Readdir implements [sys.File].
func (v *virtual) Readdir(n int) ([]sys.Dirent, sys.Errno) {
	if n <= 0 || n > len(v.names) {
		n = len(v.names)
	}
	var list []sys.Dirent
	for _, name := range v.names[:n] {
		list = append(list, sys.Dirent{Name: path.Base(name), Type: fs.ModeDir})
	}
	v.names = v.names[n:]
	return list, 0
}

// Close implements [sys.File].
func (v *virtual) Close() sys.Errno { return 0 }
