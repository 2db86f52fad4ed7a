// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tetratelabs/wazero/experimental/sys"
	wasys "github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// errManyFiles is what becomes of a file that is one too many.
var errManyFiles = fmt.Errorf("%w: it has as many open as limits.%s allows", syscall.EMFILE, plugin.LimitHandles)

// What a guest makes, as WASI hands on no mode. The agent's group may read, so that the one who reads
// the output need not be root; nobody else may, as logs hold secrets. The umask takes away more.
const (
	fileMode fs.FileMode = 0o640
	dirMode  fs.FileMode = 0o750
)

// dirs is the file system that an instance sees: the granted directories under their paths on the
// host, the directories that lead to them, and nothing else. It is one mount at "/" and not one per
// grant, because guests choose among mounts by comparing strings (to Go's, /var/logs lies in
// /var/log), and because what a guest may not have should be counted here rather than be unseen.
//
// Each grant is an [os.Root], so that the kernel's own resolution keeps a path inside, whatever
// changes meanwhile. A symbolic link that leads out is followed by hand, and only into another grant.
// A guest makes no links of either kind. It belongs to whoever has the instance's turn.
type dirs struct {
	sys.UnimplementedFS
	grants []*grant // longest path first
	carved bool     // one grant lies in another: which of them a path is in may hang on a link
	files  int      // open now
	most   int      // that may be open
	tick   func()   // called now and then, as work is done for the guest; it may panic
	denied func(path string)
	lost   func(path string, err error) // an error that WASI has no number for
}

var _ sys.FS = (*dirs)(nil)

func newDirs(granted []plugin.Dir, denied func(string), lost func(string, error)) *dirs {
	d := &dirs{denied: denied, lost: lost, most: abi.DefaultHandles, tick: func() {}}
	for _, g := range granted {
		d.grants = append(d.grants, &grant{path: path.Clean(g.Path), write: g.Write})
	}
	slices.SortFunc(d.grants, func(a, b *grant) int { return cmp.Compare(len(b.path), len(a.path)) })
	for i, inner := range d.grants {
		d.carved = d.carved || slices.ContainsFunc(d.grants[i+1:], func(outer *grant) bool { return within(inner.path, outer.path) })
	}
	return d
}

// close closes what the grants hold. Files are closed by wazero.
func (d *dirs) close() {
	for _, g := range d.grants {
		g.close()
	}
}

// within says whether p is dir or lies in it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// grant is one granted directory. It is opened when first used, so that one which is made later is found.
type grant struct {
	path  string
	write bool
	root  *os.Root
}

func (g *grant) close() {
	if g.root != nil {
		_ = g.root.Close() // nothing is written through it
		g.root = nil
	}
}

// use runs op on the directory. If something is missing, it looks whether another directory has taken its place.
func (g *grant) use(rel string, op func(*os.Root) error) error {
	if rel == "." {
		g.renew()
	}
	for {
		if g.root == nil {
			root, err := os.OpenRoot(g.path)
			if err != nil {
				return err
			}
			g.root = root
		}
		err := op(g.root)
		if !errors.Is(err, fs.ErrNotExist) || !g.renew() {
			return err
		}
	}
}

// renew lets go of the directory if its path no longer leads to it.
func (g *grant) renew() bool {
	if g.root == nil {
		return false
	}
	held, err1 := g.root.Stat(".")
	there, err2 := os.Stat(g.path)
	if err1 == nil && err2 == nil && os.SameFile(held, there) {
		return false
	}
	g.close()
	return true
}

// place is where a path leads.
type place struct {
	path string // absolute, clean
	rel  string // in the grant
	*grant
}

// find says in which grant p lies: the one with the longest path.
func (d *dirs) find(p string) (place, bool) {
	for _, g := range d.grants {
		if within(p, g.path) {
			rel := strings.TrimPrefix(p[len(g.path):], "/")
			return place{p, cmp.Or(rel, "."), g}, true
		}
	}
	return place{path: p}, false
}

// leads says whether p is a directory on the way to a grant.
func (d *dirs) leads(p string) bool {
	return p == "/" || slices.ContainsFunc(d.grants, func(g *grant) bool { return within(g.path, p) })
}

// intent is what an operation does with a path.
type intent struct {
	write  bool // it changes something
	follow bool // through a link at the end
}

