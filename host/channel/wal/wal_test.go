// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openForSuite(t *testing.T, o channeltest.Options) channel.Channel {
	t.Helper()
	return openAt(t, o, Fsync)
}

func openAt(t *testing.T, o channeltest.Options, level Durability) channel.Channel {
	t.Helper()
	sys := realSystem(o.Dir)
	if o.Fault != nil {
		sys = faulty(sys, o.Fault)
	}
	c, err := open(Options{Dir: o.Dir, Capacity: o.Capacity, OnFull: o.OnFull, Pool: o.Buffers, Observer: o.Observer, Durability: level, ForgetAfter: o.ForgetAfter}, sys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestItKeepsTheLaws(t *testing.T) { channeltest.Run(t, openForSuite) }

func TestItKeepsTheLawsBelowFsync(t *testing.T) {
	for name, level := range map[string]Durability{"interval": Interval, "os": OS} {
		t.Run(name, func(t *testing.T) {
			relaxed := func(t *testing.T, o channeltest.Options) channel.Channel {
				t.Helper()
				return openAt(t, o, level)
			}
			channeltest.Run(t, relaxed)
			channeltest.RunDurable(t, relaxed)
			channeltest.RunFaults(t, relaxed, channeltest.StepPut)
		})
	}
}

func TestItKeepsTheLawsOverReopening(t *testing.T) { channeltest.RunDurable(t, openForSuite) }

func TestItKeepsTheLawsWhenTheDiskFails(t *testing.T) {
	channeltest.RunFaults(t, openForSuite, channeltest.StepPut, channeltest.StepSync)
}

// realSystem is the one that Open makes.
func realSystem(dir string) system { return osSystem(dir) }

// faulty asks fault before entries are written and before a segment is flushed.
func faulty(sys system, fault func(step string) error) system {
	openLog := sys.openLog
	sys.files = faultyFiles{sys.files, fault}
	sys.openLog = func(segmentSize int) (appender, error) {
		log, err := openLog(segmentSize)
		return faultyLog{log, fault}, err
	}
	return sys
}

type faultyFiles struct {
	files
	fault func(string) error
}

func (f faultyFiles) Open(name string, how openMode) (file, error) {
	got, err := f.files.Open(name, how)
	if real, ok := got.(osFile); ok && how == writeFile && filepath.Dir(name) == logDir {
		return faultyFile{real, f.fault}, err
	}
	return got, err
}

type faultyFile struct {
	osFile
	fault func(string) error
}

func (f faultyFile) Sync() error {
	if err := f.fault("fsync"); err != nil {
		return err
	}
	return f.osFile.Sync()
}

type faultyLog struct {
	appender
	fault func(string) error
}

func (f faultyLog) Append(first uint64, entries [][]byte) error {
	if err := f.fault("put"); err != nil {
		return err
	}
	return f.appender.Append(first, entries)
}

// bench is a channel in a directory, with words for what tests do to it.
type bench struct {
	*testing.T
	o      Options
	c      *Channel
	log    bytes.Buffer
	filled int // events
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{T: t, o: o}
	if b.o.Dir == "" {
		b.o.Dir = filepath.Join(t.TempDir(), "channel")
	}
	b.o.Log = slog.New(slog.NewTextHandler(&b.log, nil))
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) open() {
	b.Helper()
	b.close()
	c, err := Open(b.o)
	b.must(err)
	b.c = c
}

func (b *bench) close() {
	b.Helper()
	if b.c != nil {
		b.must(b.c.Close())
		b.c = nil
	}
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// batch encodes bodies as the emit of a source does.
func batch(bodies ...string) event.Batch {
	w := event.Builder{Limit: event.MaxBatch}
	for i, body := range bodies {
		if err := w.Append(event.Event{Time: int64(i), Body: []byte(body)}); err != nil {
			panic(err)
		}
	}
	got, err := event.Copy(event.Heap{}, w.Bytes(), event.MaxBatch)
	if err != nil {
		panic(err)
	}
	return got
}

// submit puts one batch of a source, with its cursor at "at".
func submit(c channel.Channel, source, at string, bodies ...string) (wait func() error) {
	tx, err := c.Begin(context.Background())
	if err != nil {
		return func() error { return err }
	}
	p := channel.Put{Source: source, Changed: event.Cursor{"at": []byte(at)}, Version: 1}
	if len(bodies) > 0 {
		p.Batch = batch(bodies...)
	}
	if err := tx.Put(p); err != nil {
		return func() error { return err }
	}
	return tx.Submit()
}

func (b *bench) put(source, at string, bodies ...string) {
	b.Helper()
	b.must(submit(b.c, source, at, bodies...)())
}

func (b *bench) reader(name string) channel.Reader {
	b.Helper()
	r, err := b.c.Reader(channel.ReaderSpec{Name: name})
	b.must(err)
	return r
}

// drain takes and commits what there is now.
func drain(r channel.Reader) (bodies []string, err error) {
	for r.Info().Waiting > 0 {
		l, err := r.Take(context.Background(), channel.Want{})
		if err != nil {
			return bodies, err
		}
		for _, e := range l.Delivery().Batch.All() {
			bodies = append(bodies, string(e.Body))
		}
		if err := l.Commit(); err != nil {
			return bodies, err
		}
	}
	return bodies, nil
}

func (b *bench) drained(r channel.Reader, want ...string) {
	b.Helper()
	got, err := drain(r)
	b.must(err)
	if !slices.Equal(got, want) {
		b.Fatalf("drained %.200q, want %.200q", got, want)
	}
}

func (b *bench) cursor(source, want string) {
	b.Helper()
	p, err := b.c.Cursor(b.Context(), source)
	b.must(err)
	if got := string(p.Cursor["at"]); got != want {
		b.Fatalf("cursor of %s is at %q, want %q", source, got, want)
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.o.Dir, filepath.FromSlash(name)) }

// segmentFiles returns the paths of all segments, oldest first.
func (b *bench) segmentFiles() (paths []string) {
	b.Helper()
	names, err := listSegments(osFiles{b.o.Dir})
	b.must(err)
	for _, f := range names {
		paths = append(paths, b.path(logDir+"/"+f.name))
	}
	return paths
}

// copyDir copies a channel's directory as a kill -9 at this moment would leave it.
func (b *bench) copyDir() string {
	b.Helper()
	to := filepath.Join(b.TempDir(), "copy")
	b.must(os.CopyFS(to, os.DirFS(b.o.Dir)))
	return to
}

func numbered(prefix string, n int) (bodies []string) {
	for i := range n {
		bodies = append(bodies, fmt.Sprintf("%s%04d", prefix, i))
	}
	return bodies
}

func TestASecondOpenNamesTheHolder(t *testing.T) {
	b := newBench(t, Options{})
	_, err := Open(b.o)
	if !errors.Is(err, channel.ErrLocked) || !bytes.Contains([]byte(err.Error()), fmt.Appendf(nil, "pid %d", os.Getpid())) {
		t.Fatalf("the second open answered: %v", err)
	}
	b.put("source.a", "1", "unharmed")
	b.close()
	b.open()
	b.drained(b.reader("sink.a"), "unharmed")
}

func TestTwentyCommittersShareFlushes(t *testing.T) {
	const committers, each = 20, 25
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		slow := func(step string) error {
			if step == "fsync" {
				time.Sleep(5 * time.Millisecond)
			}
			return nil
		}
		c, err := open(Options{Dir: dir}, faulty(realSystem(dir), slow))
		if err != nil {
			t.Fatal(err)
		}
		before := c.Stats()
		var all sync.WaitGroup
		for i := range committers {
			all.Go(func() {
				for range each {
					if err := submit(c, fmt.Sprint("source.", i), "x", "event")(); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		after := c.Stats()
		if n := after.Transactions - before.Transactions; n != committers*each {
			t.Errorf("%d transactions of %d", n, committers*each)
		}
		// Whoever comes while a flush goes on waits for the next one, with all others.
		if syncs := after.Syncs - before.Syncs; syncs > 2*each+1 {
			t.Errorf("%d flushes for %d transactions of %d committers", syncs, committers*each, committers)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTenProducersAndTenTakersLoseAndRepeatNothing(t *testing.T) {
	const workers, each = 10, 60
	pool := channel.NewPool(1 << 20)
	defer pool.Close()
	b := newBench(t, Options{SegmentSize: 8 << 10, Pool: pool, Capacity: channel.Capacity{Events: 200}})
	r, err := b.c.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
	b.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	var producers, takers sync.WaitGroup
	seen := make(chan string, 10*workers*each)
	for i := range workers {
		producers.Go(func() {
			for n := range each {
				if err := submit(b.c, fmt.Sprint("source.", i), fmt.Sprint(n), numbered(fmt.Sprintf("%d-%d-", i, n), 1+n%5)...)(); err != nil {
					t.Error(err)
				}
			}
		})
		takers.Go(func() {
			for n := 0; ; n++ {
				l, err := r.Take(ctx, channel.Want{Events: 1 + (n+i)%7})
				if err != nil {
					return
				}
				if (n+i)%4 == 0 {
					l.Rollback()
					continue
				}
				for _, e := range l.Delivery().Batch.All() {
					seen <- string(e.Body)
				}
				if err := l.Commit(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	producers.Wait()
	for r.Info().Waiting > 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	takers.Wait()
	close(seen)
	count := map[string]int{}
	for s := range seen {
		count[s]++
	}
	for s, n := range count {
		if n != 1 {
			t.Errorf("%s was taken %d times", s, n)
		}
	}
	if want := workers * each / 5 * 15; len(count) != want {
		t.Errorf("%d events of %d", len(count), want)
	}
}
