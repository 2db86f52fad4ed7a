// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// worker is a processor that does what the body of an event says: "drop", "double", "reject", "blame" (rejects without a word which),
// "list" (rejects by name, and gives nothing), "break", "retry"; it hands on all others, with a mark.
type worker struct {
	opened, calls, sick int // sick: how often "retry" still fails
}

func (w *worker) Close() error { return nil }

func (w *worker) Process(ctx context.Context, b event.Batch) (event.Batch, plugin.Outcome, error) {
	w.calls++
	if ctx.Err() != nil {
		return event.Batch{}, plugin.Outcome{}, ctx.Err()
	}
	var made event.Builder
	var deltas []event.Offset
	var out, listed plugin.Outcome
	give := func(o event.Offset, body string) {
		if err := made.Append(event.Event{Time: 7, Body: []byte(body)}); err != nil {
			panic(err)
		}
		deltas = append(deltas, o)
	}
	i := -1
	for o, e := range b.All() {
		i++
		switch what, _, _ := strings.Cut(string(e.Body), " "); what {
		case "drop":
		case "double":
			give(o, string(e.Body))
			give(o, string(e.Body))
		case "reject":
			out.Rejected = append(out.Rejected, plugin.Rejection{Index: i, Code: abi.EREJECT, Reason: "no number"})
		case "list":
			listed.Rejected = append(listed.Rejected, plugin.Rejection{Index: i, Code: abi.ETOOBIG, Reason: "too long"})
		case "blame":
			return event.Batch{}, plugin.Outcome{}, fmt.Errorf("%w: %w", plugin.ErrRejected, &plugin.Error{Class: abi.Reject, Code: abi.EREJECT, Message: "something is wrong"})
		case "break":
			return event.Batch{}, plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
		case "retry":
			if w.sick--; w.sick >= 0 {
				return event.Batch{}, plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "not now"}
			}
			give(o, string(e.Body)+"+")
		default:
			give(o, string(e.Body)+"+")
		}
	}
	if len(listed.Rejected) > 0 {
		return event.Batch{}, listed, plugin.ErrRejected
	}
	n := 0
	parts := make([]event.Batch, 0, len(deltas))
	for o := range made.Batch().All() { // each with the offset of what it was made from
		part, err := event.Slice(event.Heap{}, made.Batch(), event.Range{First: o, Next: o + 1})
		if err != nil {
			panic(err)
		}
		part, _ = event.Renumber(part)
		parts = append(parts, part.WithBase(deltas[n]))
		n++
	}
	merged, err := event.Merge(event.Heap{}, parts...)
	return merged, out, err
}

// tallied sums what a processor did.
type tallied struct {
	Processed
	broke int
}

func (t *tallied) Processed_(p Processed) {
	t.Taken, t.Given, t.Filtered = t.Taken+p.Taken, t.Given+p.Given, t.Filtered+p.Filtered
	t.Dropped, t.DeadLetter, t.Passed = t.Dropped+p.Dropped, t.DeadLetter+p.DeadLetter, t.Passed+p.Passed
	t.Skipped, t.Undecided = t.Skipped+p.Skipped, t.Undecided+p.Undecided
}

type tallier struct{ *tallied }

func (t tallier) Processed(p Processed) { t.Processed_(p) }
func (t tallier) Failed(class abi.Class) {
	if class == abi.Fatal {
		t.broke++
	}
}

// at is a processor in a test.
func (w *worker) at(policy OnError) (Processor, *tallied) {
	t := &tallied{}
	return Processor{Address: "processor.p", Plugin: "std/p 1", OnError: policy, Observer: tallier{t}, Open: func(context.Context) (plugin.Processor, error) {
		w.opened++
		return w, nil
	}}, t
}

