// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// trace writes down what is called, in order, and stands in for all that the loops touch.
type trace struct {
	mu    sync.Mutex
	steps []string

	durable  chan error                           // each value ends one wait
	read     func(n int) (plugin.Emission, error) // the n-th Read, from 1
	write    func(n int) (plugin.Outcome, error)  // the n-th Write, from 1
	reads    int
	writes   int
	attempts int
	held     []event.Range
	commits  int
	position channel.Position
	full     time.Duration // how long Begin waits for room
	refuses  bool          // Begin does, without a look at its context
	damaged  error         // what Take answers
	detached bool          // the reader is, when an instance is to be opened
}

func (t *trace) add(step string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = append(t.steps, step)
}

func (t *trace) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.steps, " ")
}

// The channel.
func (t *trace) Begin(ctx context.Context) (channel.Tx, error) {
	t.add("begin")
	if t.refuses {
		return nil, channel.ErrFull
	}
	if t.full > 0 {
		start := time.Now()
		sleep(ctx, t.full)
		t.full -= time.Since(start)
	}
	return t, ctx.Err()
}
func (t *trace) Reader(channel.ReaderSpec) (channel.Reader, error) { return t, nil }
func (t *trace) Cursor(context.Context, string) (channel.Position, error) {
	t.add("cursor")
	return t.position, nil
}
func (t *trace) Close() error { return nil }

// The transaction.
func (t *trace) Put(channel.Put) error {
	t.add("put")
	return nil
}
func (t *trace) Submit() func() error {
	t.add("submit")
	return func() error {
		err := <-t.durable
		if err == nil {
			t.add("durable")
		} else {
			t.add("refused")
		}
		return err
	}
}

// The lease; Rollback is the transaction's too.
func (t *trace) Rollback() {
	t.add("rollback")
}
func (t *trace) Delivery() channel.Delivery {
	var w event.Builder
	if err := w.Append(event.Event{Body: []byte("x")}); err != nil {
		panic(err)
	}
	return channel.Delivery{Range: event.Range{First: 5, Next: 6}, Batch: w.Batch().WithBase(5), Attempt: t.attempts}
}
func (t *trace) Commit() error {
	t.add("commit")
	t.attempts = 0
	t.commits++
	return nil
}

// The reader.
func (t *trace) Take(ctx context.Context, _ channel.Want) (channel.Lease, error) {
	if t.commits > 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	t.add("take")
	if t.damaged != nil {
		return nil, t.damaged
	}
	t.attempts++
	return t, nil
}
func (t *trace) Finish(held ...event.Range) error {
	t.held = append(t.held, held...)
	return nil
}
func (t *trace) Info() channel.ReaderInfo {
	return channel.ReaderInfo{Incarnations: []channel.Incarnation{{ID: 7, First: 1 << 32}}, Detached: t.detached}
}

// instance is the plugin.
type instance struct{ t *trace }

func (i instance) Read(ctx context.Context) (plugin.Emission, error) {
	i.t.reads++
	n := i.t.reads
	em, err := i.t.read(n)
	if err == nil {
		i.t.add("read")
	}
	return em, err
}
func (i instance) Ack(ctx context.Context, _ uint64, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		i.t.add("nack")
	} else {
		i.t.add("ack")
	}
	return nil
}
func (i instance) Write(context.Context, event.Range, event.Batch) (plugin.Outcome, error) {
	i.t.writes++
	i.t.add("write")
	return i.t.write(i.t.writes)
}
func (i instance) Close() error {
	i.t.add("close")
	return nil
}

// quiet remembers the last state and the time blocked, and observes nothing else.
type quiet struct {
	mu      sync.Mutex
	state   State
	reason  string
	blocked time.Duration
	expired int
}

func (*quiet) Read(int, int)          {}
func (*quiet) Acked(int)              {}
func (*quiet) Committed(Delivered)    {}
func (*quiet) Failed(abi.Class, bool) {}
func (*quiet) Step(string)            {}

func (q *quiet) Blocked(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.blocked += d
}

func (q *quiet) Expired() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.expired++
}

func (q *quiet) last() (State, string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state, q.reason
}

func (q *quiet) State(s State, reason string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.state, q.reason = s, reason
}

func newSource(t *trace) *Source {
	return &Source{
		Address: "source.a", Channel: t, Observer: &quiet{}, Log: slog.New(slog.DiscardHandler),
		Backoff: Backoff{100 * time.Millisecond, time.Second}, Drain: time.Second,
		Open: func(context.Context, event.Cursor) (plugin.Source, error) {
			t.add("open")
			return instance{t}, nil
		},
	}
}

func newSink(t *trace) *Sink {
	return &Sink{
		Address: "sink.a", Reader: t, Observer: &quiet{}, Log: slog.New(slog.DiscardHandler),
		Backoff: Backoff{100 * time.Millisecond, time.Second}, Drain: time.Second,
		Open: func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			t.add("open")
			return plugin.Instance{Sink: instance{t}}, nil
		},
	}
}

