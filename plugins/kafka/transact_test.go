// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const incarnation = "8000000000000000" // of sdktest

// connection makes sinks that are one of several connections.
func connection(index, count int) func() sdk.Sink {
	return func() sdk.Sink { return &oneOf{index: index, count: count} }
}

// oneOf is a sink that is told which connection it is.
type oneOf struct {
	sink
	index, count int
}

func (s *oneOf) Open(o *sdk.Open) error {
	o.Instance = abi.Instance{Index: s.index, Count: s.count}
	return s.sink.Open(o)
}

func transactConfigOf(f *fake, more map[string]any) map[string]any {
	c := map[string]any{"topic": "out", "create": true, "timeout": 20 * time.Second}
	maps.Copy(c, more)
	return f.config(c)
}

func openSink(t *testing.T, f *fake, create func() sdk.Sink, more map[string]any) *sdktest.Sink {
	t.Helper()
	s := sdktest.OpenSink(t, create, transactConfigOf(f, more))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// numbered are n events whose bodies are their offsets.
func numbered(first, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Time: time.Now().UnixNano(), Body: fmt.Appendf(nil, "%d", first+i)}
	}
	return events
}

func deliver(t *testing.T, s *sdktest.Sink, first, n int) {
	t.Helper()
	if err := s.Deliver(event.Offset(first), numbered(first, n)...); err != nil {
		t.Fatal(err)
	}
}

// reopen is what becomes of a sink whose process was killed.
func reopen(t *testing.T, s *sdktest.Sink) {
	t.Helper()
	_ = s.Close() // its client has goroutines, which a kill would end
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

func aDeliveryThatComesAgainIsThereOnce(t *testing.T, newFake maker) {
	for _, count := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d connections", count), func(t *testing.T) {
			f := newFake(t)
			s := openSink(t, f, connection(0, count), nil)
			deliver(t, s, 0, 4)
			deliver(t, s, 0, 4) // as it was
			deliver(t, s, 2, 4) // cut differently
			reopen(t, s)
			if want := (sdktest.Held{Incarnation: 1 << 63, Range: event.Range{First: 0, Next: 6}}); !slices.Equal(s.Held, []sdktest.Held{want}) {
				t.Errorf("held: %v", s.Held)
			}
			deliver(t, s, 4, 4)
			deliver(t, s, 10, 2) // with a gap, and over it
			deliver(t, s, 6, 6)
			if got := values(f.read("out")); got != "0,1,2,3,4,5,6,7,10,11,8,9" {
				t.Errorf("got %s", got)
			}
			if n := s.Metrics["kafka_held_already"]; n != 1 {
				t.Errorf("%v deliveries were there already", n)
			}
		})
	}
}

func whatAKilledSinkHasLeftOpenIsTakenBack(t *testing.T, newFake maker) {
	f := newFake(t)
	s := openSink(t, f, NewSink, nil)
	deliver(t, s, 0, 1)
	other := f.transact(s.Stream, 0)
	other.begin(t, event.Range{First: 1, Next: 3}, "1", "2")
	reopen(t, s)
	deliver(t, s, 1, 2)
	if got := values(f.read("out")); got != "0,1,2" {
		t.Errorf("got %s", got)
	}
	if err := other.client.EndTransaction(context.Background(), kgo.TryCommit); err == nil {
		t.Error("the one that was killed may still commit")
	}
}

// hand is a connection that a test drives itself.
type hand struct {
	client *kgo.Client
	state  string
	stream string
	index  int
}

func (f *fake) transact(stream string, index int) *hand {
	return &hand{f.client(kgo.TransactionalID(fmt.Sprintf("penstock-%s-%d", stream, index))), "penstock_ranges", stream, index}
}

