// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// entry is one thing that happened to a disk, or was said by who worked on it.
type entry struct {
	at   int64  // of a write
	data []byte // of a write; nil: not a write
	note string // what was said; empty and no data: a flush
}

func (e *entry) flush() bool { return e.data == nil && e.note == "" }

// disk is a block device in memory. It keeps all that happens to it once record is called.
type disk struct {
	fs.Inode

	mu        sync.Mutex
	now       *image
	recording bool
	list      []entry
}

var (
	_ fs.NodeOpener    = (*disk)(nil)
	_ fs.NodeReader    = (*disk)(nil)
	_ fs.NodeWriter    = (*disk)(nil)
	_ fs.NodeFsyncer   = (*disk)(nil)
	_ fs.NodeGetattrer = (*disk)(nil)
	_ fs.NodeSetattrer = (*disk)(nil)
)

// record begins the recording, and returns what is there before it.
func (d *disk) record() *image {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recording = true
	return d.now.clone()
}

// recorded ends the recording and returns it.
func (d *disk) recorded() []entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recording = false
	return d.list
}

// note puts a word into the list.
func (d *disk) note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, entry{note: text})
}

// Open has no page cache between the loop device and the list: each write arrives at once, each flush behind its writes.
func (d *disk) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (d *disk) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size, out.Blocks = syscall.S_IFREG|0o600, uint64(d.now.size), uint64(d.now.size)/sectorSize
	return 0
}

func (d *disk) Setattr(ctx context.Context, f fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, out) // of times and modes nothing is kept
}

func (d *disk) Read(_ context.Context, _ fs.FileHandle, dst []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fuse.ReadResultData(dst[:d.now.read(dst, at)]), 0
}

func (d *disk) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at+int64(len(data)) > d.now.size {
		return 0, syscall.ENOSPC
	}
	d.now.write(data, at)
	if d.recording {
		d.list = append(d.list, entry{at: at, data: append([]byte(nil), data...)})
	}
	return uint32(len(data)), 0
}

func (d *disk) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recording {
		d.list = append(d.list, entry{})
	}
	return 0
}

// shelf is the folder in which disks are files.
type shelf struct {
	mounts string // where images are mounted
	root   *fs.Inode
	dir    string
	n      int
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{root: &fs.Inode{}, dir: t.TempDir(), mounts: t.TempDir()}
	// The root of a FUSE tree belongs to go-fuse; only root needs to look into it.
	server, err := fs.Mount(s.dir, s.root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "crash", MaxWrite: 1 << 20}})
	if err != nil {
		t.Fatalf("mount a FUSE tree: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Unmount(); err != nil {
			t.Errorf("unmount the FUSE tree: %v", err)
		}
	})
	return s
}

// put makes a disk a file; remove takes it away again.
func (s *shelf) put(m *image) (d *disk, path string, remove func()) {
	s.n++
	d = &disk{now: m}
	name := fmt.Sprintf("disk%d", s.n)
	s.root.AddChild(name, s.root.NewPersistentInode(context.Background(), d, fs.StableAttr{Mode: syscall.S_IFREG}), false)
	return d, filepath.Join(s.dir, name), func() { s.root.RmChild(name) }
}