func TestASourceIsAcknowledgedInOrderAndOnlyAfterTheCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{durable: make(chan error), read: func(n int) (plugin.Emission, error) {
			if n > 3 {
				return plugin.Emission{}, io.EOF
			}
			return plugin.Emission{Seq: uint64(n)}, nil
		}}
		done := make(chan error, 1)
		go func() { done <- newSource(tr).Run(t.Context()) }()
		synctest.Wait()
		if got, want := tr.String(), "cursor open begin read put submit begin read put submit"; got != want {
			t.Fatalf("before the first is durable:\n got %s\nwant %s", got, want)
		}
		for range 3 {
			tr.durable <- nil
			synctest.Wait()
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := "cursor open begin read put submit begin read put submit durable ack begin read put submit " +
			"durable ack begin rollback durable ack close"
		if got := tr.String(); !equalTrace(got, want) {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}

// equalTrace compares transcripts in which what the two loops do at the same moment may be interleaved.
func equalTrace(got, want string) bool {
	split := func(s string) (reads, acks []string) {
		for f := range strings.FieldsSeq(s) {
			if slices.Contains([]string{"durable", "ack", "refused", "nack"}, f) {
				acks = append(acks, f)
			} else {
				reads = append(reads, f)
			}
		}
		return reads, acks
	}
	r1, a1 := split(got)
	r2, a2 := split(want)
	return slices.Equal(r1, r2) && slices.Equal(a1, a2)
}

func TestAfterARefusalNothingLaterIsAcknowledgedAndTheSourceOpensAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{durable: make(chan error, 4)}
		tr.read = func(n int) (plugin.Emission, error) {
			if n > 4 {
				return plugin.Emission{}, io.EOF
			}
			return plugin.Emission{Seq: uint64(n)}, nil
		}
		for _, err := range []error{nil, channel.ErrIndeterminate, channel.ErrPrior, nil} { // one for each batch, in the order of submit
			tr.durable <- err
		}
		if err := newSource(tr).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		sessions := strings.Split(tr.String(), "cursor")
		for _, session := range sessions {
			if _, after, refused := strings.Cut(session, "nack"); refused && slices.Contains(strings.Fields(after), "ack") {
				t.Errorf("acknowledged after a refusal: %s", tr)
			}
		}
		if len(sessions) < 3 || strings.Count(tr.String(), "nack") == 0 {
			t.Errorf("did not refuse and go on: %s", tr)
		}
	})
}

func TestASourceOfAFullChannelThatRefusesStopsWhenItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{refuses: true}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := newSource(tr)
		said := new(strings.Builder)
		s.Log = slog.New(slog.NewTextHandler(said, nil))
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		if n := strings.Count(tr.String(), "begin"); n < 10 {
			t.Errorf("it asked %d times in a minute", n)
		}
		cancel()
		if err := <-done; err != nil || said.Len() > 0 {
			t.Errorf("%v, and it said: %s", err, said)
		}
	})
}

func TestALeaseIsCommittedOnlyAfterTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{write: func(int) (plugin.Outcome, error) { return plugin.Outcome{}, nil }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- newSink(tr).Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got, want := tr.String(), "open take write commit close"; got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}

func TestAWriteThatFailsIsRolledBackAndTriedAgainForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const failures = 40
		tr := &trace{write: func(n int) (plugin.Outcome, error) {
			if n <= failures {
				return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "refused"}
			}
			return plugin.Outcome{}, nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- newSink(tr).Run(ctx) }()
		time.Sleep(failures * time.Second)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if tr.writes != failures+1 || tr.commits != 1 || time.Since(start) > failures*time.Second {
			t.Errorf("%d writes, %d commits in %v", tr.writes, tr.commits, time.Since(start))
		}
		if strings.Contains(tr.String(), "write commit rollback write") {
			t.Errorf("committed what failed: %s", tr)
		}
	})
}

func TestAConnectionThatDeliversAgainSaysSoWhoeverHasDeliveredWhatItCouldNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{}
		tr.write = func(n int) (plugin.Outcome, error) {
			tr.attempts = 0 // what comes next is taken for the first time: another connection has taken this
			if n == 1 {
				return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "down"}
			}
			return plugin.Outcome{}, nil
		}
		s := newSink(tr)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		if state, why := s.Observer.(*quiet).last(); tr.commits != 1 || state != Running {
			t.Errorf("after %d commits it is %s: %s", tr.commits, state, why)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAPluginThatBreaksIsReplacedAndThenHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{write: func(n int) (plugin.Outcome, error) {
			return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
		}}
		s := newSink(tr)
		err := s.Run(t.Context())
		if _, ok := errors.AsType[*HeldError](err); !ok || !strings.Contains(err.Error(), "[5,6)") {
			t.Fatalf("error %v", err)
		}
		if n := strings.Count(tr.String(), "open"); n != poisonAttempts || s.Observer.(*quiet).state != Held {
			t.Errorf("opened %d times, state %s", n, s.Observer.(*quiet).state)
		}
	})
}

