// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// judge is a destination that does what the body of an event says: it rejects "bad", breaks on "break", says of "big" that it is too
// big, and keeps all others.
type judge struct {
	whole bool // it applies nothing of a batch of which it rejects something; else the others
	mute  bool // and does not say which
	most  int  // events in a delivery; 0: as the sink wants
	early bool // it refuses what is too much when it is handed over, not when it is asked what became of it
	ahead int  // it takes so many deliveries before it says what became of the first; 0: it does not

	kept           []string
	writes, broke  int
	alone          int           // that it broke on one event alone
	spans          []event.Range // of what it applied
	opened, closed int
}

func (j *judge) Close() error { j.closed++; return nil }

func (j *judge) Write(_ context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	j.writes++
	var out plugin.Outcome
	var good []string
	i := 0
	for _, e := range b.All() {
		switch what, _, _ := strings.Cut(string(e.Body), " "); what {
		case "bad":
			out.Rejected = append(out.Rejected, plugin.Rejection{Index: i, Code: abi.EREJECT, Reason: "no such column"})
		case "break":
			j.broke++
			if b.Len() == 1 {
				j.alone++
			}
			return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
		case "big":
			return plugin.Outcome{}, &plugin.Error{Class: abi.Reject, Code: abi.ETOOBIG, Message: "too much"}
		default:
			good = append(good, string(e.Body))
		}
		i++
	}
	if len(out.Rejected) > 0 && j.whole {
		if j.mute {
			out = plugin.Outcome{}
		}
		return out, fmt.Errorf("%w: %w", plugin.ErrRejected, &plugin.Error{Class: abi.Reject, Code: abi.EREJECT, Message: "no such column"})
	}
	j.kept, j.spans = append(j.kept, good...), append(j.spans, r)
	return out, nil
}

// streamingJudge takes deliveries ahead. When it refuses one it has taken none of those that it has not said so of, and it does not say which it was.
type streamingJudge struct {
	*judge
	mu   sync.Mutex
	sent []channel.Delivery
}

var errTooMuch = &plugin.Error{Class: abi.Reject, Code: abi.ETOOBIG, Message: "too much"}

func tooMuch(b event.Batch) bool {
	for _, e := range b.All() {
		if strings.HasPrefix(string(e.Body), "big") {
			return true
		}
	}
	return false
}

func (j *streamingJudge) Window() int { return j.ahead }

func (j *streamingJudge) Send(_ context.Context, r event.Range, b event.Batch) error {
	b, err := event.Select(event.Heap{}, func(event.Offset) bool { return true }, b)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.early && tooMuch(b) {
		return errTooMuch
	}
	j.sent = append(j.sent, channel.Delivery{Range: r, Batch: b})
	return nil
}

func (j *streamingJudge) Outcome(ctx context.Context) error {
	time.Sleep(time.Millisecond) // others are on their way meanwhile
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, d := range j.sent {
		if tooMuch(d.Batch) {
			return errTooMuch
		}
	}
	d := j.sent[0]
	j.sent = j.sent[1:]
	_, err := j.Write(ctx, d.Range, d.Batch)
	return err
}

// ledger is what became of events.
type ledger struct {
	kept, dead []string
	waiting    uint64
	letters    map[string]int
}