// do finds the place of a path as WASI gives it, without the first slash, and runs op there.
func (d *dirs) do(name string, want intent, op func(root *os.Root, at place) error) sys.Errno {
	d.tick()
	p := path.Clean("/" + name)
	if d.carved || want.write && want.follow { // the rights are those of where the links lead
		real, errno := d.resolve(p, want.follow)
		if errno != 0 {
			return errno
		}
		p = real
	}
	errno, escaped := d.try(p, want, op)
	if !escaped {
		return errno
	}
	real, errno := d.resolve(p, want.follow)
	if errno != 0 {
		return errno
	}
	if errno, escaped = d.try(real, want, op); escaped {
		return d.deny(real, sys.EACCES) // what was resolved has changed since
	}
	return errno
}

func (d *dirs) try(p string, want intent, op func(*os.Root, place) error) (errno sys.Errno, escaped bool) {
	at, ok := d.find(p)
	switch {
	case !ok:
		return d.deny(p, sys.EACCES), false
	case want.write && !at.write:
		return d.deny(p, sys.EROFS), false
	}
	err := at.use(at.rel, func(root *os.Root) error { return op(root, at) })
	if err == nil {
		return 0, false
	}
	if _, ok := errors.AsType[sys.Errno](err); !ok && escapes(err) {
		return 0, true
	}
	return d.errno(p, err), false
}

// escapes recognizes the answer of os.Root to a path that leaves it, for which package os has no name.
func escapes(err error) bool {
	_, system := errors.AsType[syscall.Errno](err)
	return !system && strings.HasSuffix(err.Error(), "path escapes from parent")
}

func (d *dirs) deny(p string, as sys.Errno) sys.Errno {
	d.denied(p)
	return as
}

// errno translates err. WASI's numbers here are few: what has none is told to the host's log, as a guest sees only EIO.
func (d *dirs) errno(p string, err error) sys.Errno {
	if n, ok := errors.AsType[sys.Errno](err); ok {
		return n
	}
	n := sys.UnwrapOSError(err)
	if n == sys.EIO {
		d.lost(p, err)
	}
	return n
}

// resolve follows the links in p by hand, from grant to grant.
func (d *dirs) resolve(p string, followLast bool) (string, sys.Errno) {
	const maxLinks = 40 // as the kernel
	done, todo := "/", split(p)
	for links := 0; len(todo) > 0; {
		next := path.Join(done, todo[0])
		todo = todo[1:]
		at, ok := d.find(next)
		if !ok || at.rel == "." || len(todo) == 0 && !followLast {
			done = next // above a grant there is nothing that a guest could see
			continue
		}
		var target string
		err := at.use(at.rel, func(root *os.Root) error {
			info, err := root.Lstat(at.rel)
			if err == nil && info.Mode()&fs.ModeSymlink != 0 {
				target, err = root.Readlink(at.rel)
			}
			return err
		})
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return path.Join(append([]string{next}, todo...)...), 0 // it may be made there
		case err != nil:
			return "", d.errno(next, err)
		case target == "":
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", sys.ELOOP
		}
		todo = append(split(target), todo...)
		if path.IsAbs(target) {
			done = "/"
		}
	}
	return done, 0
}

func split(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}

// OpenFile implements [sys.FS]. Only regular files and directories are opened, and none blocks.
func (d *dirs) OpenFile(name string, flag sys.Oflag, _ fs.FileMode) (sys.File, sys.Errno) {
	if p := path.Clean("/" + name); d.onTheWay(p) {
		return d.openVirtual(p, flag)
	}
	const writes = sys.O_RDWR | sys.O_WRONLY | sys.O_APPEND | sys.O_CREAT | sys.O_TRUNC
	want := intent{write: flag&writes != 0, follow: flag&sys.O_NOFOLLOW == 0}
	var opened sys.File
	errno := d.do(name, want, func(root *os.Root, at place) error {
		if d.files >= d.most {
			d.lost(at.path, errManyFiles)
			return sys.EAGAIN
		}
		if !want.follow {
			if info, err := root.Lstat(at.rel); err == nil && info.Mode()&fs.ModeSymlink != 0 {
				return sys.ELOOP
			}
		}
		f, err := root.OpenFile(at.rel, openFlags(flag), fileMode)
		if err != nil {
			return err
		}
		opened, err = d.newFile(f, at, flag)
		return err
	})
	return opened, errno
}

