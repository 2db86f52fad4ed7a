// SPDX-License-Identifier: Apache-2.0

package group

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a group on a channel in memory, with members that work as they are told. It is for use in a bubble.
type bench struct {
	*testing.T
	ch    channel.Channel
	g     *Group
	sinks map[string]*sink
	stop  context.CancelFunc
	ends  chan struct{} // one value from each sink that ended
}

// sink is a member that takes events one by one, until it was given so many; then it fails.
type sink struct {
	*Member
	left, got, failures atomic.Int64
	hang                atomic.Bool // it does not answer
}

var settings = Settings{Policy: Failover, CoolDown: pipeline.Backoff{Min: time.Second, Max: 8 * time.Second}, FailBack: time.Minute, ReturnIn: time.Minute}

func open(t *testing.T, s Settings, exact bool, names ...string) *bench {
	b := &bench{T: t, ch: memory.New(memory.Options{Pool: channel.NewPool(0)}), sinks: map[string]*sink{}, ends: make(chan struct{}, len(names))}
	r, err := b.ch.Reader(channel.ReaderSpec{Name: "sink_group.g", Order: channel.AnyOrder})
	if err != nil {
		t.Fatal(err)
	}
	s.Exact = exact
	b.g = New(r, s)
	b.g.Arrange(s, names)
	for _, name := range names {
		b.sinks[name] = &sink{Member: b.g.Join(name)}
		b.sinks[name].left.Store(1 << 30)
	}
	return b
}

func (b *bench) run() {
	ctx, stop := context.WithCancel(b.Context())
	b.stop = stop
	for _, s := range b.sinks {
		go func() {
			defer func() { b.ends <- struct{}{} }()
			for ctx.Err() == nil {
				s.step(ctx)
			}
		}()
	}
	synctest.Wait()
}

// step does as pipeline.Sink does.
func (s *sink) step(ctx context.Context) {
	l, err := s.Take(ctx, channel.Want{Events: 1})
	if err != nil {
		return
	}
	for s.hang.Load() {
		time.Sleep(100 * time.Millisecond)
	}
	if s.left.Load() == 0 {
		s.failures.Add(1)
		l.Rollback()
		s.Failed()
		return
	}
	s.left.Add(-1)
	s.got.Add(1)
	_ = l.Commit()
}

func (b *bench) close() {
	b.stop()
	for range b.sinks {
		<-b.ends
	}
	if err := b.ch.Close(); err != nil {
		b.Error(err)
	}
}

// put commits n events, one after the other.
func (b *bench) put(n int) {
	b.Helper()
	for range n {
		var w event.Builder
		if err := w.Append(event.Event{Time: 1, Body: []byte("x")}); err != nil {
			b.Fatal(err)
		}
		batch, err := event.Copy(event.Heap{}, w.Bytes(), event.MaxBatch)
		if err != nil {
			b.Fatal(err)
		}
		tx, err := b.ch.Begin(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(tx.Put(channel.Put{Source: "source.a", Batch: batch}), tx.Submit()()); err != nil {
			b.Fatal(err)
		}
		synctest.Wait()
	}
}

// expect checks how many events each member got since the last time.
func (b *bench) expect(says string, want ...int) {
	b.Helper()
	synctest.Wait()
	var got []int
	for _, m := range b.g.Members() {
		s := b.sinks[m.Name]
		got = append(got, int(s.got.Swap(0)))
	}
	if !slices.Equal(got, want) {
		b.Errorf("%s: the members got %v, want %v (%v)", says, got, want, b.g.Members())
	}
}

func bubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func TestFailoverGoesDownTheOrderAndComesBackAfterThePause(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, false, "s1", "s2", "s3")
		b.sinks["s1"].left.Store(10)
		b.sinks["s2"].left.Store(50)
		b.run()
		b.put(15)
		b.expect("of 15", 10, 5, 0)
		b.put(50)
		b.expect("of 50", 0, 45, 5)
		b.sinks["s2"].left.Store(1000) // revived
		b.put(20)
		b.expect("before the pause of s2 is over", 0, 0, 20)
		time.Sleep(settings.CoolDown.Max)
		b.put(10)
		b.expect("before s2 is trusted", 0, 0, 10)
		time.Sleep(settings.FailBack)
		b.put(10)
		b.expect("after it", 0, 10, 0)
		b.close()
	})
}