// judged runs a sink over events with these bodies until none waits, or it is held.
func judged(t *testing.T, j *judge, withDead bool, bodies ...string) (l ledger, err error) {
	t.Helper()
	main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer main.Close()
	defer rejected.Close()
	spec := channel.ReaderSpec{Name: "sink.a"}
	if j.ahead > 0 {
		spec.Order = channel.AnyOrder
	}
	r, err := main.Reader(spec)
	if err != nil {
		t.Fatal(err)
	}
	put(t, main, bodies...)
	s := newSink(&trace{})
	s.Want.Events = cmp.Or(j.most, s.Want.Events)
	s.Reader, s.From, s.Plugin, s.Buffers = r, "channel.main", "std/judge 1", event.Heap{}
	s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
		j.opened++
		if j.ahead > 0 {
			return plugin.Instance{Sink: &streamingJudge{judge: j}}, nil
		}
		return plugin.Instance{Sink: j}, nil
	}
	l.letters = map[string]int{}
	if withDead {
		s.Dead = &DeadLetters{Component: "sink.a", Address: "channel.rejected", Channel: rejected, Kept: func(reason string, n int, _ string) { l.letters[reason] += n }}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for range 100 {
		if time.Sleep(time.Minute); r.Info().Waiting == 0 {
			cancel()
		}
		if len(done) > 0 {
			break
		}
	}
	cancel()
	err = <-done
	l.kept, l.waiting = j.kept, r.Info().Waiting
	l.dead = bodiesOf(t, rejected, "r")
	if got := len(l.kept) + len(l.dead) + int(l.waiting); got != len(bodies) {
		t.Errorf("put %d; delivered %d, dead %d, waiting %d", len(bodies), len(l.kept), len(l.dead), l.waiting)
	}
	return l, err
}

func put(t testing.TB, c channel.Channel, bodies ...string) {
	t.Helper()
	tx, err := c.Begin(t.Context())
	if err == nil {
		err = tx.Put(channel.Put{Source: "source.a", Batch: encode(t, bodies...)})
	}
	if err == nil {
		err = tx.Submit()()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatADestinationRejectsIsKeptAndTheOthersAreDelivered(t *testing.T) {
	for name, j := range map[string]*judge{"it applied the others": {}, "it applied nothing": {whole: true}} {
		synctest.Test(t, func(t *testing.T) {
			l, err := judged(t, j, true, "a", "bad 1", "b", "bad 2", "c")
			if want := []string{"a", "b", "c"}; err != nil || !slices.Equal(l.kept, want) || !slices.Equal(l.dead, []string{"bad 1", "bad 2"}) || l.waiting != 0 {
				t.Errorf("%s: %+v, %v", name, l, err)
			}
			if want := (event.Range{First: j.spans[0].First, Next: j.spans[0].First + 5}); len(j.spans) != 1 || j.spans[0] != want {
				t.Errorf("%s: applied %v", name, j.spans)
			}
			if l.letters[deadRejected] != 2 || j.opened != 1 {
				t.Errorf("%s: counted %v, opened %d times", name, l.letters, j.opened)
			}
		})
	}
}

func TestAllOfABatchMayBeRejected(t *testing.T) {
	for _, mute := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			j := &judge{whole: true, mute: mute}
			l, err := judged(t, j, true, "bad 1", "bad 2")
			if err != nil || len(l.kept) > 0 || !slices.Equal(l.dead, []string{"bad 1", "bad 2"}) || j.writes != 1 {
				t.Errorf("%+v after %d writes, %v", l, j.writes, err)
			}
		})
	}
}

func TestWithoutDeadLettersARejectedEventHoldsTheSinkAndTheBatchStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := judged(t, &judge{whole: true}, false, "a", "bad", "b", "bad")
		if _, held := errors.AsType[*HeldError](err); !held || l.waiting != 4 {
			t.Fatalf("%+v, %v", l, err)
		}
		for _, part := range []string{"rejects event 1 and 1 more: no such column", "dead_letter = channel.NAME in channel.main"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("it does not say %q: %v", part, err)
			}
		}
	})
}

func TestAnEventThatBreaksASinkIsFoundByHalvesAndTheOthersComeInOrder(t *testing.T) {
	for _, poison := range [][]int{{0}, {511}, {1023}, {77, 78, 900}} {
		synctest.Test(t, func(t *testing.T) {
			in := make([]string, 1024)
			for i := range in {
				in[i] = fmt.Sprintf("event %04d", i)
			}
			want := slices.Clone(in)
			for _, i := range slices.Backward(poison) {
				in[i], want = "break", slices.Delete(want, i, i+1)
			}
			j := &judge{}
			l, err := judged(t, j, true, in...)
			if err != nil || !slices.Equal(l.kept, want) || len(l.dead) != len(poison) || l.letters[deadBroke] != len(poison) {
				t.Errorf("%v: %d delivered, dead %q, counted %v, %v", poison, len(l.kept), l.dead, l.letters, err)
			}
			if most := len(poison) * (2*poisonAttempts + 10); j.broke > most { // ten halvings, and three times at either end
				t.Errorf("%v: it broke %d times, want at most %d", poison, j.broke, most)
			}
			if j.alone != poisonAttempts*len(poison) {
				t.Errorf("%v: events were convicted after %d times alone", poison, j.alone)
			}
			if j.opened != j.closed || j.opened != j.broke+1 {
				t.Errorf("%v: %d opened, %d closed, %d broke", poison, j.opened, j.closed, j.broke)
			}
		})
	}
}

