// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// shop is a destination behind processors: it rejects "bad", breaks on "poison", cannot take the first so many batches, and notes what it holds.
type shop struct {
	whole bool // it applies nothing of a batch of which it rejects something
	sick  int

	got []string // "offset body"
}

func (s *shop) Close() error { return nil }

func (s *shop) Write(_ context.Context, _ event.Range, b event.Batch) (plugin.Outcome, error) {
	if s.sick--; s.sick >= 0 {
		return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "not now"}
	}
	var out plugin.Outcome
	var good []string
	i := 0
	for o, e := range b.All() {
		switch {
		case strings.HasPrefix(string(e.Body), "bad"):
			out.Rejected = append(out.Rejected, plugin.Rejection{Index: i, Code: abi.EREJECT, Reason: "no such column"})
		case strings.HasPrefix(string(e.Body), "poison"):
			return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "trap"}
		default:
			good = append(good, fmt.Sprint(o, " ", string(e.Body)))
		}
		i++
	}
	if s.whole && len(out.Rejected) > 0 {
		return out, plugin.ErrRejected
	}
	s.got = append(s.got, good...)
	return out, nil
}

// ahead is a shop that could take deliveries ahead of their outcomes.
type ahead struct{ *shop }

func (ahead) Window() int { return 3 }

func (ahead) Send(context.Context, event.Range, event.Batch) error {
	return errors.New("it has not gone through the processors")
}

func (ahead) Outcome(context.Context) error { return nil }

// refining is a sink behind processors, and what became of its events.
type refining struct {
	counted
	to       shop
	ahead    bool // it is one
	where    When
	dead     []string // "offset body by"
	consumed int
	waiting  uint64
	err      error
}

func (r *refining) Committed(d Delivered) {
	r.counted.Committed(d)
	r.consumed += d.Consumed
}

// deliver takes events with these bodies through processors to the destination, until none waits or it is held.
func (r *refining) deliver(t *testing.T, through []Processor, bodies ...string) {
	t.Helper()
	r.deliverTo(t, r, through, bodies...)
}

