// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/penstock-io/penstock/host/plugin"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
)

// forever is a loop without an end around body.
func forever(body ...Code) Code { return Loop(append(body, Const(1), Again())...) }

// fill is memory.fill of so many bytes.
func fill(n int32) Code {
	return append(append(append(Const(0), Const(0)...), Const(n)...), 0xfc, 11, 0)
}

// pollOf is a source whose poll is body, and never answers.
func pollOf(body ...Code) *Module {
	m := NewModule().Plugin(0)
	m.Export(abi.ExportPoll, three, one, append(body, Const(0))...)
	return m
}

func TestAGuestThatDoesNotComeBackIsEndedInItsBudget(t *testing.T) {
	const budget = 50 * time.Millisecond
	spin := forever()
	nested := NewModule().Plugin(0)
	inner := nested.Func(none, none, forever())
	nested.Export(abi.ExportPoll, three, one, Call(inner), Const(0))
	now := NewModule()
	clock := now.Import(abi.ImportNow, none, []byte{I64})
	now.Plugin(0)
	now.Export(abi.ExportPoll, three, one, forever(Call(clock), Drop()), Const(0))
	emits := NewModule()
	emit, _, _, _ := importer(emits)
	emits.Plugin(0)
	emits.Export(abi.ExportPoll, three, one, forever(Const(0), Const(4<<20), Call(emit), Drop()), Const(0))
	for says, m := range map[string]*Module{
		"a loop that lets the host work":   emits,
		"an empty loop":                    pollOf(spin),
		"a loop in another function":       nested,
		"a loop that calls the host":       now,
		"a loop that fills its memory":     pollOf(forever(fill(4 << 20))),
		"a loop that asks for memory":      pollOf(forever(Const(0), Grow(), Drop())),
		"a loop in the head of a function": pollOf(Loop(Loop(Const(1), Again()))),
	} {
		t.Run(says, func(t *testing.T) {
			s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.Call = budget })
			began := threadTimeOf(func() {
				_, err := s.Source.Read(t.Context())
				wantError(t, err, abi.Fatal, "used more than 50ms of processor time in one call of penstock_poll", ".$", "mend a loop")
			})
			if began > 6*budget {
				t.Errorf("it took %v of processor time, the budget was %v", began, budget)
			}
			_, err := s.Source.Read(t.Context())
			wantError(t, err, abi.Fatal, "50ms")
		})
	}
}

// threadTimeOf is the processor time that f takes.
func threadTimeOf(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := threadTime()
	f()
	return threadTime() - before
}

func TestWhatComesBeforeTheFirstBatchHasABudgetToo(t *testing.T) {
	m := pollOf()
	m.Export("_initialize", none, none, forever())
	var s setup
	err := s.tryOpen(t, m, abi.Source, func(r *plugin.Request) { r.Limits.Call = 20 * time.Millisecond })
	wantError(t, err, abi.Fatal, "used more than 20ms", "_initialize")
	m = pollOf()
	m.Start(m.Func(none, none, forever()))
	err = s.tryOpen(t, m, abi.Source, func(r *plugin.Request) { r.Limits.Call = 20 * time.Millisecond })
	wantError(t, err, abi.Fatal, "used more than 20ms", "start")
}

func TestATimeThatTheGuestSleepsIsNotCharged(t *testing.T) {
	m := NewModule()
	sleep := m.Import(abi.ImportSleep, one, one)
	turns := m.Global()
	m.Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Loop(Const(200_000), Set(0), loopOf(), // it yields between its sleeps
			Const(10), Call(sleep), Drop(),
			GetGlobal(turns), Const64(1), Add64(), SetGlobal(turns), GetGlobal(turns), Const64(20), Code{0x53}, Again()),
		Const(int32(abi.EOF)))
	s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.Call = 100 * time.Millisecond })
	began := time.Now()
	_, err := s.Source.Read(t.Context())
	if err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("it slept for %v in 20 pieces, with a budget of 100ms: %v", time.Since(began), err)
	}
}

func TestEndlessRecursionIsEndedWhereItIsTooDeep(t *testing.T) {
	const self = 3 // after marker, alloc and open
	direct := NewModule().Plugin(0)
	direct.Export(abi.ExportPoll, three, one, Get(0), Get(1), Get(2), Call(self), Const(1), Add())
	two := NewModule().Plugin(0)
	two.Func(three, one, Get(0), Get(1), Get(2), Call(self+1))
	two.Export(abi.ExportPoll, three, one, Get(0), Get(1), Get(2), Call(self), Const(1), Add())
	for says, m := range map[string]*Module{"a function that calls itself": direct, "two that call each other": two} {
		t.Run(says, func(t *testing.T) {
			s := start(t, m, abi.Source, nil)
			_, err := s.Source.Read(t.Context())
			wantError(t, err, abi.Fatal, "nest more than 32768 deep in penstock_poll", "mend a recursion")
		})
	}
}

func TestRecursionThatEndsIsNotInItsWay(t *testing.T) {
	const self = 3
	m := NewModule().Plugin(0)
	m.Export(abi.ExportPoll, three, one,
		Get(0), If(Get(0), Const(1), Sub(), Get(1), Get(2), Call(self), Return()),
		Const(int32(abi.EOF)))
	s := start(t, m, abi.Source, nil)
	in := s.Source.(*source)
	for range 3 { // what a return left behind would add up
		if code, err := in.run(t.Context(), &in.guest.poll, maxDepth-2, 0, 0); err != nil || code != abi.EOF {
			t.Fatal(code, err)
		}
	}
}

// A garbage collection has to wait until each goroutine has come to a place where it can be stopped. Machine code that loops has none, so
// that all of the process stands still until it is over; a guest that yields has one every half a millisecond.
func TestAGuestThatLoopsDoesNotKeepTheProcessFromCollectingGarbage(t *testing.T) {
	const bar = 30 * time.Millisecond
	yields, _ := stall(t, true)
	var plain time.Duration
	for range 10 { // on a busy machine the guest may be done before anybody collects
		if _, plain = stall(t, false); plain >= bar {
			break
		}
	}
	t.Logf("a collection waits up to %v for a plain module, %v for one that yields", plain, yields)
	if yields > bar {
		t.Errorf("a collection waited %v", yields)
	}
	if plain < bar {
		t.Errorf("the control is no control: it waited %v", plain)
	}
}

// stall is how long collections wait while a guest loops, the shortest and the longest of several: the machine has other things to do.
func stall(t *testing.T, fueled bool) (best, worst time.Duration) {
	const turns = 200_000_000 // some hundred milliseconds
	m := looper(NewModule())
	code := pack(t, m, abi.Source)
	var run func()
	if fueled {
		s := start(t, m, abi.Source, func(r *plugin.Request) { r.Limits.Call = time.Hour })
		in := s.Source.(*source)
		run = func() { _, _ = in.run(t.Context(), &in.guest.poll, turns, 0, 0) }
	} else {
		r := wazero.NewRuntime(t.Context())
		defer r.Close(t.Context())
		plain, err := r.Instantiate(t.Context(), code)
		if err != nil {
			t.Fatal(err)
		}
		run = func() { _, _ = plain.ExportedFunction(abi.ExportPoll).Call(t.Context(), turns, 0, 0) }
	}
	best = time.Hour
	for range 5 {
		done := make(chan struct{})
		go func() { defer close(done); run() }()
		time.Sleep(20 * time.Millisecond) // it is inside by now; if not, the wait is short, and the control says so
		began := time.Now()
		runtime.GC()
		took := time.Since(began)
		best, worst = min(best, took), max(worst, took)
		<-done
	}
	return best, worst
}