func TestABatchThatWasTriedForLongIsNotBlamedForOneBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{write: func(n int) (plugin.Outcome, error) {
			switch {
			case n <= 10:
				return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "down"}
			case n <= 12:
				return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
			}
			return plugin.Outcome{}, nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- newSink(tr).Run(ctx) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil || tr.commits != 1 {
			t.Errorf("%d commits, %v", tr.commits, err)
		}
	})
}

func TestARejectedEventHoldsTheSinkAndSaysWhich(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{write: func(n int) (plugin.Outcome, error) {
			return plugin.Outcome{Rejected: []plugin.Rejection{{Index: 0, Reason: "too long"}}}, plugin.ErrRejected
		}}
		err := newSink(tr).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), "event 5: too long") || tr.commits != 0 {
			t.Errorf("error %v, %d commits", err, tr.commits)
		}
	})
}

func TestWhatTheDestinationHoldsIsJoinedAndWhatItCannotHoldIsRefused(t *testing.T) {
	info := (&trace{}).Info()
	good := plugin.Held{Incarnation: 7, Range: event.Range{First: 1 << 32, Next: 1<<32 + 9}}
	got, err := known(info, []plugin.Held{good})
	if err != nil || len(got) != 1 || got[0] != good.Range {
		t.Errorf("known: %v, %v", got, err)
	}
	info.Oldest = 1 << 32
	if got, err := known(info, []plugin.Held{{Incarnation: 3, Range: event.Range{First: 9, Next: 1 << 32}}}); err != nil || len(got) != 0 {
		t.Errorf("what cannot come again: %v, %v", got, err)
	}
	info.Oldest = 0
	long := plugin.Held{Incarnation: 7, Range: event.Range{First: 3 << 32, Next: 3<<32 + 9}} // of more events than 2^32
	if got, err := known(info, []plugin.Held{long}); err != nil || len(got) != 1 {
		t.Errorf("of an agent that ran for long: %v, %v", got, err)
	}
	info.Incarnations = append(info.Incarnations, channel.Incarnation{ID: 9, First: 2 << 32})
	for _, bad := range []plugin.Held{
		{Incarnation: 8, Range: good.Range},
		{Incarnation: 8, Range: event.Range{First: 1 << 32, Next: 1 << 32}}, // it holds nothing of it, and knows of it all the same
		{Incarnation: 7, Range: event.Range{First: 1, Next: 2}},
		{Incarnation: 7, Range: event.Range{First: 2 << 32, Next: 2<<32 + 1}},
		{Incarnation: 7, Range: event.Range{First: 2<<32 - 1, Next: 2<<32 + 1}},
	} {
		if _, err := known(info, []plugin.Held{bad}); !errors.Is(err, errHold) {
			t.Errorf("%+v: error %v", bad, err)
		}
	}
}

func TestACursorThatThePluginDoesNotReadHoldsTheSource(t *testing.T) {
	tr := &trace{position: channel.Position{Cursor: event.Cursor{"k": {1}}, Version: 3}}
	tr.read = func(int) (plugin.Emission, error) { return plugin.Emission{}, io.EOF }
	s := newSource(tr)
	s.Version, s.Reads = 5, []uint32{4}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "form 3") {
		t.Errorf("error %v", err)
	}
	s.Reads = []uint32{4, 3}
	if err := s.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheEndOfAContextIsNoTroubleAndWhatComesWithItIs(t *testing.T) {
	signal, trouble := errors.New("signal"), errors.New("disk")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(signal)
	took := fmt.Errorf("take: %w", signal)
	for err, want := range map[error]bool{
		took: true, context.Canceled: true, errors.Join(took, context.Canceled): true,
		trouble: false, errors.Join(took, trouble): false,
	} {
		if interrupted(ctx, err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

func TestBackoffStaysBetweenItsBounds(t *testing.T) {
	b := Backoff{100 * time.Millisecond, 30 * time.Second}
	for n := 1; n < 200; n++ {
		if d := b.Delay(n); d <= 0 || d > b.Max {
			t.Fatalf("delay %d is %v", n, d)
		}
	}
	for _, n := range []int{1, 22, 63, 64, 65, 1 << 40} { // where doubling a number of 64 bits would have become negative
		if d := (Backoff{1, math.MaxInt64}).Delay(n); d <= 0 {
			t.Errorf("after %d failures, without a cap, the delay is %v", n, d)
		}
	}
	// Full jitter: anything up to the ceiling, so that many that failed together do not come back together.
	low, high := 0, 0
	for range 1000 {
		switch d := b.Delay(100); {
		case d < b.Max/4:
			low++
		case d > b.Max*3/4:
			high++
		}
	}
	if low < 150 || high < 150 {
		t.Errorf("of 1000 delays %d are in the lowest quarter, and %d in the highest", low, high)
	}
	if (Backoff{}).Delay(3) != 0 {
		t.Error("no back-off is a delay")
	}
}