func TestWithoutDeadLettersAnEventThatBreaksASinkHoldsItAndWhatIsBeforeItIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := judged(t, &judge{}, false, "a", "b", "break", "c")
		if _, held := errors.AsType[*HeldError](err); !held || !slices.Equal(l.kept, []string{"a", "b"}) || l.waiting != 2 {
			t.Fatalf("%+v, %v", l, err)
		}
		if !strings.Contains(err.Error(), "event 2, of offsets [2,3), broke the plugin 3 times") {
			t.Error(err)
		}
	})
}

func TestASinkThatBreaksOnAllIsHeldBeforeAllAreDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := judged(t, &judge{}, true, slices.Repeat([]string{"break"}, 40)...)
		if _, held := errors.AsType[*HeldError](err); !held || len(l.dead) != poisonBudget {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestWhatIsTooMuchForADestinationComesInHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &judge{}
		l, err := judged(t, j, true, "a", "b", "c", "big", "d")
		if want := []string{"a", "b", "c", "d"}; err != nil || !slices.Equal(l.kept, want) || !slices.Equal(l.dead, []string{"big"}) || l.letters[deadTooBig] != 1 || j.opened != 1 {
			t.Errorf("%+v, %v", l, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l, err := judged(t, &judge{}, false, "a", "big", "d")
		if _, held := errors.AsType[*HeldError](err); !held || !slices.Equal(l.kept, []string{"a"}) || !strings.Contains(err.Error(), "rejects event 1: too much") {
			t.Errorf("%+v, %v", l, err)
		}
	})
}

func TestWhatIsTooMuchForAStreamIsFoundByHalvesAndTheOthersComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i, events := range []int{1, 2, 100, 1, 2, 100} { // in a delivery
			j := &judge{ahead: 3, most: events, early: i >= 3}
			bodies := []string{"a", "b", "c", "big 1", "d", "e", "f", "g", "h", "big 2", "i", "j"}
			l, err := judged(t, j, true, bodies...)
			if err != nil || l.waiting != 0 {
				t.Fatalf("%d wait: %v", l.waiting, err)
			}
			if want := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}; !slices.Equal(l.kept, want) {
				t.Errorf("it has %q", l.kept)
			}
			if want := []string{"big 1", "big 2"}; !slices.Equal(l.dead, want) {
				t.Errorf("dead letters are %q", l.dead)
			}
		}
	})
}

func TestWithoutDeadLettersWhatIsTooMuchForAStreamHoldsTheSink(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { holdsStream(t, early) })
	}
}

func holdsStream(t *testing.T, early bool) {
	l, err := judged(t, &judge{ahead: 3, early: early}, false, "a", "b", "big", "c")
	if err == nil || !strings.Contains(err.Error(), "dead_letter = channel.NAME in channel.main") || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("error is %v", err)
	}
	if want := []string{"a", "b"}; !slices.Equal(l.kept, want) || l.waiting != 2 {
		t.Errorf("it has %q, and %d wait", l.kept, l.waiting)
	}
}

