// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// tier is two channels on disk with a relay between them.
type tier struct {
	*testing.T
	dir  string
	step func(string) // of both channels and of the relay
	a, b *wal.Channel
}

func openTier(t *testing.T, dir string, step func(string)) *tier {
	t.Helper()
	r := &tier{T: t, dir: dir, step: step}
	open := func(name string) *wal.Channel {
		c, err := wal.Open(wal.Options{Dir: filepath.Join(dir, name), Observer: channel.Observer{Step: step}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	r.a, r.b = open("a"), open("b")
	return r
}

func (r *tier) close() {
	r.Helper()
	if err := errors.Join(r.a.Close(), r.b.Close()); err != nil {
		r.Fatal(err)
	}
}

// fill puts events into the first channel, so many at a time.
func (r *tier) fill(from, to, each int) {
	r.Helper()
	for ; from < to; from += each {
		var w event.Builder
		for i := range each {
			e := event.Event{Time: int64(1000 + from + i), Body: fmt.Appendf(nil, "event %d", from+i), Attributes: []event.Attribute{{Key: "n", Value: fmt.Append(nil, from+i)}}}
			if err := w.Append(e); err != nil {
				r.Fatal(err)
			}
		}
		putInto(r.T, r.a, channel.Put{Source: "source.a", Batch: w.Batch()})
	}
}

func putInto(t *testing.T, c channel.Channel, p channel.Put) {
	t.Helper()
	tx, err := c.Begin(t.Context())
	if err == nil {
		err = errors.Join(tx.Put(p), tx.Submit()())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stepping is a sink that nobody looks at but by its steps.
type stepping struct {
	quiet
	step func(string)
}

func (s *stepping) Step(name string) { s.step(name) }

// relay makes the sink that takes from the first channel into the second.
func (r *tier) relay(reader channel.Reader, into channel.Channel) *Sink {
	s := newSink(&trace{})
	o := &stepping{step: r.step}
	over := &Relay{Address: "sink.a", From: "channel.a", To: "channel.b", Channel: into, Buffers: event.Heap{}, Exact: true, Fate: o, Backoff: s.Backoff}
	s.Reader, s.Open, s.Observer, s.Want, s.Buffers = reader, over.Open, o, channel.Want{Events: 7}, event.Heap{}
	return s
}

// reader opens the relay's reader of the first channel.
func (r *tier) reader() channel.Reader {
	r.Helper()
	reader, err := r.a.Reader(channel.ReaderSpec{Name: "sink.a"})
	if err != nil {
		r.Fatal(err)
	}
	return reader
}

// run relays until nothing waits, and says what the relay ended with.
func (r *tier) run() error {
	r.Helper()
	reader := r.reader()
	s := r.relay(reader, r.b)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for reader.Info().Waiting > 0 {
		select {
		case err := <-done:
			return errors.Join(err, reader.Close())
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	return errors.Join(<-done, reader.Close())
}

// came are the bodies of all that is in a channel's directory.
func came(t *testing.T, dir string) (bodies []string) {
	t.Helper()
	if _, err := wal.Browse(dir, "", nil, func(_ event.Offset, e event.Event) bool {
		bodies = append(bodies, string(e.Body))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return bodies
}

// once says what is wrong with the events that came, of which there should be n, each once and in order.
func onceEach(bodies []string, n int) string {
	want := make([]string, n)
	for i := range want {
		want[i] = fmt.Sprintf("event %d", i)
	}
	if slices.Equal(bodies, want) {
		return ""
	}
	return fmt.Sprintf("%d events came, %d are wanted, each once and in order: %q", len(bodies), n, bodies)
}

// TestARelayBringsEachEventOnceWhereverItIsKilled takes a picture of both channels before every step, as kill -9 would leave them, goes on from each,
// and from a second picture of that life.
func TestARelayBringsEachEventOnceWhereverItIsKilled(t *testing.T) {
	const events = 30
	root := t.TempDir()
	first := openTier(t, filepath.Join(root, "begin"), func(string) {})
	reader := first.reader()
	first.fill(0, events, 5)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	first.close()
	killed, seen := 0, map[string]int{}
	for at, short := 1, 0; short < 3; at++ {
		dir, picture := filepath.Join(root, fmt.Sprint("life", at)), filepath.Join(root, fmt.Sprint("picture", at))
		copyTier(t, filepath.Join(root, "begin"), dir)
		if !live(t, dir, picture, at, seen) { // over, or fewer flushes than in the life before
			short++
			at--
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			continue
		}
		short = 0
		killed++
		again := filepath.Join(root, fmt.Sprint("again", at))
		last := picture
		if live(t, picture, again, 1+at%20, map[string]int{}) {
			last = again
			live(t, again, "", 0, map[string]int{})
		}
		if wrong := onceEach(came(t, filepath.Join(last, "b")), events); wrong != "" {
			t.Fatalf("killed at step %d: %s", at, wrong)
		}
		for _, d := range []string{dir, picture, again} {
			if err := os.RemoveAll(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []string{"take", "write", "put", "fsync", "commit", "position"} {
		if seen[step] == 0 {
			t.Errorf("never killed before %q: %v", step, seen)
		}
	}
	t.Logf("killed at each of %d steps: %v", killed, seen)
}

// live relays until nothing waits, and takes a picture before the n-th step, if it gets there.
func live(t *testing.T, dir, picture string, n int, seen map[string]int) (taken bool) {
	t.Helper()
	var mu sync.Mutex
	left := n
	r := openTier(t, dir, func(step string) {
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			copyTier(t, dir, picture)
			seen[step]++
			taken = true
		}
	})
	err := r.run()
	r.close()
	if err != nil {
		t.Fatalf("step %d: %v", n, err)
	}
	mu.Lock()
	defer mu.Unlock()
	return taken
}

// copyTier copies both channels, the first one first: where its reader stands may only be older than what the second one has.
func copyTier(t *testing.T, from, to string) {
	for _, name := range []string{"a", "b"} {
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
			t.Errorf("copy: %v", err)
		}
	}
}

func TestARelayHandsEventsOnAsTheyAre(t *testing.T) {
	r := openTier(t, t.TempDir(), func(string) {})
	defer r.close()
	reader := r.reader()
	r.fill(0, 10, 5)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	var all [2][]string
	for i, name := range []string{"a", "b"} {
		if _, err := wal.Browse(filepath.Join(r.dir, name), "", nil, func(_ event.Offset, e event.Event) bool {
			all[i] = append(all[i], fmt.Sprintf("%d %s %s=%s", e.Time, e.Body, e.Attributes[0].Key, e.Attributes[0].Value))
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(all[0]) != 10 || !slices.Equal(all[0], all[1]) {
		t.Errorf("put  %q\ncame %q", all[0], all[1])
	}
	info := reader.Info()
	at, err := r.b.Cursor(t.Context(), "sink.a")
	if id, next, ok := ParseMark(at.Cursor[info.Stream]); err != nil || !ok || id != info.Incarnations[0].ID || next != info.Low || len(at.Cursor) != 1 {
		t.Errorf("its cursor is %v (%v); the reader is at %d of %+v", at, err, info.Low, info.Incarnations)
	}
}

// TestARelayKeepsTheNumberOfItsMoves: of two cursors that a crash left in two channels, the one with the higher number counts.
func TestARelayKeepsTheNumberOfItsMoves(t *testing.T) {
	r := openTier(t, t.TempDir(), func(string) {})
	defer r.close()
	putInto(t, r.b, channel.Put{Source: "sink.a", Changed: event.Cursor{"elsewhere/1/1": mark{1, 1}.bytes()}, Version: relayForm, Move: 3})
	reader := r.reader()
	r.fill(0, 10, 10)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	if at, err := r.b.Cursor(t.Context(), "sink.a"); err != nil || at.Move != 3 || len(at.Cursor) != 2 {
		t.Errorf("its cursor is %+v (%v): what it had of another channel stays", at, err)
	}
}

func TestARelayWaitsForRoomAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := openTier(t, dir, func(string) {})
		defer r.close()
		into := memory.New(memory.Options{Capacity: channel.Capacity{Events: 7}})
		reader := r.reader()
		out, err := into.Reader(channel.ReaderSpec{Name: "sink.b"})
		if err != nil {
			t.Fatal(err)
		}
		r.fill(0, 30, 30)
		s := r.relay(reader, into)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		if state, why := s.Observer.(*stepping).last(); state != Retrying || !strings.Contains(why, "channel.b is full") || reader.Info().Waiting != 23 {
			t.Errorf("full: %s, %q, %d wait", state, why, reader.Info().Waiting)
		}
		takeAll := func(n int) {
			for got := 0; got < n; {
				lease, err := out.Take(t.Context(), channel.Want{Events: 7})
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range lease.Delivery().Batch.All() {
					if want := fmt.Sprintf("event %d", 30-n+got); string(e.Body) != want {
						t.Fatalf("%q came, and not %q", e.Body, want)
					}
					got++
				}
				if err := lease.Commit(); err != nil {
					t.Fatal(err)
				}
			}
		}
		begun := time.Now()
		cancel() // it need not wait for the time to drain
		if err := <-done; err != nil || time.Since(begun) != 0 {
			t.Errorf("stopped while it waited: %v after %v", err, time.Since(begun))
		}
		ctx, cancel = context.WithCancel(t.Context())
		go func() { done <- s.Run(ctx) }()
		takeAll(30)
		synctest.Wait()
		if state, _ := s.Observer.(*stepping).last(); state != Running || reader.Info().Waiting != 0 {
			t.Errorf("there is room: %s, %d wait", state, reader.Info().Waiting)
		}
		cancel()
		if err := errors.Join(<-done, reader.Close(), out.Close(), into.Close()); err != nil {
			t.Error(err)
		}
	})
}

// doubtful is a channel of which it is not known what becomes of some transactions.
type doubtful struct {
	*wal.Channel
	fail func(n int) error // what is said of the n-th, from 1, which is there all the same
	n    int
}

type doubtfulTx struct {
	channel.Tx
	of *doubtful
}

func (d *doubtful) Begin(ctx context.Context) (channel.Tx, error) {
	tx, err := d.Channel.Begin(ctx)
	return doubtfulTx{tx, d}, err
}

func (x doubtfulTx) Submit() func() error {
	x.of.n++
	n, wait := x.of.n, x.Tx.Submit()
	return func() error { return errors.Join(wait(), x.of.fail(n)) }
}

func TestARelayThatDoesNotKnowWhatBecameOfAPutAsks(t *testing.T) {
	r := openTier(t, t.TempDir(), func(string) {})
	reader := r.reader()
	r.fill(0, 30, 10)
	d := &doubtful{Channel: r.b, fail: func(n int) error {
		if n%2 == 1 {
			return channel.ErrIndeterminate
		}
		return nil
	}}
	s := r.relay(reader, d)
	s.Backoff = Backoff{time.Millisecond, time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for reader.Info().Waiting > 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := errors.Join(<-done, reader.Close()); err != nil {
		t.Fatal(err)
	}
	r.close()
	if wrong := onceEach(came(t, filepath.Join(r.dir, "b")), 30); wrong != "" || d.n < 4 {
		t.Errorf("%d transactions: %s", d.n, wrong)
	}
}

func TestARelayIsHeldWhenTheSecondChannelHasFailed(t *testing.T) {
	r := openTier(t, t.TempDir(), func(string) {})
	reader := r.reader()
	r.fill(0, 10, 10)
	d := &doubtful{Channel: r.b, fail: func(int) error { return channel.ErrStopped }}
	err := r.relay(reader, d).Run(t.Context())
	if _, held := errors.AsType[*HeldError](err); !held || reader.Info().Waiting != 10 {
		t.Errorf("%v, %d wait", err, reader.Info().Waiting)
	}
	r.close()
}

// TestARelayLeavesOutWhatIsThere: where the range that it is given overlaps what the second channel has, the rest alone is put.
func TestARelayLeavesOutWhatIsThere(t *testing.T) {
	r := openTier(t, t.TempDir(), func(string) {})
	reader := r.reader()
	r.fill(0, 10, 10)
	lease, err := reader.Take(t.Context(), channel.Want{})
	if err != nil {
		t.Fatal(err)
	}
	d := lease.Delivery()
	over := r.relay(reader, r.b)
	inst, err := over.Open(t.Context(), reader.Info())
	if err != nil {
		t.Fatal(err)
	}
	part, err := event.Slice(event.Heap{}, d.Batch, event.Range{First: d.Range.First, Next: d.Range.First + 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []struct {
		span event.Range
		b    event.Batch
	}{{event.Range{First: d.Range.First, Next: d.Range.First + 4}, part}, {d.Range, d.Batch}, {d.Range, d.Batch}, {event.Range{First: d.Range.First, Next: d.Range.Next + 3}, d.Batch}} {
		if _, err := inst.Sink.Write(t.Context(), given.span, given.b); err != nil {
			t.Fatal(err)
		}
	}
	lease.Rollback()
	r.close()
	if wrong := onceEach(came(t, filepath.Join(r.dir, "b")), 10); wrong != "" {
		t.Error(wrong)
	}
}

func TestAReplayGoesOverARelayAgain(t *testing.T) {
	r := openTier(t, t.TempDir(), func(string) {})
	reader := r.reader()
	r.fill(0, 10, 10)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	from, err := r.a.Since(time.Time{})
	if err == nil {
		err = errors.Join(r.a.Replay("sink.a", from), r.run())
	}
	if err != nil {
		t.Fatal(err)
	}
	at, err := r.b.Cursor(t.Context(), "sink.a")
	if err != nil || len(at.Cursor) != 1 || at.Cursor[r.a.Stats().Readers["sink.a"].Stream] == nil {
		t.Errorf("its cursor is %v (%v): the stream of before is to be forgotten", at, err)
	}
	r.close()
	if bodies := came(t, filepath.Join(r.dir, "b")); len(bodies) != 20 {
		t.Errorf("came: %q", bodies)
	}
}

// TestARelayOfARestoredChannelIsHeld: a backup of the first channel is put back, after which it gives out other events under the offsets of those that
// the second channel has.
func TestARelayOfARestoredChannelIsHeld(t *testing.T) {
	dir := t.TempDir()
	r := openTier(t, dir, func(string) {})
	reader := r.reader()
	r.fill(0, 10, 10)
	backup := t.TempDir() // within the same incarnation
	copyTier(t, dir, backup)
	r.fill(10, 20, 10)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	r.close()
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "a")), os.CopyFS(filepath.Join(dir, "a"), os.DirFS(filepath.Join(backup, "a")))); err != nil {
		t.Fatal(err)
	}
	r = openTier(t, dir, func(string) {})
	err := r.run()
	if _, held := errors.AsType[*HeldError](err); !held || !strings.Contains(err.Error(), "diverged") || !strings.Contains(err.Error(), "penstock channel replay a sink.a --from here") {
		t.Errorf("it went on: %v", err)
	}
	if err := r.a.Replay("sink.a", r.a.Stats().Readers["sink.a"].Low); err != nil { // the way out that was printed
		t.Fatal(err)
	}
	r.fill(20, 30, 10)
	if err := r.run(); err != nil {
		t.Errorf("anew: %v", err)
	}
	r.close()
	// 20 from before, the 10 of the backup again, since the position in it is from before they were given, and 10 more.
	if bodies := came(t, filepath.Join(dir, "b")); len(bodies) != 40 {
		t.Errorf("%d events are there", len(bodies))
	}
}

func TestAMarkIsComparedWithWhatTheChannelHasBeen(t *testing.T) {
	const life = event.Offset(1 << 32)
	lives := []channel.Incarnation{{ID: 1, First: 0, Next: 50}, {ID: 2, First: life, Next: life + 9}, {ID: 3, First: 2 * life}}
	for name, c := range map[string]struct {
		at       mark
		oldest   event.Offset
		exact    bool
		held     int
		diverged bool
	}{
		"nothing is there":                      {exact: true},
		"of the newest life":                    {at: mark{3, 2*life + 7}, exact: true, held: 3},
		"of an earlier one, whole":              {at: mark{2, life + 9}, exact: true, held: 2},
		"more than that life had":               {at: mark{2, life + 10}, exact: true, diverged: true},
		"more, after a power cut":               {at: mark{2, life + 10}, held: 2},
		"of a life that it has not had":         {at: mark{9, life + 3}, exact: true, diverged: true},
		"of one that is forgotten, as it may":   {at: mark{9, 40}, oldest: 40, exact: true},
		"of an unknown one below which more is": {at: mark{9, 41}, oldest: 40, exact: true, diverged: true},
	} {
		r := &Relay{Address: "sink.a", From: "channel.a", To: "channel.b", Exact: c.exact}
		info := channel.ReaderInfo{Oldest: c.oldest, Incarnations: lives}
		held, err := r.holds(info, c.at)
		if len(held) != c.held || (err != nil) != c.diverged || c.diverged && !errors.Is(err, errHold) {
			t.Errorf("%s: %v, %v", name, held, err)
			continue
		}
		if _, err := known(info, held); err != nil {
			t.Errorf("%s: a sink would refuse it: %v", name, err)
		}
		covered := event.Offset(0)
		for _, h := range held {
			if h.Range.First == covered {
				covered = h.Range.Next
			}
		}
		if c.held > 0 && covered != c.at.next {
			t.Errorf("%s: held up to %d, and not %d", name, covered, c.at.next)
		}
	}
}

func TestARelayDoesNotReadAnotherFormOfCursor(t *testing.T) {
	for _, value := range [][]byte{nil, make([]byte, 15), make([]byte, 17)} {
		if _, _, ok := ParseMark(value); ok {
			t.Errorf("%d bytes are read", len(value))
		}
	}
	r := openTier(t, t.TempDir(), func(string) {})
	defer r.close()
	reader := r.reader()
	defer reader.Close() //nolint:errcheck // only looked at
	r.fill(0, 1, 1)
	putInto(t, r.b, channel.Put{Source: "sink.a", Changed: event.Cursor{reader.Info().Stream: make([]byte, 15)}, Version: relayForm})
	s := r.relay(reader, r.b)
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "of 15 bytes") {
		t.Errorf("error %v", err)
	}
	putInto(t, r.b, channel.Put{Source: "sink.a", Changed: event.Cursor{reader.Info().Stream: make([]byte, 16)}, Version: relayForm + 1})
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "form 2") {
		t.Errorf("error %v", err)
	}
}