func openFlags(flag sys.Oflag) int {
	f := unix.O_NONBLOCK // a FIFO must not hang the guest; newFile refuses it
	switch flag & (sys.O_RDWR | sys.O_WRONLY) {
	case sys.O_RDWR:
		f |= os.O_RDWR
	case sys.O_WRONLY:
		f |= os.O_WRONLY
	}
	for _, m := range [...]struct {
		wasi sys.Oflag
		host int
	}{
		{sys.O_APPEND, os.O_APPEND}, {sys.O_CREAT, os.O_CREATE}, {sys.O_EXCL, os.O_EXCL}, {sys.O_TRUNC, os.O_TRUNC},
		{sys.O_SYNC, os.O_SYNC}, {sys.O_RSYNC, os.O_SYNC}, {sys.O_DSYNC, unix.O_DSYNC}, {sys.O_DIRECTORY, unix.O_DIRECTORY},
	} {
		if flag&m.wasi != 0 {
			f |= m.host
		}
	}
	return f
}

// Stat implements [sys.FS].
func (d *dirs) Stat(name string) (wasys.Stat_t, sys.Errno) {
	return d.stat(name, intent{follow: true}, (*os.Root).Stat)
}

// Lstat implements [sys.FS].
func (d *dirs) Lstat(name string) (wasys.Stat_t, sys.Errno) {
	return d.stat(name, intent{}, (*os.Root).Lstat)
}

func (d *dirs) stat(name string, want intent, f func(*os.Root, string) (fs.FileInfo, error)) (st wasys.Stat_t, errno sys.Errno) {
	if d.onTheWay(path.Clean("/" + name)) {
		return virtualStat, 0
	}
	errno = d.do(name, want, func(root *os.Root, at place) error {
		info, err := f(root, at.rel)
		if err == nil {
			st = wasys.NewStat_t(info)
		}
		return err
	})
	return st, errno
}

// Readlink implements [sys.FS].
func (d *dirs) Readlink(name string) (target string, errno sys.Errno) {
	errno = d.do(name, intent{}, func(root *os.Root, at place) (err error) {
		target, err = root.Readlink(at.rel)
		return err
	})
	return target, errno
}

// Mkdir implements [sys.FS].
func (d *dirs) Mkdir(name string, _ fs.FileMode) sys.Errno {
	if d.onTheWay(path.Clean("/" + name)) {
		return sys.EEXIST
	}
	return d.do(name, intent{write: true}, func(root *os.Root, at place) error {
		if at.rel == "." {
			return sys.EEXIST
		}
		return root.Mkdir(at.rel, dirMode)
	})
}

// Unlink implements [sys.FS].
func (d *dirs) Unlink(name string) sys.Errno { return d.remove(name, false) }

// Rmdir implements [sys.FS].
func (d *dirs) Rmdir(name string) sys.Errno { return d.remove(name, true) }

func (d *dirs) remove(name string, dir bool) sys.Errno {
	return d.do(name, intent{write: true}, func(root *os.Root, at place) error {
		info, err := root.Lstat(at.rel)
		switch {
		case err != nil:
			return err
		case d.leads(at.path):
			return d.deny(at.path, sys.EACCES)
		case dir && !info.IsDir():
			return sys.ENOTDIR
		case !dir && info.IsDir():
			return sys.EISDIR
		}
		return root.Remove(at.rel)
	})
}

// Rename implements [sys.FS]. Both names lie in one grant; a directory in which another grant lies stays where it is.
func (d *dirs) Rename(from, to string) sys.Errno {
	return d.do(from, intent{write: true}, func(_ *os.Root, a place) error {
		return errnoOrNil(d.do(to, intent{write: true}, func(root *os.Root, b place) error {
			switch {
			case d.leads(a.path), d.leads(b.path):
				return d.deny(a.path, sys.EACCES)
			case a.grant != b.grant:
				return sys.ENOTSUP // POSIX says EXDEV, for which there is no number here
			}
			return root.Rename(a.rel, b.rel)
		}))
	})
}

func errnoOrNil(n sys.Errno) error {
	if n == 0 {
		return nil
	}
	return n
}

// Utimens implements [sys.FS].
func (d *dirs) Utimens(name string, atim, mtim int64) sys.Errno {
	return d.do(name, intent{write: true, follow: true}, func(root *os.Root, at place) error {
		return root.Chtimes(at.rel, epoch(atim), epoch(mtim))
	})
}

// epoch makes a time of nanoseconds; the zero time leaves the file's as it is.
func epoch(ns int64) time.Time {
	if ns == sys.UTIME_OMIT {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// Symlink implements [sys.FS]: never. A link is a promise about names that the guest may not see.
func (d *dirs) Symlink(_, name string) sys.Errno {
	return d.deny(path.Clean("/"+name), sys.EPERM)
}

// Link implements [sys.FS]: never, as a second name can outlive a grant.
func (d *dirs) Link(_, name string) sys.Errno {
	return d.deny(path.Clean("/"+name), sys.EPERM)
}
