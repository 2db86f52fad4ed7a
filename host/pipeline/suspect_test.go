// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// unhurried is a judge that takes its time, so that connections end in any order, and that takes no more than most events at once.
type unhurried struct {
	*judge
	most   int
	chance *rand.Rand
}

func (u unhurried) Write(ctx context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	time.Sleep(time.Duration(u.chance.IntN(50)) * time.Millisecond)
	if b.Len() > u.most {
		return plugin.Outcome{}, errTooMuch
	}
	return u.judge.Write(ctx, r, b)
}

// unhurriedly delivers events over several connections, for an hour, and says what they were given at last.
func unhurriedly(t *testing.T, connections, most int, seed uint64, bodies []string) (kept int, dead []string, left *Suspects) {
	t.Helper()
	main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer main.Close()
	defer rejected.Close()
	r, err := main.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
	if err != nil {
		t.Fatal(err)
	}
	put(t, main, bodies...)
	ctx, cancel := context.WithCancel(t.Context())
	left = new(Suspects)
	done := make(chan error, connections)
	judges := make([]*judge, connections)
	for i := range judges {
		judges[i] = &judge{}
		s := newSink(&trace{})
		s.Reader, s.Buffers, s.Suspects, s.Want = r, event.Heap{}, left, channel.Want{Events: 100}
		s.Dead = &DeadLetters{Component: "sink.a", Channel: rejected}
		s.Open = func(context.Context, channel.ReaderInfo) (plugin.Instance, error) {
			return plugin.Instance{Sink: unhurried{judges[i], most, rand.New(rand.NewPCG(seed, uint64(i)))}}, nil
		}
		go func() { done <- s.Run(ctx) }()
	}
	time.Sleep(time.Hour)
	cancel()
	for _, j := range judges {
		if err := <-done; err != nil {
			t.Error(err)
		}
		kept += len(j.kept)
	}
	return kept, bodiesOf(t, rejected, "r"), left
}

func TestManyEventsThatBreakManyConnectionsAreFound(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			in := slices.Repeat([]string{"good"}, 2000)
			for i := 25; i < len(in); i += 50 {
				in[i] = fmt.Sprint("break ", i)
			}
			if kept, dead, _ := unhurriedly(t, 4, 100, seed, in); kept != 1960 || len(dead) != 40 {
				t.Errorf("%d delivered, %d dead", kept, len(dead))
			}
		})
	}
}

func TestWhatWasTooMuchOnceDoesNotMakeDeliveriesSmallForEver(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			kept, _, left := unhurriedly(t, 4, 7, seed, slices.Repeat([]string{"good"}, 2000))
			if n := left.narrow(channel.Want{Events: 100}).Events; kept != 2000 || n != 100 {
				t.Errorf("%d delivered, and the next take is of %d events", kept, n)
			}
		})
	}
}

func TestEventsThatAreTooBigDoNotSpeakForOneThatBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := append(slices.Repeat([]string{"big"}, 2*poisonBudget), "break", "good")
		if l, err := judged(t, &judge{}, true, in...); err != nil || len(l.dead) != 2*poisonBudget+1 {
			t.Errorf("%d are dead letters: %v", len(l.dead), err)
		}
	})
}

func TestWhatBreaksMeanwhileIsSparedButSpeaksForNoEvent(t *testing.T) {
	breaks := func(s *Sink, first event.Offset) error {
		two := channel.Delivery{Range: event.Range{First: first, Next: first + 2}, Batch: encode(t, "x", "y").WithBase(first)}
		_, err := s.broken(t.Context(), offer{d: two, all: 2}, &plugin.Error{Class: abi.Fatal})
		return err
	}
	for name, begin := range map[string]func(s *Sink){
		"one was found": func(s *Sink) { s.Suspects.convicted() },
		"one is looked for": func(s *Sink) {
			for try := 1; try <= poisonAttempts; try++ {
				if err := breaks(s, 9); errors.Is(err, errSuspect) != (try == poisonAttempts) || errors.Is(err, errSpared) {
					t.Errorf("the %d. time: %v", try, err)
				}
			}
		},
	} {
		s := newSink(&trace{})
		s.Suspects = new(Suspects)
		begin(s)
		for try := 1; try <= poisonAttempts; try++ {
			err := breaks(s, 5)
			if want := try == poisonAttempts; errors.Is(err, errSuspect) != want || errors.Is(err, errSpared) == want {
				t.Errorf("%s, the %d. time: %v", name, try, err)
			}
		}
	}
}
