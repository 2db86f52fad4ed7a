// SPDX-License-Identifier: Apache-2.0

// Package subprocess runs plugins as child processes, on github.com/hashicorp/go-plugin over gRPC (spec/subprocess.md).
//
// Each instance is a process of its own: what one component was granted no other has, and one that is ended takes nobody with
// it. To a pipeline there is no difference to package wasm: an instance that broke is dead and says why, and the pipeline opens another,
// with its own back-off and its own bound on crashes.
//
// Invariants:
//   - A child never outlives the agent, nor what it has started the child: it leads a process group, which is killed when the child is
//     over; it ends itself when its standard input closes; and the kernel ends it with the thread that has started it, which is one
//     that lives as long as the [Runtime].
//   - The environment of a child is made here and holds nothing of the agent's but what is listed in prepare.go.
//   - A batch is checked and copied once, when it arrives; from then on the host owns it.
//   - Whatever a child does ends in an answer: it is asked for its health every few seconds, and one that does not answer is killed.
package subprocess

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
)

// maxSocketDir is how long the directory of sockets may be: the path of a socket has 108 bytes in all, and what go-plugin and a child add
// to it are some forty, with the name of socketDir 13 more, of 5 bits a letter.
const (
	maxSocketDir  = 46
	socketDirName = 12
)

// socketDir makes a directory for the sockets of one child. Other children may be processes of the same user, and the kernel keeps nobody from
// connecting to a socket whose name he knows: so the name cannot be guessed. They can list neither this directory nor the system's sockets.
func (r *Runtime) socketDir() (string, error) {
	dir := filepath.Join(r.sockets, rand.Text()[:socketDirName])
	err := os.Mkdir(dir, 0o700)
	if err == nil && r.isolation.OwnUser {
		err = os.Chmod(dir, 0o711) // the child has the directory below
	}
	if err != nil {
		return "", fmt.Errorf("make a directory for sockets: %w", err)
	}
	return dir, nil
}

// Options say how a Runtime works.
type Options struct {
	// Dir is where children have their sockets and their working directories, a directory of ours alone, of which everything
	// is removed; "" makes one for as long as the Runtime lives.
	Dir string
	// Launcher is what the program that runs is called with for it to call [Exec], its own name first. Without it nothing isolates children
	// but what is theirs anyway.
	Launcher []string
	// Log takes what the runtime does of its own accord; nil discards it. Instances have their own.
	Log *slog.Logger
}

// Runtime starts children. Its methods may be called by many goroutines.
type Runtime struct {
	dir     string
	room    string // of working directories: dir, unless children run as users who cannot reach it
	sockets string // short enough for a socket's path
	log     *slog.Logger
	starter *starter
	times   times

	launcher  []string
	isolation Isolation
	users     users
	copies    copies
}

// times are how long children may take; tests shorten them.
type times struct{ start, sample, health, answer time.Duration }

var _ plugin.Runtime = (*Runtime)(nil)