func encode(t testing.TB, bodies ...string) event.Batch {
	t.Helper()
	var w event.Builder
	for i, body := range bodies {
		if err := w.Append(event.Event{Time: int64(i), Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	return w.Batch()
}

// bodiesOf takes all that a channel has.
func bodiesOf(t testing.TB, c channel.Channel, name string) (bodies []string) {
	t.Helper()
	r, err := c.Reader(channel.ReaderSpec{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for r.Info().Waiting > 0 {
		lease, err := r.Take(t.Context(), channel.Want{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lease.Delivery().Batch.All() {
			bodies = append(bodies, string(e.Body))
		}
		if err := lease.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return bodies
}

// processed runs a source of one batch through a processor with that policy.
func processed(t *testing.T, w *worker, policy OnError, bodies ...string) (put, dead []string, did *tallied, err error) {
	t.Helper()
	main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer main.Close()
	defer rejected.Close()
	tr := &trace{read: once(plugin.Emission{Seq: 1, Batch: encode(t, bodies...), Changed: event.Cursor{"at": {9}}})}
	s := newSource(tr)
	p, did := w.at(policy)
	s.Channel, s.Through, s.Buffers = main, []Processor{p}, event.Heap{}
	s.Dead = &DeadLetters{Component: "source.a", Address: "channel.rejected", Channel: rejected}
	err = s.Run(t.Context())
	pos, failed := main.Cursor(t.Context(), "source.a")
	if err == nil && (failed != nil || len(pos.Cursor) != 1) {
		t.Errorf("the cursor is %v, %v", pos.Cursor, failed)
	}
	return bodiesOf(t, main, "r"), bodiesOf(t, rejected, "r"), did, err
}

func TestWhatAProcessorDoesIsPutNumberedAnewAndCounted(t *testing.T) {
	w := &worker{}
	put, dead, did, err := processed(t, w, Stop, "a", "drop", "double", "drop", "b")
	if want := []string{"a+", "double", "double", "b+"}; err != nil || !slices.Equal(put, want) || dead != nil || w.opened != 1 || w.calls != 1 {
		t.Errorf("put %q, dead %q, %+v, %v", put, dead, w, err)
	}
	if want := (Processed{Taken: 5, Given: 4, Filtered: 2}); did.Processed != want {
		t.Errorf("it did %+v, want %+v", did.Processed, want)
	}
}

func TestTheCursorMovesOnWithABatchOfWhichNothingIsLeft(t *testing.T) {
	put, _, did, err := processed(t, &worker{}, Stop, "drop", "drop")
	if err != nil || put != nil || did.Filtered != 2 { // processed looks at the cursor
		t.Errorf("put %q, %+v, %v", put, did, err)
	}
}

func TestWhatAProcessorCannotDoGoesWhereItsPolicySays(t *testing.T) {
	in := []string{"a", "reject 1", "b", "break 1", "double", "drop", "c"}
	for name, c := range map[string]struct {
		policy    OnError
		in        []string
		put, dead string
		did       Processed
	}{
		"drop": {policy: Drop, put: "a+ b+ double double c+", did: Processed{Taken: 7, Given: 5, Filtered: 1, Dropped: 2}},
		"pass": {policy: Pass, put: "a+ reject 1 b+ break 1 double double c+", did: Processed{Taken: 7, Given: 7, Filtered: 1, Passed: 2}},
		"dead letter": {policy: DeadLetter, put: "a+ b+ double double c+", dead: "reject 1 break 1",
			did: Processed{Taken: 7, Given: 5, Filtered: 1, DeadLetter: 2}},
		"without a word which": {policy: DeadLetter, in: []string{"a", "b", "blame 1", "c", "blame 2"}, put: "a+ b+ c+", dead: "blame 1 blame 2",
			did: Processed{Taken: 5, Given: 3, DeadLetter: 2}},
		"by name, and nothing else": {policy: DeadLetter, in: []string{"list 1", "a", "list 2", "list 3"}, put: "a+", dead: "list 1 list 2 list 3",
			did: Processed{Taken: 4, Given: 1, DeadLetter: 3}},
		"pass by name": {policy: Pass, in: []string{"list 1", "a", "list 2", "double", "drop"}, put: "list 1 a+ list 2 double double",
			did: Processed{Taken: 5, Given: 5, Filtered: 1, Passed: 2}},
		"all": {policy: DeadLetter, in: []string{"reject 1", "reject 2"}, dead: "reject 1 reject 2", did: Processed{Taken: 2, DeadLetter: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.in == nil {
				c.in = in
			}
			w := &worker{}
			put, dead, did, err := processed(t, w, c.policy, c.in...)
			if err != nil || strings.Join(put, " ") != c.put || strings.Join(dead, " ") != c.dead {
				t.Errorf("put %q, dead %q, %v", put, dead, err)
			}
			if did.Processed != c.did {
				t.Errorf("it did %+v, want %+v", did.Processed, c.did)
			}
			more := strings.Count(strings.Join(c.in, " "), "double") // events that became two
			if p := did.Processed; p.Taken+more != p.Given+p.Filtered+p.Dropped+p.DeadLetter || p.Given != len(put) || p.DeadLetter != len(dead) {
				t.Errorf("%+v does not add up", p)
			}
		})
	}
}

func TestAProcessorThatIsToStopHoldsItsSourceAndSaysWhichEvent(t *testing.T) {
	for body, want := range map[string]string{
		"reject 1": "rejects the event of 1970-01-01T00:00:00.000000001Z with a body of 8 bytes: no number",
		"break 1":  "breaks on the event of 1970-01-01T00:00:00.000000001Z with a body of 7 bytes: trap",
	} {
		put, dead, _, err := processed(t, &worker{}, Stop, "a", body, "b")
		if _, held := errors.AsType[*HeldError](err); !held || !strings.Contains(err.Error(), want) || put != nil || dead != nil {
			t.Errorf("%v\nput %q, dead %q", err, put, dead)
		}
	}
}

func TestAnEventThatBreaksAProcessorIsFoundByHalves(t *testing.T) {
	in := make([]string, 1024)
	for i := range in {
		in[i] = fmt.Sprint("event ", i)
	}
	in[700] = "break"
	w := &worker{}
	put, dead, did, err := processed(t, w, DeadLetter, in...)
	if err != nil || len(put) != 1023 || len(dead) != 1 || !slices.IsSortedFunc(put, func(a, b string) int { return len(a) - len(b) }) {
		t.Errorf("%d put, dead %q, %v", len(put), dead, err)
	}
	if most := 2*poisonAttempts + 10; did.broke > most { // ten halvings, and three times at either end
		t.Errorf("it broke %d times, want at most %d", did.broke, most)
	}
}

func TestAProcessorThatBreaksOnAllIsHeldAndLosesNothing(t *testing.T) {
	put, dead, did, err := processed(t, &worker{}, DeadLetter, slices.Repeat([]string{"break"}, 100)...)
	if _, held := errors.AsType[*HeldError](err); !held || put != nil || dead != nil {
		t.Errorf("%v: put %q, dead %q after %d times", err, put, dead, did.broke)
	}
}

func TestAProcessorThatCannotYetIsTriedAgainWithTheSameBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{sick: 20}
		start := time.Now()
		put, _, did, err := processed(t, w, Drop, "a", "retry")
		if want := []string{"a+", "retry+"}; err != nil || !slices.Equal(put, want) || w.calls != 21 || w.opened != 1 || did.Taken != 2 {
			t.Errorf("put %q after %d calls of %d instances, %v", put, w.calls, w.opened, err)
		}
		if time.Since(start) == 0 {
			t.Error("it did not wait")
		}
	})
}

// states are those that a source went through.
type states struct {
	quiet
	list []State
}

func (s *states) State(state State, reason string) {
	s.list = append(s.list, state)
	s.quiet.State(state, reason)
}

func TestAProcessorThatAnswersAfterItCouldNotIsTriedNoMore(t *testing.T) {
	for _, body := range []string{"c", "reject", "blame", "break"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSource(&trace{read: once(plugin.Emission{Seq: 1, Batch: encode(t, "retry", body)}), durable: make(chan error, 1)})
			s.Channel.(*trace).durable <- nil
			p, _ := (&worker{sick: 1}).at(Drop)
			o := &states{}
			s.Through, s.Buffers, s.Observer = []Processor{p}, event.Heap{}, o
			if err := s.Run(t.Context()); err != nil || !slices.Equal(o.list, []State{Starting, Running, Retrying, Running, Finished}) {
				t.Errorf("%s: %v, %v", body, o.list, err)
			}
		})
	}
}

func TestAProcessorThatCannotBeOpenedIsNoEventsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := &trace{read: once(plugin.Emission{Seq: 1, Batch: encode(t, "break")})}
		s := newSource(tr)
		w := &worker{}
		p, _ := w.at(Drop)
		p.Open = func(context.Context) (plugin.Processor, error) {
			if w.opened++; w.opened == 2 {
				return nil, &plugin.Error{Class: abi.Fatal, Message: "no memory"}
			}
			return w, nil
		}
		s.Through, s.Buffers = []Processor{p}, event.Heap{}
		if err := s.Run(t.Context()); err != nil || strings.Contains(tr.String(), "put") || w.opened != 3 {
			t.Errorf("%v after %d instances: %s", err, w.opened, tr)
		}
	})
}