func (r *refining) deliverTo(t *testing.T, o SinkObserver, through []Processor, bodies ...string) {
	t.Helper()
	main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer main.Close()
	defer rejected.Close()
	reader, err := main.Reader(channel.ReaderSpec{Name: "sink.a"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, main, bodies...)
	s := newSink(&trace{})
	s.Reader, s.From, s.Plugin, s.Buffers, s.Observer, s.Through = reader, "channel.main", "std/shop 1", channel.NewPool(1<<20), o, through
	s.Filter.Where = r.where
	s.Dead = &DeadLetters{Component: "sink.a", Address: "channel.rejected", Channel: rejected}
	s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
		if r.ahead {
			return plugin.Instance{Sink: ahead{&r.to}}, nil
		}
		return plugin.Instance{Sink: &r.to}, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	for range 100 {
		if time.Sleep(time.Minute); reader.Info().Waiting == 0 || len(done) > 0 {
			break
		}
	}
	cancel()
	r.err, r.waiting = <-done, reader.Info().Waiting
	r.dead = lettersIn(t, rejected)
	if got := uint64(r.committed + r.filtered + r.consumed + len(r.dead)); got+r.waiting != uint64(len(bodies)) {
		t.Errorf("put %d: committed %d, filtered %d, consumed %d, dead %q, waiting %d", len(bodies), r.committed, r.filtered, r.consumed, r.dead, r.waiting)
	}
}

// lettersIn are the letters in a channel: the offset, the body, and who gave it up.
func lettersIn(t *testing.T, c channel.Channel) (all []string) {
	t.Helper()
	reader, err := c.Reader(channel.ReaderSpec{Name: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for reader.Info().Waiting > 0 {
		lease, err := reader.Take(t.Context(), channel.Want{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range lease.Delivery().Batch.All() {
			text := func(key string) string { v, _ := e.Attribute(key); return string(v) }
			all = append(all, fmt.Sprintf("%s %s %s%s", text(event.DeadOffset), e.Body, text(event.DeadComponent), strings.TrimPrefix(text(event.DeadProcessor), "processor")))
		}
		if err := lease.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestWhatASinkIsGivenHasGoneThroughItsProcessorsAndKeepsItsOffset(t *testing.T) {
	for policy, want := range map[OnError]string{
		DeadLetter: `[0 a+ 3 d+] [2 reject c sink.a.p 5 double f sink.a.p]`,
		Drop:       `[0 a+ 3 d+] []`,
		Pass:       `[0 a+ 2 reject c 3 d+ 5 double f] []`,
	} {
		synctest.Test(t, func(t *testing.T) {
			p, did := (&worker{}).at(policy)
			var r refining
			r.where = begins("", nil)
			r.deliver(t, []Processor{p}, "a", "drop b", "reject c", "d", "?e", "double f")
			if got := fmt.Sprint(r.to.got, " ", r.dead); got != want || r.filtered != 1 {
				t.Errorf("on_error %d: %s, of which %d are filtered; want %s", policy, got, r.filtered, want)
			}
			if did.Filtered != 1 || did.Taken != 5 || did.Given != len(r.to.got) || did.Dropped+did.DeadLetter+did.Passed != 2 {
				t.Errorf("on_error %d: counted %+v", policy, did.Processed)
			}
		})
	}
}

func TestASinkThatStreamsIsGivenWhatHasGoneThroughItsProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := (&worker{}).at(Drop)
		r := refining{ahead: true}
		r.deliver(t, []Processor{p}, "a", "reject b", "c")
		if got, want := fmt.Sprint(r.to.got), "[0 a+ 2 c+]"; got != want {
			t.Errorf("it has %s, want %s", got, want)
		}
	})
}

func TestAProcessorThatIsToStopHoldsItsSinkAndSaysWhichEvent(t *testing.T) {
	for body, why := range map[string]string{"reject": "no number", "double": severalOfOne, "break": "trap"} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := (&worker{}).at(Stop)
			var r refining
			r.deliver(t, []Processor{p}, "a", "b", body)
			if r.err == nil || !strings.Contains(r.err.Error(), "event 2, with a body of") || !strings.Contains(r.err.Error(), why) {
				t.Errorf("held with: %v", r.err)
			}
			if r.waiting != 3 || len(r.to.got)+len(r.dead) > 0 {
				t.Errorf("waiting %d, delivered %q, dead %q", r.waiting, r.to.got, r.dead)
			}
		})
	}
}

// TestAnyBatchKeepsItsOffsetsOnTheWayToASink compares chains with what each event comes to by itself.
func TestAnyBatchKeepsItsOffsetsOnTheWayToASink(t *testing.T) {
	kinds := []string{"x", "drop", "reject", "list", "double", "break", "bad", "?", "y", "z"}
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			policies := []OnError{OnError(1 + rng.IntN(3)), OnError(1 + rng.IntN(3))}
			through := make([]Processor, len(policies))
			for i, policy := range policies {
				through[i], _ = (&worker{}).at(policy)
				through[i].Address = fmt.Sprint("processor.", i)
			}
			through[0].When = begins(kinds[rng.IntN(len(kinds))][:1], nil)
			r := refining{to: shop{whole: rng.IntN(2) == 0, sick: rng.IntN(3)}}
			if rng.IntN(2) == 0 {
				r.where = begins("", nil)
			}
			var bodies []string
			breaks := 0
			for n := 1 + rng.IntN(60); len(bodies) < n; {
				kind := kinds[rng.IntN(len(kinds))]
				if kind == "break" {
					if breaks++; breaks > 8 { // more hold the sink, and rightly
						continue
					}
				}
				bodies = append(bodies, fmt.Sprint(kind, " ", len(bodies)))
			}
			var kept, dead []string
			for i, body := range bodies {
				if strings.HasPrefix(body, "?") && r.where != nil {
					continue
				}
				came, by := body, ""
				for n, p := range through {
					if p.When != nil {
						e := event.Event{Body: []byte(came)}
						if yes, _ := p.When()(&e); !yes {
							continue
						}
					}
					kind, _, _ := strings.Cut(came, " ")
					switch bad := slices.Contains([]string{"reject", "list", "double", "break"}, kind); {
					case kind == "drop", bad && p.OnError == Drop:
						came = ""
					case bad && p.OnError == DeadLetter:
						came, by = "", fmt.Sprint(".", n)
					case !bad:
						came += "+"
					}
					if came == "" {
						break
					}
				}
				switch {
				case by != "", strings.HasPrefix(came, "bad"):
					dead = append(dead, fmt.Sprint(i, " ", body, " sink.a", by))
				case came != "":
					kept = append(kept, fmt.Sprint(i, " ", came))
				}
			}
			r.deliver(t, through, bodies...)
			slices.Sort(dead)
			slices.Sort(r.dead)
			if !slices.Equal(r.to.got, kept) || !slices.Equal(r.dead, dead) || r.err != nil {
				t.Errorf("seed %d: %v\n got %q\nwant %q\n got %q\nwant %q", seed, r.err, r.to.got, kept, r.dead, dead)
			}
		})
	}
}