func TestFortyFailuresKeepThePauseAtItsCap(t *testing.T) {
	r := newRoster(settings)
	r.arrange([]string{"a"})
	now := time.Now()
	longest := time.Duration(0)
	for n := 1; n <= 40; n++ {
		d := r.fail(r.members[0], now)
		ceiling := min(time.Second<<min(n-1, 10), settings.CoolDown.Max)
		if d <= 0 || d > ceiling {
			t.Errorf("after failure %d the pause is %v, the most is %v", n, d, ceiling)
		}
		longest = max(longest, d)
		now = now.Add(d)
	}
	if r.members[0].failures != 40 || longest < settings.CoolDown.Max/4 {
		t.Errorf("after %d failures the longest pause was %v", r.members[0].failures, longest)
	}
	r.members[0].succeed()
	if d := r.fail(r.members[0], now); d > time.Second {
		t.Errorf("after a delivery the pause is %v", d)
	}
}

func TestAMemberThatFailsAgainWhileItPausesIsCountedOnce(t *testing.T) {
	r := newRoster(settings)
	r.arrange([]string{"a"})
	now := time.Now()
	first := r.fail(r.members[0], now)
	if again := r.fail(r.members[0], now.Add(first/2)); again != first-first/2 || r.members[0].failures != 1 {
		t.Errorf("the pause is %v, %d failures", again, r.members[0].failures)
	}
}

func TestALoadIsSharedEvenly(t *testing.T) {
	for _, p := range []Policy{RoundRobin, LeastPending, Random} {
		bubble(t, func(t *testing.T) {
			s := settings
			s.Policy = p
			b := open(t, s, false, "a", "b", "c")
			b.run()
			b.put(300)
			for _, m := range b.g.Members() {
				if got := b.sinks[m.Name].got.Load(); p != Random && got != 100 || got < 60 || got > 140 {
					t.Errorf("policy %d: %s got %d of 300", p, m.Name, got)
				}
			}
			b.close()
		})
	}
}

func TestAMemberThatDiedGetsNothingUntilItIsBackAndThenMoreAndMore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := settings
		s.Policy = RoundRobin
		b := open(t, s, false, "a", "b", "c")
		b.g.roster.jitter = func(n int) time.Duration { return time.Second << (n - 1) }
		b.run()
		b.put(30)
		b.expect("all work", 10, 10, 10)
		b.sinks["b"].left.Store(0)
		b.put(30)
		b.expect("b is dead", 15, 0, 15)
		if b.sinks["b"].failures.Load() != 1 {
			t.Errorf("b was tried %d times", b.sinks["b"].failures.Load())
		}
		time.Sleep(time.Second + time.Millisecond) // its pause is over, once more it fails
		b.put(3)
		time.Sleep(time.Second + time.Millisecond)
		b.put(9)
		if n := b.sinks["b"].failures.Load(); n != 2 {
			t.Errorf("b was tried %d times; the second pause is twice as long", n)
		}
		b.expect("b is dead still", 6, 0, 6)
		b.sinks["b"].left.Store(1 << 30)
		time.Sleep(time.Second + time.Millisecond)
		var shares []int
		for range 3 {
			b.put(60)
			shares = append(shares, int(b.sinks["b"].got.Swap(0)))
			time.Sleep(s.ReturnIn / 2)
		}
		if shares[0] < 1 || shares[0] > 3 || shares[1] <= shares[0] || shares[1] > 15 || shares[2] != 20 {
			t.Errorf("of 60 each, b got %v", shares)
		}
		if st := b.g.Members()[1]; st.Failures != 0 || st.State != Active {
			t.Errorf("b is %+v", st)
		}
		b.close()
	})
}

func TestWhatMayHaveArrivedWaitsForItsMember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, true, "a", "b")
		b.sinks["a"].left.Store(3)
		b.run()
		b.put(10)
		b.expect("a fails with the fourth", 3, 6)
		if n := b.g.reader.Info().Waiting; n != 1 {
			t.Errorf("%d events wait for a", n)
		}
		b.sinks["a"].left.Store(1)
		time.Sleep(settings.CoolDown.Max)
		b.expect("a is back, and gets that one, though it is not its turn", 1, 0)
		b.put(5)
		b.expect("what is new is b's still", 0, 5)
		b.close()
	})
}

func TestInAnyOtherGroupItMovesOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, false, "a", "b")
		b.sinks["a"].left.Store(3)
		b.run()
		b.put(10)
		b.expect("a fails with the fourth", 3, 7)
		b.close()
	})
}

