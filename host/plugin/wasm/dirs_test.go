// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/tetratelabs/wazero/experimental/sys"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// goGuest builds the guest in testdata/goguest, once.
var goGuest = sync.OnceValues(func() ([]byte, error) {
	return buildGo("goguest",
		abi.Plugin{Kind: abi.Source, Name: "test", Replay: "cursor"}, abi.Plugin{Kind: abi.Processor, Name: "test"}, abi.Plugin{Kind: abi.Sink, Name: "test", Effects: "none"})
})

// goEcho builds the one in testdata/goecho, once.
var goEcho = sync.OnceValues(func() ([]byte, error) { return buildGo("goecho", abi.Plugin{Kind: abi.Processor, Name: "echo"}) })

// buildGo builds a guest in testdata that has these plugins.
func buildGo(name string, plugins ...abi.Plugin) ([]byte, error) {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-o", out, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	return Pack(code, abi.Manifest{Name: name, Version: "1.0.0", Plugins: plugins})
}

// step is something that the guest does, and what must come of it: a prefix, or an error of the guest's language.
type step struct{ do, want string }

// inGuest lets a guest that was granted dirs do the steps.
func inGuest(t *testing.T, dirs []plugin.Dir, steps ...step) *setup {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and compiles a Go guest")
	}
	code, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{}
	r := s.request(abi.Source)
	var config struct {
		Steps [][]string `json:"steps"`
	}
	for _, st := range steps {
		config.Steps = append(config.Steps, strings.Fields(st.do))
	}
	r.Config, _ = json.Marshal(config)
	r.Dirs = dirs
	if s.Instance, err = load(t, code).Open(t.Context(), abi.Source, r); err != nil {
		t.Fatalf("%v\n%s", err, &s.logs)
	}
	t.Cleanup(func() { s.close(t) })
	for _, st := range steps {
		want := "INFO " + st.do + " = " + st.want
		if s.logs.count(want) == 0 {
			t.Errorf("no %q in the log", want)
		}
	}
	if t.Failed() {
		t.Log(&s.logs)
	}
	return s
}