func TestALeaseIsCommittedOnlyAfterItsDeadLettersAreDurable(t *testing.T) {
	for name, c := range map[string]struct {
		write func(n int) (plugin.Outcome, error)
		want  string
	}{
		"rejected": {func(int) (plugin.Outcome, error) {
			return plugin.Outcome{Rejected: []plugin.Rejection{{Code: abi.EREJECT}}}, nil
		}, "open take write dead-begin dead-put dead-durable commit close"},
		"too big": {func(int) (plugin.Outcome, error) {
			return plugin.Outcome{}, &plugin.Error{Class: abi.Reject, Code: abi.ETOOBIG}
		}, "open take write dead-begin dead-put dead-durable commit close"},
		"broke": {func(int) (plugin.Outcome, error) {
			return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
		}, strings.Repeat("open take write close rollback ", poisonAttempts-1) + "open take write dead-begin dead-put dead-durable commit close open close"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &trace{write: c.write}
				s := newSink(tr)
				s.Buffers, s.Dead = event.Heap{}, &DeadLetters{Component: "sink.a", Channel: deadTrace{tr}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := s.Run(ctx); err != nil || tr.String() != c.want {
					t.Errorf("%v\n got %s\nwant %s", err, tr, c.want)
				}
			})
		})
	}
}

func TestARangeComesAgainWithoutTheRejectedAfterTheyAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{}
		sh := &pair{trace: tr}
		tr.write = func(n int) (plugin.Outcome, error) {
			if n == 1 {
				return plugin.Outcome{Rejected: []plugin.Rejection{{Index: 1, Code: abi.EREJECT}}}, plugin.ErrRejected
			}
			return plugin.Outcome{}, nil
		}
		s := newSink(tr)
		s.Reader, s.Buffers, s.Dead = sh, event.Heap{}, &DeadLetters{Component: "sink.a", Channel: deadTrace{tr}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := tr.String(), "open take write dead-begin dead-put dead-durable write commit close"; got != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}

// pair is a reader, and its lease, of two events.
type pair struct{ *trace }

func (p *pair) Take(ctx context.Context, want channel.Want) (channel.Lease, error) {
	_, err := p.trace.Take(ctx, want)
	return p, err
}

func (p *pair) Delivery() channel.Delivery {
	var w event.Builder
	for range 2 {
		if err := w.Append(event.Event{Body: []byte("x")}); err != nil {
			panic(err)
		}
	}
	return channel.Delivery{Range: event.Range{First: 5, Next: 7}, Batch: w.Batch().WithBase(5), Attempt: 1}
}

// failing is a channel of dead letters that cannot keep them.
type failing struct {
	deadTrace
	err error
}

func (f failing) Begin(context.Context) (channel.Tx, error) {
	f.add("dead-begin")
	return nil, f.err
}

func TestDeadLettersThatCannotBeKeptLeaveTheLeaseUncommitted(t *testing.T) {
	for what, held := range map[error]bool{channel.ErrStopped: true, errors.New("no space left on device"): false} {
		synctest.Test(t, func(t *testing.T) {
			tr := &trace{write: func(int) (plugin.Outcome, error) {
				return plugin.Outcome{Rejected: []plugin.Rejection{{Code: abi.EREJECT}}}, nil
			}}
			s := newSink(tr)
			s.Buffers, s.Dead = event.Heap{}, &DeadLetters{Component: "sink.a", Channel: failing{deadTrace{tr}, what}}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, got := errors.AsType[*HeldError](s.Run(ctx))
			if got != held || tr.commits != 0 || !strings.HasPrefix(tr.String(), "open take write dead-begin close rollback") {
				t.Errorf("%v: held is %v, %s", what, got, tr)
			}
			if again := strings.Count(tr.String(), "open") > 1; again == held {
				t.Errorf("%v: it tries again: %v", what, again)
			}
		})
	}
}

func TestADeadLetterOfASinkIsNamedByItsOffset(t *testing.T) {
	info := channel.ReaderInfo{Stream: "u-u/3/1", Incarnations: []channel.Incarnation{{ID: 1, First: 0}, {ID: 0xabc, First: 1 << 32}, {ID: 2, First: 2 << 32}}}
	got := map[string]string{}
	for _, a := range identity(info, 1<<32+7) {
		got[strings.TrimPrefix(a.Key, event.DeadPrefix)] = string(a.Value)
	}
	if got["channel"] != "u-u" || got["incarnation"] != "abc" || got["offset"] != "4294967303" {
		t.Errorf("it is %v", got)
	}
}