// New starts a runtime. Nobody else may use its directory.
func New(o Options) (r *Runtime, err error) {
	r = &Runtime{dir: o.Dir, log: o.Log, launcher: o.Launcher, times: times{startTimeout, sampleEvery, healthEvery, healthTimeout}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.dir != "" {
		if err := removeAll(r.dir); err != nil { // left by an agent that was killed
			return nil, fmt.Errorf("make room for subprocesses: %w", err)
		}
		if err := os.Mkdir(r.dir, 0o700); err != nil {
			return nil, fmt.Errorf("make room for subprocesses: %w", err)
		}
	} else if r.dir, err = os.MkdirTemp("", "penstock-"); err != nil {
		return nil, fmt.Errorf("make room for subprocesses: %w", err)
	}
	if err := r.isolate(); err != nil {
		return nil, errors.Join(err, removeAll(r.dir))
	}
	r.starter = newStarter()
	return r, nil
}

// isolate finds out what keeps children to their grants, and makes the directories that they share.
func (r *Runtime) isolate() (err error) {
	if r.isolation = Probe(r.launcher); len(r.launcher) > 0 {
		if err := HideFromChildren(); err != nil {
			return err
		}
		r.isolation.tell(r.log)
	}
	r.copies.dir = filepath.Join(r.dir, "bin")
	if r.room, err = roomFor(r.dir, r.isolation); err != nil {
		return fmt.Errorf("make room for subprocesses: %w", err)
	}
	if r.sockets, err = socketsIn(r.room); err != nil {
		return errors.Join(err, removeAll(r.room))
	}
	return nil
}

// socketsIn is a directory for sockets: dir, if its path is short enough, or else a new one where temporary files are.
func socketsIn(dir string) (string, error) {
	if len(dir) <= maxSocketDir {
		return dir, nil
	}
	for _, temp := range []string{os.TempDir(), "/tmp"} {
		if len(temp) > maxSocketDir-len("/penstock-1234567890") {
			continue
		}
		made, err := os.MkdirTemp(temp, "penstock-")
		if err != nil {
			err = fmt.Errorf("make room for sockets of subprocesses: %w", err)
		}
		return made, err
	}
	return "", fmt.Errorf("%s is too long a path for sockets of subprocesses, and so is %s: set TMPDIR to a directory whose path is shorter", dir, os.TempDir())
}

// Close frees everything. All plugins must have been closed.
func (r *Runtime) Close() error {
	r.starter.close()
	return errors.Join(removeAll(r.sockets), removeAll(r.room), removeAll(r.dir))
}

// Isolation says what keeps children to their grants.
func (r *Runtime) Isolation() Isolation { return r.isolation }

// Load checks the binary at ref.Path, and reads its manifest unless ref has it. None of it runs.
func (r *Runtime) Load(_ context.Context, ref plugin.Ref) (plugin.Plugin, error) {
	p := &Plugin{runtime: r, name: ref.Name, path: ref.Path, args: ref.Args, metrics: report.NewMetrics()}
	if p.args == nil {
		p.args = []string{ref.Path}
	}
	var err error
	if p.digest, p.stat, err = digestOf(ref.Path, io.Discard); err != nil {
		return nil, err
	}
	if ref.Digest != "" && ref.Digest != p.digest {
		return nil, fmt.Errorf("its sha256 is %s, and the pipeline asks for %s; somebody changed the file", p.digest, ref.Digest)
	}
	if ref.Manifest != nil {
		p.manifest = *ref.Manifest
	} else if p.manifest, err = ManifestOf(ref.Path); err != nil {
		return nil, err
	}
	if isSelf(ref.Path) {
		return p, nil
	}
	if p.script, err = isScript(ref.Path); err == nil && !p.script {
		p.private, err = r.copies.take(ref.Path, p.digest)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// ManifestSuffix is what the name of a manifest has beside that of its binary.
const ManifestSuffix = ".manifest.json"

// maxManifest bounds a manifest that is read: the largest of ours has some 20 KiB.
const maxManifest = 1 << 20

// ManifestOf reads the manifest that lies beside the binary. The binary does not run.
func ManifestOf(path string) (m abi.Manifest, err error) {
	if _, err := os.Stat(path); err != nil {
		return m, err
	}
	f, err := os.Open(path + ManifestSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return m, fmt.Errorf("it has no manifest %s beside it; `penstock plugin pack %s` writes one: %w", filepath.Base(path)+ManifestSuffix, path, err)
	}
	if err != nil {
		return m, err
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(doc) > maxManifest {
		err = fmt.Errorf("its manifest has more than %d bytes", maxManifest)
	}
	if err != nil {
		return m, err
	}
	return abi.ParseManifest(doc)
}

// identity is what tells that a file has been changed since it was read, without reading it again.
type identity struct {
	size, modified int64
	file           os.FileInfo
}

// same says whether the file is the one that was read.
func (i identity) same(path string) (bool, error) {
	now, err := os.Stat(path)
	return err == nil && os.SameFile(i.file, now) && now.Size() == i.size && now.ModTime().UnixNano() == i.modified, err
}

// Digest is the sha256 of a program, in hex.
func Digest(path string) (string, error) {
	digest, _, err := digestOf(path, io.Discard)
	return digest, err
}

// digestOf reads a file that can be run, and copies it.
func digestOf(path string, to io.Writer) (digest string, id identity, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", id, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", id, err
	case !info.Mode().IsRegular():
		return "", id, fmt.Errorf("%s is not a file", path)
	case info.Mode()&0o111 == 0 && runtime.GOOS != "windows":
		return "", id, fmt.Errorf("%s cannot be run: chmod +x it, if it is the plugin", path)
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(h, to), f); err != nil {
		return "", id, fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), identity{info.Size(), info.ModTime().UnixNano(), info}, nil
}

// starter starts children, all from one thread: the kernel ends a child with the thread that has started it, and those of Go come and go.
type starter struct {
	work chan func()
	done sync.WaitGroup
}

func newStarter() *starter {
	s := &starter{work: make(chan func())}
	s.done.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		for f := range s.work {
			f()
		}
	})
	return s
}

// run runs f on that thread, and waits for it.
func (s *starter) run(f func()) {
	over := make(chan struct{})
	s.work <- func() {
		defer close(over)
		f()
	}
	<-over
}

// close ends the thread, and with it the children that are left.
func (s *starter) close() {
	close(s.work)
	s.done.Wait()
}

// Self is the path of the program that runs. On Linux it stays so when another is put in its place, as an upgrade does.
func Self() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}