// begin writes a claim and its events, and leaves the transaction open.
func (h *hand) begin(t *testing.T, r event.Range, bodies ...string) {
	t.Helper()
	if err := h.client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	l := newLedger(cluster{}, h.state, h.stream)
	claimed, err := l.record(h.index, incarnation, r)
	if err != nil {
		t.Fatal(err)
	}
	all := []*kgo.Record{claimed}
	for _, b := range bodies {
		all = append(all, &kgo.Record{Topic: "out", Value: []byte(b)})
	}
	if err := h.client.ProduceSync(context.Background(), all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) end(t *testing.T, how kgo.TransactionEndTry) {
	t.Helper()
	if err := h.client.EndTransaction(context.Background(), how); err != nil {
		t.Fatal(err)
	}
}

// TestConnectionsWaitForEachOther has one connection be handed what another one has begun to write, whose end nobody knows yet.
func connectionsWaitForEachOther(t *testing.T, newFake maker) {
	for name, c := range map[string]struct {
		end  kgo.TransactionEndTry
		want string
	}{
		"committed": {kgo.TryCommit, "0,1,2,3"},
		"aborted":   {kgo.TryAbort, "1,2,3"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := openSink(t, f, connection(1, 2), nil)
			other := f.transact(s.Stream, 0)
			other.begin(t, event.Range{First: 0, Next: 2}, "0", "1")
			told := make(chan error, 1)
			go func() { told <- s.Deliver(1, numbered(1, 3)...) }()
			select {
			case err := <-told:
				t.Fatalf("it did not wait: %v", err)
			case <-time.After(500 * time.Millisecond):
			}
			other.end(t, c.end)
			if err := <-told; err != nil {
				t.Fatal(err)
			}
			if got := values(f.read("out")); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func aConnectionThatWaitsForTooLongIsAskedAgain(t *testing.T, newFake maker) {
	f := newFake(t)
	s := openSink(t, f, connection(1, 2), map[string]any{"timeout": 3 * time.Second}) // a broker takes a second to open on a busy machine
	other := f.transact(s.Stream, 0)
	other.begin(t, event.Range{First: 0, Next: 2}, "0", "1")
	expect(t, s.Deliver(0, numbered(0, 2)...), abi.EAGAIN, "another connection", "is waited for")
	other.end(t, kgo.TryCommit)
	deliver(t, s, 0, 2)
	if got := values(f.read("out")); got != "0,1" {
		t.Errorf("got %s", got)
	}
}

// TestAClaimThatAnotherNumberOfConnectionsHasLeftIsSeen: one alone does not look at the ledger any more, unless somebody may still commit.
func aClaimThatAnotherNumberOfConnectionsHasLeftIsSeen(t *testing.T, newFake maker) {
	f := newFake(t)
	s := openSink(t, f, NewSink, nil)
	other := f.transact(s.Stream, 2)
	other.begin(t, event.Range{First: 0, Next: 2}, "0", "1")
	reopen(t, s)
	told := make(chan error, 1)
	go func() { told <- s.Deliver(0, numbered(0, 3)...) }()
	time.Sleep(100 * time.Millisecond)
	other.end(t, kgo.TryCommit)
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	if got := values(f.read("out")); got != "0,1,2" {
		t.Errorf("got %s", got)
	}
}

func TestACommitWhoseOutcomeNobodyKnows(t *testing.T) {
	for name, committed := range map[string]bool{"it was": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := openSink(t, f, NewSink, nil)
			deliver(t, s, 0, 1)
			err := kerr.UnknownServerError
			if committed {
				err = kerr.RequestTimedOut // which the fake brokers say after they have done it
			}
			f.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn}, Err: err, TopLevel: true, Count: 1})
			if err := s.Deliver(1, numbered(1, 2)...); err != nil {
				t.Log(err)
				deliver(t, s, 1, 2)
			}
			if got := values(f.read("out")); got != "0,1,2" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func oneThatIsFencedOpensAgain(t *testing.T, newFake maker) {
	f := newFake(t)
	s := openSink(t, f, NewSink, nil)
	deliver(t, s, 0, 1)
	other := f.transact(s.Stream, 0)
	if _, _, err := other.client.ProducerID(context.Background()); err != nil {
		t.Fatal(err)
	}
	err := s.Deliver(1, numbered(1, 1)...)
	expect(t, err, abi.EAGAIN, "another agent")
	deliver(t, s, 1, 1)
	if got := values(f.read("out")); got != "0,1" {
		t.Errorf("got %s", got)
	}
}

func aDeliveryWithARejectIsNotApplied(t *testing.T, newFake maker) {
	f := newFake(t)
	if err := f.createTopic("small", 1, map[string]string{"max.message.bytes": "1000"}); err != nil {
		t.Fatal(err)
	}
	s := openSink(t, f, NewSink, map[string]any{"topic": "small", "max_message": 5000, "compression": "none"})
	expect(t, s.Send("a", strings.Repeat("x", 5000)), abi.EREJECT, "1 events")
	if !slices.Equal(s.Rejected, []int{1}) {
		t.Errorf("rejected %v", s.Rejected)
	}
	expect(t, s.Send("a", strings.Repeat("x", 2000), "b"), abi.ETOOBIG, "an event of 3")
	expect(t, s.Send(strings.Repeat("x", 2000)), abi.EREJECT)
	if !slices.Equal(s.Rejected, []int{0}) || len(f.read("small")) != 0 {
		t.Errorf("rejected %v, and %d are there", s.Rejected, len(f.read("small")))
	}
	if err := s.Send("a"); err != nil || values(f.read("small")) != "a" {
		t.Errorf("%v, and %q are there", err, values(f.read("small")))
	}
}

func theStateTopic(t *testing.T, newFake maker) {
	f := newFake(t)
	s := sdktest.NewSink(t, NewSink)
	s.Configure(transactConfigOf(f, map[string]any{"create": false}))
	expect(t, s.Restart(), abi.EINVAL, "penstock_ranges", "create = true", "cleanup.policy=compact")
	if err := f.createTopic("penstock_ranges", 1, map[string]string{"cleanup.policy": "delete"}); err != nil {
		t.Fatal(err)
	}
	expect(t, s.Restart(), abi.EINVAL, "cleanup.policy=delete", "come twice")
}

func TestTheLedgerIsCompacted(t *testing.T) {
	f := newFake(t)
	s := openSink(t, f, NewSink, nil)
	for i := range 20 {
		deliver(t, s, 2*i, 1) // with gaps
	}
	if err := s.Prune(30); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, 40, 1)
	var last claim
	records := f.read("penstock_ranges")
	if err := json.Unmarshal(records[len(records)-1].Value, &last); err != nil {
		t.Fatal(err)
	}
	if got := last.Held[incarnation]; len(got) != 5 || got[0] != (span{30, 31}) {
		t.Errorf("after pruning it lists %v", got)
	}
	f.Compact()
	reopen(t, s)
	deliver(t, s, 30, 11) // of which half is there
	if got := len(f.read("out")); got != 26 {
		t.Errorf("%d events are there", got)
	}
}

// TestRangesAgainstAModel adds ranges at random, and compares with a map of offsets.
func TestRangesAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		l, model := newLedger(cluster{}, "", ""), map[event.Offset]bool{}
		for range 1 + rng.IntN(8) {
			first := event.Offset(rng.IntN(30))
			next := first + event.Offset(rng.IntN(6))
			l.add("a", span{first, next})
			for o := first; o < next; o++ {
				model[o] = true
			}
		}
		r := event.Range{First: event.Offset(rng.IntN(20)), Next: event.Offset(20 + rng.IntN(20))}
		left := map[event.Offset]bool{}
		for _, p := range l.left("a", r) {
			if p.Empty() {
				t.Fatalf("an empty range is left of %v in %v", r, l.held)
			}
			for o := p.First; o < p.Next; o++ {
				left[o] = true
			}
		}
		for o := r.First; o < r.Next; o++ {
			if left[o] == model[o] {
				t.Fatalf("%d of %v: held %v, left %v, of %v", o, r, model[o], left[o], l.held)
			}
		}
		for i, s := range l.held["a"] {
			if i > 0 && s[0] <= l.held["a"][i-1][1] {
				t.Fatalf("not apart: %v", l.held)
			}
		}
	}
}
