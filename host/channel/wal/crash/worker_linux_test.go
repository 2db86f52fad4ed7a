// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
)

// The worker is this binary, run again: a process that can be watched, failed and ended by itself.
const (
	workerDir    = "PENSTOCK_CRASH_DIR"   // where its channel is; set: be a worker
	workerRound  = "PENSTOCK_CRASH_ROUND" // how often there was one before
	workerTask   = "PENSTOCK_CRASH_TASK"  // "open", or the size of a backlog; unset: a round of work
	workerStill  = "PENSTOCK_CRASH_STILL" // set: make no calls but those of the channel
	workerFD     = 3                      // the socket to whoever started it
	steps        = 24                     // of a round
	workerFailed = 3                      // its exit code when it said why
	maxWord      = 64 << 10
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(workerDir); dir != "" {
		os.Exit(beWorker(dir))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if len(shown) > 0 {
			figures().Print(os.Stdout)
		}
		os.Exit(code)
	}))
}

// worker does one round of work on a channel, on one thread: so the n-th call of a kind is the same in each run.
type worker struct {
	c       *wal.Channel
	dir     string
	readers map[string]channel.Reader
	at      map[string]int // what each source submits next begins behind this
	stopped bool
}

func beWorker(dir string) int {
	err := doTask(dir, os.Getenv(workerTask))
	if err != nil {
		say("failed %v", err)
		return workerFailed
	}
	return 0
}

// doTask does what the worker is for.
func doTask(dir, task string) error {
	switch task {
	case "":
		runtime.LockOSThread()
		round, err := strconv.Atoi(os.Getenv(workerRound))
		if err != nil {
			return err
		}
		return work(dir, round)
	case "open":
		return beOpened(dir)
	}
	size, err := strconv.Atoi(task)
	if err != nil {
		return err
	}
	return beBacklog(dir, size)
}

// say tells what happens, and waits until it is written down. It makes no call that is looked at: no write.
func say(format string, args ...any) {
	word := fmt.Appendf(nil, format, args...)
	if err := unix.Sendto(workerFD, word[:min(len(word), maxWord)], 0, nil); err != nil {
		panic("say " + string(word) + ": " + err.Error())
	}
	var b [1]byte
	if _, _, err := unix.Recvfrom(workerFD, b[:], 0); err != nil {
		panic("wait for whoever listens: " + err.Error())
	}
}

func work(dir string, round int) error {
	c, err := wal.Open(options(dir))
	if err != nil {
		return err
	}
	say("open")
	w := &worker{c: c, dir: dir, readers: map[string]channel.Reader{}, at: map[string]int{}}
	if err := w.begin(round); err != nil {
		return errors.Join(err, c.Close())
	}
	for i := range steps {
		w.step(i, round)
	}
	if round%3 == 1 {
		return nil // as if killed: the next opening has to doubt all
	}
	if err := c.Close(); err != nil {
		say("close %v", err)
	}
	return nil
}

// begin registers the readers, one of them late.
func (w *worker) begin(round int) error {
	for _, source := range []string{"source.x", "source.y", "source.idle", quiet} {
		p, err := w.c.Cursor(context.Background(), source)
		if err != nil {
			return err
		}
		w.at[source], _ = strconv.Atoi(string(p.Cursor["at"]))
	}
	if err := w.register("sink.a", channel.Oldest); err != nil {
		return err
	}
	if round == 0 {
		w.put("source.idle")
		return nil
	}
	return w.register("sink.b", channel.Now)
}

func (w *worker) register(name string, start channel.Start) error {
	_, known := w.c.Stats().Readers[name]
	r, err := w.c.Reader(channel.ReaderSpec{Name: name, Start: start})
	if err != nil {
		return err
	}
	w.readers[name] = r
	word := "known " + name
	for source, n := range w.at {
		if start == channel.Now {
			word += fmt.Sprintf(" %s=%d", source, n)
		}
	}
	if !known { // a registration that was not answered may have been one all the same: then it begins at an earlier place
		say("%s", word)
	}
	return nil
}