func TestSeveralConnectionsFindTheEventThatBreaksThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
		defer main.Close()
		defer rejected.Close()
		r, err := main.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
		if err != nil {
			t.Fatal(err)
		}
		in := make([]string, 500)
		for i := range in {
			in[i] = fmt.Sprint("event ", i)
		}
		in[123] = "break"
		put(t, main, in...)
		ctx, cancel := context.WithCancel(t.Context())
		shared := new(Suspects)
		done := make(chan error, 3)
		judges := make([]*judge, cap(done))
		for i := range judges {
			judges[i] = &judge{}
			s := newSink(&trace{})
			s.Reader, s.Buffers, s.Suspects, s.Want = r, event.Heap{}, shared, channel.Want{Events: 100}
			s.Dead = &DeadLetters{Component: "sink.a", Channel: rejected}
			s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
				return plugin.Instance{Sink: judges[i]}, nil
			}
			go func() { done <- s.Run(ctx) }()
		}
		time.Sleep(time.Hour)
		cancel()
		kept, broke := 0, 0
		for _, j := range judges {
			if err := <-done; err != nil {
				t.Error(err)
			}
			kept, broke = kept+len(j.kept), broke+j.broke
		}
		if dead := bodiesOf(t, rejected, "r"); kept != 499 || len(dead) != 1 || broke > 50 {
			t.Errorf("%d delivered, dead %q, broke %d times, %d wait", kept, dead, broke, r.Info().Waiting)
		}
	})
}

func TestABatchOfSeveralIsNeverConvicted(t *testing.T) {
	s := newSink(&trace{})
	s.Suspects = new(Suspects)
	one := channel.Delivery{Range: event.Range{First: 5, Next: 6}, Batch: encode(t, "x").WithBase(5)}
	for range poisonAttempts {
		s.Suspects.broke(one, 1)
	}
	two := channel.Delivery{Range: event.Range{First: 5, Next: 7}, Batch: encode(t, "x", "y").WithBase(5)} // as another loop may have taken it before
	if _, err := s.broken(t.Context(), offer{d: two, all: 2}, &plugin.Error{Class: abi.Fatal}); !errors.Is(err, errSuspect) {
		t.Error(err)
	}
}

// mortal observes a sink that dies just before its first commit.
type mortal struct {
	quiet
	dead bool
}

func (m *mortal) Step(name string) {
	if name == "commit" && !m.dead {
		m.dead = true
		panic("killed")
	}
}

func TestADeathBetweenTheDeadLetterAndTheCommitLosesNothingAndKeepsTheIdentity(t *testing.T) {
	main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer main.Close()
	defer rejected.Close()
	put(t, main, "a", "bad", "b")
	seen := &mortal{}
	kept := 0
	for range 2 {
		r, err := main.Reader(channel.ReaderSpec{Name: "sink.a"})
		if err != nil {
			t.Fatal(err)
		}
		j := &judge{whole: true}
		s := newSink(&trace{})
		s.Reader, s.Buffers, s.Observer, s.Dead = r, event.Heap{}, seen, &DeadLetters{Component: "sink.a", Channel: rejected}
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			return plugin.Instance{Sink: j}, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		func() {
			defer cancel()
			defer func() { _ = recover() }()
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		}()
		if kept = len(j.kept); r.Close() != nil {
			t.Error("the reader does not close")
		}
	}
	c, err := rejected.Reader(channel.ReaderSpec{Name: "r"})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]int{}
	for c.Info().Waiting > 0 {
		lease, err := c.Take(t.Context(), channel.Want{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lease.Delivery().Batch.All() {
			id := ""
			for _, key := range []string{event.DeadComponent, event.DeadChannel, event.DeadIncarnation, event.DeadOffset} {
				value, _ := e.Attribute(key)
				id += string(value) + "/"
			}
			ids[id]++
		}
		if err := lease.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if kept != 2 || len(ids) != 1 || !slices.Contains(slices.Collect(maps.Values(ids)), 2) {
		t.Errorf("delivered %d, letters by identity %v", kept, ids)
	}
}