// deadTrace is a channel of dead letters that writes down what is called, in another's trace.
type deadTrace struct{ *trace }

func (d deadTrace) Begin(context.Context) (channel.Tx, error) {
	d.add("dead-begin")
	return deadTx{d}, nil
}
func (d deadTrace) Cursor(context.Context, string) (channel.Position, error) {
	return channel.Position{}, nil
}

type deadTx struct{ deadTrace }

func (d deadTx) Rollback() {}
func (d deadTx) Put(channel.Put) error {
	d.add("dead-put")
	return nil
}
func (d deadTx) Submit() func() error {
	return func() error {
		d.add("dead-durable")
		return nil
	}
}

func TestDeadLettersOfASourceAreDurableBeforeTheRestIsPut(t *testing.T) {
	tr := &trace{durable: make(chan error, 1), read: once(plugin.Emission{Seq: 1, Batch: encode(t, "a", "reject")})}
	tr.durable <- nil
	s := newSource(tr)
	p, _ := (&worker{}).at(DeadLetter)
	s.Through, s.Buffers = []Processor{p}, event.Heap{}
	s.Dead = &DeadLetters{Component: "source.a", Address: "channel.rejected", Channel: deadTrace{tr}}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "cursor open begin read dead-begin dead-put dead-durable put submit begin rollback durable ack close"
	if got := tr.String(); !equalTrace(got, want) {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestWhatWasReadIsProcessedWithinTheTimeToDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tr := &trace{durable: make(chan error, 1)}
		tr.durable <- nil
		tr.read = func(n int) (plugin.Emission, error) {
			cancel()
			if n > 1 {
				return plugin.Emission{}, io.EOF
			}
			return plugin.Emission{Seq: 1, Batch: encode(t, "a")}, nil
		}
		s := newSource(tr)
		p, _ := (&worker{}).at(Stop)
		s.Through, s.Buffers = []Processor{p}, event.Heap{}
		if err := s.Run(ctx); err != nil || !strings.Contains(tr.String(), "read put submit") || !strings.Contains(tr.String(), "durable ack") {
			t.Errorf("%v: %s", err, tr)
		}
	})
}

func TestADeadLetterSaysWhatItWasAndWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &letters{component: "source.a"}
		var w event.Builder
		if err := w.Append(event.Event{Time: 5, Attributes: []event.Attribute{{Key: "file.path", Value: []byte("/a")}}, Body: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		by := &use{Processor: Processor{Address: "processor.p", Plugin: "std/p 1", OnError: DeadLetter}}
		for _, r := range []plugin.Rejection{{Code: abi.EREJECT, Reason: strings.Repeat("é", event.MaxDeadReason)}, {Code: abi.ETOOBIG}, {Reason: "trap"}} {
			if err := l.gaveUp(by, w.Batch(), []plugin.Rejection{r}); err != nil {
				t.Fatal(err)
			}
		}
		l.cut()
		var got []string
		for _, e := range l.full[0].All() {
			for _, a := range e.Attributes {
				if a.Key != event.DeadReason || len(a.Value) < 10 {
					got = append(got, a.Key+"="+string(a.Value))
				} else if len(a.Value) != event.MaxDeadReason {
					t.Errorf("a reason of %d bytes", len(a.Value))
				}
			}
		}
		digest := l.digest(event.Event{Time: 6, Attributes: []event.Attribute{{Key: "file.path", Value: []byte("/a")}}, Body: []byte("x")})
		letter := func(extra string) string {
			return strings.ReplaceAll("file.path=/a D.digest="+digest+" D.component=source.a D.processor=processor.p D.plugin=std/p 1"+extra+
				" D.attempts=1 D.time=2000-01-01T00:00:00Z ", "D.", event.DeadPrefix)
		}
		want := letter(" D.class=reject D.code=EREJECT") + letter(" D.class=reject D.code=ETOOBIG") + letter(" D.reason=trap D.class=fatal")
		if all := strings.Join(got, " ") + " "; all != want {
			t.Errorf("\n got %s\nwant %s", all, want)
		}
		if l.kept[deadRejected].events != 1 || l.kept[deadTooBig].events != 1 || l.kept[deadBroke].events != 1 {
			t.Errorf("counted %+v", l.kept)
		}
		l.timed = true
		if l.digest(event.Event{Time: 1}) == l.digest(event.Event{Time: 2}) {
			t.Error("two events of a source that does not read again are taken for one")
		}
	})
}