// step puts a group, takes, and now and then lets the positions be written and the kernel write back what it has.
func (w *worker) step(i, round int) {
	sources := []string{"source.x", "source.y", "source.x"}
	if i%4 == 2 {
		sources = []string{quiet, "source.y", "source.y", "source.x", "source.x", "source.y"}
	}
	w.put(sources...)
	for _, name := range []string{"sink.a", "sink.b"} {
		if r := w.readers[name]; r != nil && i%6 != 5 {
			w.take(r, name, 6+3*i%11)
		}
	}
	if (i+round)%3 == 1 && os.Getenv(workerStill) == "" {
		w.writeBack()
	}
	if i%8 == 7 {
		time.Sleep(120 * time.Millisecond) // positions are written 100 ms after they changed, by the channel's own clock
	}
}

// put submits one transaction of each, in one group, and where one was refused begins again from the cursor.
func (w *worker) put(sources ...string) {
	if w.stopped {
		return
	}
	type flight struct {
		source string
		to     int
		wait   func() error
	}
	var flights []flight
	for _, source := range sources {
		n := w.at[source]
		say("submit %s %d", source, next(n))
		wait, err := submit(w.c, source, n)
		if err != nil {
			wait = func() error { return err }
		}
		flights = append(flights, flight{source, next(n), wait})
		w.at[source] = next(n)
	}
	for _, f := range flights {
		w.settle(f.source, f.to, f.wait())
	}
}

// settle hears how one transaction ended.
func (w *worker) settle(source string, to int, err error) {
	switch {
	case err == nil:
		say("acked %s %d", source, to)
	case errors.Is(err, channel.ErrIndeterminate), errors.Is(err, channel.ErrStopped):
		if !w.stopped {
			say("stopped %v", err)
		}
		w.stopped = true
	default:
		say("refused %s %v", source, err)
		p, cerr := w.c.Cursor(context.Background(), source)
		if cerr != nil {
			say("cursor %v", cerr)
			return
		}
		w.at[source], _ = strconv.Atoi(string(p.Cursor["at"]))
	}
}

// take says what it is about to commit, and commits it; one in five goes back first.
func (w *worker) take(r channel.Reader, name string, n int) {
	if r.Info().Waiting == 0 {
		return
	}
	l, err := r.Take(context.Background(), channel.Want{Events: n})
	if err != nil {
		say("take %v", err)
		return
	}
	word := "lease " + name
	for o, e := range l.Delivery().Batch.All() {
		id, err := numbered(r, o, e)
		if err != nil {
			say("take %v", err)
		}
		word += " " + id
	}
	if n%5 == 0 {
		l.Rollback()
		return
	}
	say("%s", word)
	if err := l.Commit(); err != nil {
		say("commit %v", err)
	}
}

// writeBack has the kernel begin to write what it holds, as it does when it has time; it is no flush.
func (w *worker) writeBack() {
	files, _ := filepath.Glob(filepath.Join(w.dir, "*", "*"))
	for _, name := range files {
		f, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // unlinked meanwhile
		}
		const write = 2 // SYNC_FILE_RANGE_WRITE
		_ = unix.SyncFileRange(f, 0, 0, write)
		_ = unix.Close(f)
	}
}

// listener is who writes down what a worker says.
type listener func(word string)

// runWorker runs one round in a process, under the command that is given, if any.
func runWorker(t *testing.T, dir string, round int, hear listener, command ...string) error {
	t.Helper()
	return watchWorker(t, dir, round, func(w string, _ *os.Process) bool { hear(w); return true }, command...)
}

// watchWorker runs one round in a process. What it says goes to watch, which may end it, and says whether to answer.
func watchWorker(t *testing.T, dir string, round int, watch func(word string, p *os.Process) (answer bool), command ...string) error {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "worker")
	command = append(command, os.Args[0])
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), workerDir+"="+dir, workerRound+"="+strconv.Itoa(round))
	cmd.ExtraFiles = []*os.File{theirs}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	listen(pair[0], func(word string) bool { return watch(word, cmd.Process) })
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w\n%s", err, out.String())
	}
	return nil
}

// listen writes down what comes until the other side is gone.
func listen(socket int, hear func(word string) (answer bool)) {
	defer unix.Close(socket) //nolint:errcheck // nobody is there any more
	b := make([]byte, maxWord)
	for {
		n, _, err := unix.Recvfrom(socket, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		if hear(string(b[:n])) {
			_ = unix.Sendto(socket, []byte{1}, 0, nil)
		}
	}
}