func TestAMemberThatIsHeldOrLeavesIsPassedOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, false, "a", "b")
		b.run()
		b.put(2)
		b.expect("all are there", 2, 0)
		b.sinks["a"].Hold(true)
		b.put(2)
		b.expect("a is held", 0, 2)
		b.sinks["a"].Hold(false)
		b.put(2)
		b.expect("it goes on", 2, 0)
		b.sinks["a"].Close()
		b.put(2)
		b.expect("it has left", 0, 2)
		if a, b := b.g.Members()[0], b.g.Members()[1]; a.State != Out || a.Up || b.State != Active || !b.Up {
			t.Error(a, b)
		}
		if n := b.g.Failovers(); n != 1 {
			t.Errorf("%d members went down, where one was held, and has left later", n)
		}
		b.close()
	})
}

func TestOneThatDoesNotComeIsNotWaitedForForLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, false, "a", "b")
		slow := b.sinks["a"]
		delete(b.sinks, "a") // it opens its destination for ever
		b.run()
		b.put(1)
		synctest.Wait()
		if got := b.sinks["b"].got.Load(); got != 0 {
			t.Errorf("b got %d at once", got)
		}
		time.Sleep(patience)
		synctest.Wait()
		if got := b.sinks["b"].got.Load(); got != 1 {
			t.Errorf("b got %d then", got)
		}
		slow.Close()
		b.close()
	})
}

// doubt is what a member may hold, in events, and for how long that has been so.
func (b *bench) doubt(name string) (events uint64, since time.Duration) {
	for _, m := range b.g.Members() {
		if m.Name != name || m.InDoubt == nil {
			continue
		}
		for _, r := range m.InDoubt {
			events += r.Len()
		}
		return events, time.Since(m.Since)
	}
	return 0, 0
}

// TestWhatIsInDoubtIsSaidUntilSomebodyKnows: also while its member is given it again.
func TestWhatIsInDoubtIsSaidUntilSomebodyKnows(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, true, "a", "b")
		b.g.roster.jitter = func(int) time.Duration { return 10 * time.Second }
		b.sinks["a"].left.Store(3)
		b.run()
		b.put(10)
		if n, _ := b.doubt("a"); n != 1 {
			t.Fatalf("%d are in doubt", n)
		}
		time.Sleep(5 * time.Second)
		a := b.g.Members()[0]
		if a.State != Ejected || a.Up || time.Until(a.Until) != 5*time.Second || a.Failures != 1 || b.g.Failovers() != 1 {
			t.Errorf("a is %+v after %d failovers", a, b.g.Failovers())
		}
		b.sinks["a"].hang.Store(true)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n, since := b.doubt("a"); n != 1 || since != 11*time.Second {
			t.Errorf("while a is given it again %d are in doubt, since %v", n, since)
		}
		b.sinks["a"].hang.Store(false)
		b.sinks["a"].left.Store(1)
		time.Sleep(time.Second)
		synctest.Wait()
		if n, _ := b.doubt("a"); n != 0 || b.g.doubts.of("a") {
			t.Errorf("when it has arrived %d are in doubt", n)
		}
		b.close()
	})
}

func TestSomebodyWhoKnowsEndsADoubt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for held, wants := range map[bool]int{true: 6, false: 7} {
			b := open(t, settings, true, "a", "b")
			b.g.roster.jitter = func(int) time.Duration { return time.Hour }
			b.sinks["a"].left.Store(3)
			b.run()
			b.put(10)
			ranges := b.g.Members()[0].InDoubt
			if n, err := b.g.Settle("a", held, ranges...); n != 1 || err != nil {
				t.Errorf("settled are %d, %v", n, err)
			}
			b.expect("once it is known", 3, wants)
			if n, _ := b.doubt("a"); n != 0 || b.g.doubts.of("a") || b.g.reader.Info().Waiting != 0 {
				t.Errorf("%d are in doubt, %d wait", n, b.g.reader.Info().Waiting)
			}
			b.close()
		}
	})
}

func TestWhatAMemberHasThatLeftIsSaidToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, settings, true, "a", "b")
		b.g.roster.jitter = func(int) time.Duration { return time.Hour }
		b.sinks["a"].left.Store(3)
		b.run()
		b.put(10)
		b.g.Arrange(b.g.roster.Settings, []string{"b"})
		if all := b.g.Members(); len(all) != 2 || all[1].State != Ejected {
			t.Errorf("on its way out: %+v", all)
		}
		b.sinks["a"].Close()
		if all := b.g.Members(); len(all) != 2 || all[1].Name != "a" || all[1].State != Out || all[1].InDoubt == nil {
			t.Errorf("the members are %+v", all)
		}
		again := New(b.g.reader, b.g.roster.Settings)
		if !again.doubts.of("a") {
			t.Error("who finds it in a reader does not say since when")
		}
		b.close()
	})
}