func TestTheLargestEventThereIsFitsAmongTheDeadLetters(t *testing.T) {
	w := event.Builder{Limit: event.MaxBatch - event.DeadRoom}
	attributes := make([]event.Attribute, event.GuestAttributes)
	for i := range attributes {
		attributes[i].Key = "a"
	}
	size := event.MaxBatch - event.DeadRoom - event.EventMargin - event.RecordSize - len(attributes)*(event.AttributeSize+1)
	if err := w.Append(event.Event{Attributes: attributes, Body: make([]byte, size)}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("n", channel.MaxName)
	l := &letters{component: long}
	by := &use{Processor: Processor{Address: long, Plugin: long, OnError: DeadLetter}}
	if err := l.gaveUp(by, w.Batch(), []plugin.Rejection{{Code: abi.EREJECT, Reason: strings.Repeat("r", 1<<20)}}); err != nil {
		t.Error(err)
	}
}

func TestAFullChannelOfDeadLettersMakesItWaitAndSaysSo(t *testing.T) {
	for name, policy := range map[string]channel.FullPolicy{"block": channel.Block, "refuse": channel.Refuse} {
		synctest.Test(t, func(t *testing.T) {
			c := memory.New(memory.Options{Capacity: channel.Capacity{Events: 1}, OnFull: policy})
			defer c.Close()
			r, err := c.Reader(channel.ReaderSpec{Name: "r"})
			if err != nil {
				t.Fatal(err)
			}
			d := &DeadLetters{Component: "sink.a", Address: "channel.rejected", Channel: c, Backoff: Backoff{time.Millisecond, time.Second}}
			seen := &quiet{}
			letter := func(ctx context.Context) error {
				l := &letters{component: "sink.a"}
				if err := l.gaveUp(&use{Processor: Processor{OnError: DeadLetter}}, encode(t, "x"), []plugin.Rejection{{Code: abi.EREJECT}}); err != nil {
					t.Fatal(err)
				}
				return d.keep(ctx, l, seen)
			}
			if err := letter(t.Context()); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- letter(t.Context()) }()
			time.Sleep(time.Hour)
			if state, reason := seen.last(); len(done) > 0 || state != Retrying || !strings.Contains(reason, "channel.rejected is full") {
				t.Errorf("%s: it is %s (%s)", name, state, reason)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := letter(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: one that is to end: %v", name, err)
			}
			lease, err := r.Take(t.Context(), channel.Want{})
			if err != nil {
				t.Fatal(err)
			}
			if err := lease.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if state, _ := seen.last(); state != Running {
				t.Errorf("%s: afterwards it is %s", name, state)
			}
		})
	}
}