// write makes files: a name that ends in / is a directory, a text that begins with -> a link.
func write(t *testing.T, files ...string) {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		name, text := files[i], files[i+1]
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if target, ok := strings.CutPrefix(text, "->"); err == nil && ok {
			err = os.Symlink(target, name)
		} else if err == nil && !strings.HasSuffix(name, "/") {
			err = os.WriteFile(name, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAGoGuestWorksInADirectory(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/a.log", "hello", d+"/b.log", "0123456789", d+"/sub/c.log", "c")
	s := inGuest(t, []plugin.Dir{{Path: d, Write: true}},
		step{"read " + d + "/a.log", "hello"},
		step{"glob " + d + "/*.log", d + "/a.log," + d + "/b.log"},
		step{"list " + d, "- a.log,- b.log,d sub/"},
		step{"write " + d + "/new text", ""}, step{"append " + d + "/new more", ""}, step{"append " + d + "/new most", ""},
		step{"read " + d + "/new", "textmoremost"},
		step{"excl " + d + "/new", "File exists"},
		step{"patch " + d + "/b.log", "XY3 5"}, step{"read " + d + "/b.log", "0XY34!"},
		step{"mkdirall " + d + "/x/y/z", ""}, step{"rename " + d + "/new " + d + "/x/y/z/old", ""},
		step{"read " + d + "/new", "No such file or directory"}, step{"read " + d + "/x/y/z/old", "textmoremost"},
		step{"remove " + d + "/x", "Directory not empty"},
		step{"touch " + d + "/x/y/z/old", ""}, step{"stat " + d + "/x/y/z/old", "---------- 12"},
		step{"remove " + d + "/x/y/z/old", ""}, step{"remove " + d + "/x/y/z", ""},
		step{"mkdir " + d + "/x/y", "File exists"},
		step{"list /", "d " + strings.Split(d, "/")[1] + "/"},
		step{"getenv", "PWD="},
	)
	if s.logs.count("mtime=1000000005") == 1 || s.logs.count("mtime=1000000000000000005") != 1 {
		t.Errorf("the time was not set\n%s", &s.logs)
	}
	if s.meter.denied("dir") != 0 {
		t.Errorf("denied: %v\n%s", s.meter.denies, &s.logs)
	}
	if wd, _ := os.Getwd(); s.logs.count("getenv = PWD="+wd) != 1 {
		t.Errorf("environment\n%s", &s.logs)
	}
}

func TestTheGroupMayReadWhatAGuestMakes(t *testing.T) {
	for umask, want := range map[int][2]os.FileMode{0o022: {0o640, 0o750}, 0o077: {0o600, 0o700}} {
		d := t.TempDir()
		func() {
			defer syscall.Umask(syscall.Umask(umask))
			inGuest(t, []plugin.Dir{{Path: d, Write: true}}, step{"write " + d + "/file x", ""}, step{"mkdir " + d + "/dir", ""})
		}()
		for i, name := range []string{"/file", "/dir"} {
			if info, err := os.Stat(d + name); err != nil || info.Mode().Perm() != want[i] {
				t.Errorf("umask %o: %s is %v (%v), want %v", umask, name, info, err, want[i])
			}
		}
	}
}

func TestStatIdentifiesAFile(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/a", "hello")
	if err := os.Link(d+"/a", d+"/b"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(d + "/a")
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	want := fmt.Sprintf("---------- 5 dev=%d ino=%d nlink=2 mtime=%d", st.Dev, st.Ino, info.ModTime().UnixNano())
	inGuest(t, []plugin.Dir{{Path: d}}, step{"stat " + d + "/a", want}, step{"lstat " + d + "/b", want})
}

func TestABigDirectoryIsReadWhole(t *testing.T) {
	d := t.TempDir()
	for i := range 3000 {
		write(t, fmt.Sprintf("%s/file-with-a-longish-name-%d", d, i), "")
	}
	inGuest(t, []plugin.Dir{{Path: d}}, step{"count " + d, "3000 3000"})
}

func TestAReadOnlyDirectoryIsReadOnly(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/a", "hello", d+"/sub/", "")
	const refused = "Read-only file system"
	s := inGuest(t, []plugin.Dir{{Path: d}},
		step{"read " + d + "/a", "hello"},
		step{"write " + d + "/a x", refused}, step{"write " + d + "/new x", refused}, step{"append " + d + "/a x", refused},
		step{"patch " + d + "/a", refused}, step{"rename " + d + "/a " + d + "/b", refused}, step{"remove " + d + "/a", refused},
		step{"mkdir " + d + "/new", refused}, step{"touch " + d + "/a", refused})
	if s.meter.denied("dir") < 8 || s.logs.count("tried what was not granted") == 0 {
		t.Errorf("denied %v\n%s", s.meter.denies, &s.logs)
	}
	if b, _ := os.ReadFile(d + "/a"); string(b) != "hello" {
		t.Errorf("the file holds %q", b)
	}
}

func TestAGuestDoesNotGetOutOfItsDirectories(t *testing.T) {
	d := t.TempDir()
	in, out := d+"/in", d+"/out"
	write(t, in+"/", "", out+"/secret", "secret", in+"x/secret", "secret",
		in+"/absolute", "->"+out+"/secret", in+"/relative", "->../out/secret", in+"/dir", "->"+out, in+"/up", "->..",
		in+"/loop", "->loop", in+"/dangling", "->"+out+"/new", in+"/here", "", in+"/inside", "->here", in+"/again", "->"+in+"/here")
	const refused = "Permission denied"
	s := inGuest(t, []plugin.Dir{{Path: in, Write: true}},
		step{"read " + out + "/secret", refused}, step{"read " + in + "/../out/secret", refused}, step{"read " + in + "x/secret", refused},
		step{"read " + in + "/absolute", refused}, step{"read " + in + "/relative", refused},
		step{"read " + in + "/dir/secret", refused}, step{"read " + in + "/up/out/secret", refused},
		step{"list " + in + "/dir", refused}, step{"stat " + in + "/absolute", refused}, step{"lstat " + in + "/absolute", "L---------"},
		step{"write " + in + "/dangling x", refused}, step{"write " + in + "/dir/new x", refused}, step{"mkdir " + in + "/dir/new", refused},
		step{"rename " + in + "/here " + in + "/dir/here", refused}, step{"rename " + in + "/dir/secret " + in + "/mine", refused},
		step{"remove " + in + "/dir/secret", refused}, step{"rename " + in + "/here " + out + "/here", refused},
		step{"touch " + in + "/absolute", refused}, step{"remove " + in, refused}, step{"rename " + in + " " + in + "2", refused},
		step{"read " + in + "/loop", "Too many symbolic links"},
		step{"read " + in + "/inside", ""}, step{"read " + in + "/again", ""},
		// It makes no links itself, wherever they lead.
		step{"symlink " + out + " " + in + "/mine", "Operation not permitted"}, step{"symlink here " + in + "/mine", "Operation not permitted"},
		step{"link " + in + "/here " + in + "/mine", "Operation not permitted"}, step{"link " + in + "/absolute " + in + "/mine", "Operation not permitted"},
		step{"list " + in, "- here,L absolute,L again,L dangling,L dir,L inside,L loop,L relative,L up"},
		step{"list " + d, "d in/"}, step{"readlink " + in + "/up", ".."})
	if s.meter.denied("dir") < 20 {
		t.Errorf("denied %v", s.meter.denies)
	}
	if b, err := os.ReadFile(out + "/secret"); string(b) != "secret" {
		t.Errorf("outside: %q, %v", b, err)
	}
	if entries, _ := os.ReadDir(out); len(entries) != 1 {
		t.Errorf("outside there are %v", entries)
	}
}

func TestALinkIntoAnotherGrantIsFollowed(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/pods/x/0.log", "zero", d+"/containers/x.log", "->"+d+"/pods/x/0.log", d+"/pods/x/1.log", "->../../containers/y.log", d+"/containers/y.log", "why")
	s := inGuest(t, []plugin.Dir{{Path: d + "/containers", Write: true}, {Path: d + "/pods"}},
		step{"read " + d + "/containers/x.log", "zero"}, step{"read " + d + "/pods/x/1.log", "why"},
		step{"stat " + d + "/containers/x.log", "---------- 4"},
		step{"write " + d + "/containers/x.log no", "Read-only file system"},
		step{"write " + d + "/pods/x/1.log yes", ""},
		step{"rename " + d + "/containers/y.log " + d + "/pods/y.log", "Read-only file system"})
	if b, _ := os.ReadFile(d + "/containers/y.log"); string(b) != "yes" {
		t.Errorf("wrote %q\n%s", b, &s.logs)
	}
}

func TestAGrantInAGrantHasItsOwnRights(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/log/a", "a", d+"/log/out/b", "b", d+"/log/keep/deep/k", "k", d+"/log/way", "->keep/deep")
	const readOnly = "Read-only file system"
	inGuest(t, []plugin.Dir{{Path: d + "/log"}, {Path: d + "/log/out", Write: true}},
		step{"write " + d + "/log/a x", readOnly}, step{"write " + d + "/log/out/b x", ""}, step{"list " + d + "/log", "- a,L way,d keep/,d out/"},
		step{"rename " + d + "/log/out " + d + "/log/other", readOnly})
	inGuest(t, []plugin.Dir{{Path: d + "/log", Write: true}, {Path: d + "/log/keep/deep"}},
		step{"write " + d + "/log/a x", ""}, step{"write " + d + "/log/keep/deep/k x", readOnly}, step{"write " + d + "/log/way/k x", readOnly},
		step{"remove " + d + "/log/way/k", readOnly}, step{"rename " + d + "/log/way/k " + d + "/log/k", readOnly},
		step{"rename " + d + "/log/keep " + d + "/log/moved", "Permission denied"}, step{"remove " + d + "/log/keep/deep", readOnly},
		step{"rename " + d + "/log/a " + d + "/log/b", ""}, step{"read " + d + "/log/keep/deep/k", "k"})
	inGuest(t, []plugin.Dir{{Path: d + "/log/out", Write: true}, {Path: d + "/log/keep", Write: true}},
		step{"rename " + d + "/log/out/b " + d + "/log/keep/b", "Not supported"}, step{"list " + d + "/log", "d keep/,d out/"})
}

func TestADirectoryThatIsMadeLaterOrAnewIsFound(t *testing.T) {
	d := t.TempDir()
	fsys := newDirs([]plugin.Dir{{Path: d + "/log"}}, func(string) {}, func(p string, err error) { t.Errorf("%s: %v", p, err) })
	defer fsys.close()
	look := func() (string, sys.Errno) {
		f, errno := fsys.OpenFile(d+"/log", sys.O_RDONLY, 0)
		if errno != 0 {
			return "", errno
		}
		defer f.Close()
		list, errno := f.Readdir(-1)
		if len(list) == 0 {
			return "", errno
		}
		return list[0].Name, errno
	}
	if _, errno := look(); errno != sys.ENOENT {
		t.Errorf("before: %v", errno)
	}
	for _, name := range []string{"first", "second"} {
		write(t, d+"/log/"+name, "x")
		if got, errno := look(); got != name || errno != 0 {
			t.Errorf("found %q, %v, want %q", got, errno, name)
		}
		if _, errno := fsys.Stat(d + "/log/" + name); errno != 0 {
			t.Errorf("%s: %v", name, errno)
		}
		if err := errors.Join(os.Rename(d+"/log", d+"/old-"+name), nil); err != nil {
			t.Fatal(err)
		}
	}
	write(t, d+"/log/third", "x")
	if _, errno := fsys.Stat(d + "/log/third"); errno != 0 {
		t.Errorf("a file in a new directory: %v", errno)
	}
}

func TestWhatIsNoFileIsNotOpenedAndDoesNotBlock(t *testing.T) {
	d := t.TempDir()
	if err := syscall.Mkfifo(d+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	denied := 0
	fsys := newDirs([]plugin.Dir{{Path: d, Write: true}, {Path: "/dev"}}, func(string) { denied++ }, func(string, error) {})
	defer fsys.close()
	for _, name := range []string{d + "/fifo", "/dev/null"} {
		if _, errno := fsys.OpenFile(name, sys.O_RDONLY, 0); errno != sys.EACCES {
			t.Errorf("%s: %v", name, errno)
		}
	}
	if denied != 2 || fsys.files != 0 {
		t.Errorf("denied %d, %d files open", denied, fsys.files)
	}
}

func TestOpenFilesAreBounded(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/a", "")
	var lost error
	fsys := newDirs([]plugin.Dir{{Path: d}}, func(string) {}, func(_ string, err error) { lost = err })
	defer fsys.close()
	fsys.most = 1
	f, errno := fsys.OpenFile(d+"/a", sys.O_RDONLY, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if _, errno := fsys.OpenFile(d+"/a", sys.O_RDONLY, 0); errno != sys.EAGAIN || !strings.Contains(lost.Error(), "limits.handles") {
		t.Errorf("one too many: %v, %v", errno, lost)
	}
	f.Close()
	if f, errno = fsys.OpenFile(d+"/a", sys.O_RDONLY|sys.O_NOFOLLOW, 0); errno != 0 {
		t.Errorf("after one was closed: %v", errno)
	}
	f.Close()
}