func TestWhatIsGivenUpOnTheWayToASinkIsKeptOnceHoweverLongItsDestinationIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{}
		p, did := w.at(DeadLetter)
		var r refining
		r.to.sick, r.to.whole = 20, true
		r.deliver(t, []Processor{p}, "a", "break b", "c", "reject d", "bad e")
		if want := "[0 a+ 2 c+] [1 break b sink.a.p 3 reject d sink.a.p 4 bad e sink.a]"; fmt.Sprint(r.to.got, " ", r.dead) != want {
			t.Errorf("delivered %q, dead %q", r.to.got, r.dead)
		}
		if did.broke > 3*poisonAttempts {
			t.Errorf("the event that breaks it was looked for again: it broke %d times", did.broke)
		}
	})
}

func TestAnEventThatBreaksASinkIsFoundBehindItsProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := (&worker{}).at(Drop)
		var r refining
		bodies := make([]string, 100)
		for i := range bodies {
			bodies[i] = []string{"x", "drop", "y"}[i%3]
		}
		bodies[50] = "poison"
		r.deliver(t, []Processor{p}, bodies...)
		if want := []string{"50 poison sink.a"}; !slices.Equal(r.dead, want) || len(r.to.got) != 66 {
			t.Errorf("delivered %d, dead %q, %v", len(r.to.got), r.dead, r.err)
		}
	})
}

// TestDeadLettersOfASinksProcessorAreDurableBeforeTheRestIsWritten is the order of the steps.
func TestDeadLettersOfASinksProcessorAreDurableBeforeTheRestIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := (&worker{}).at(DeadLetter)
		r := refining{}
		steps := &stepNames{refining: &r}
		r.deliverTo(t, steps, []Processor{p}, "a", "reject b")
		if got := strings.Join(steps.names, " "); !strings.HasPrefix(got, "take dead write commit take") {
			t.Errorf("the steps are %s", got)
		}
	})
}

// stepNames notes the steps.
type stepNames struct {
	*refining
	names []string
}

func (s *stepNames) Step(name string) { s.names = append(s.names, name) }

// TestAMemberOfAGroupIsNoReasonToHurry: that the group says when it may try again is of its destination alone, and of what it opens.
func TestAMemberOfAGroupIsNoReasonToHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{sick: 20}
		p, _ := w.at(Stop)
		open, failed := p.Open, 0
		p.Open = func(ctx context.Context) (plugin.Processor, error) {
			if failed++; failed <= 3 {
				return nil, &plugin.Error{Class: abi.Retry, Message: "not there yet"}
			}
			return open(ctx)
		}
		main := memory.New(memory.Options{})
		defer main.Close()
		reader, err := main.Reader(channel.ReaderSpec{Name: "sink.a"})
		if err != nil {
			t.Fatal(err)
		}
		put(t, main, "retry")
		s := newSink(&trace{})
		s.Reader, s.Buffers, s.Through = reader, event.Heap{}, []Processor{p}
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			return plugin.Instance{Sink: &judge{}}, nil
		}
		s.Await = func(ctx context.Context) error { sleep(ctx, 10*time.Second); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		start := time.Now()
		go func() { done <- s.Run(ctx) }()
		for reader.Info().Waiting > 0 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(start); w.calls != 21 || took < 41*time.Second || took > 2*time.Minute {
			t.Errorf("after %v, %d calls and %d instances", took, w.calls, failed)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
