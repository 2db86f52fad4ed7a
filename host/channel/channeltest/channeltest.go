// SPDX-License-Identifier: Apache-2.0

// Package channeltest checks that a channel keeps the laws of package channel.
//
// Every kind of channel calls [Run] from one of its tests. A kind that survives being closed calls
// [RunDurable] as well; one that can be made to fail calls [RunFaults] with the steps that it has.
// So what a kind does not promise is visible in its tests, and nothing is skipped in silence.
//
//	func TestItKeepsTheLaws(t *testing.T) { channeltest.Run(t, open) }
//
// Each case runs in a synctest bubble on a channel of its own: time is not real in it, and "waits"
// means that nothing can move. A channel must therefore wait on Go channels, timers or sync.Cond
// made after it was opened. When a case ends, every hold on every buffer must have been released;
// freed memory is overwritten, so that a batch which outlives its lease is seen.
package channeltest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Options is what a case wants of the channel that it opens.
type Options struct {
	// Dir is a directory for the channel alone; the same Dir again is the same channel, for kinds that last.
	Dir      string
	Capacity channel.Capacity
	OnFull   channel.FullPolicy
	// ForgetAfter is after how long a cursor entry is forgotten that was not set again; 0: never.
	ForgetAfter time.Duration
	// Buffers is where the channel gets its memory.
	Buffers  event.Buffers
	Observer channel.Observer
	// Fault, where it is set, is to be asked just before each step; an error from it means that the
	// step fails with that error, and is not made. It may block. The steps are [StepPut] and [StepSync].
	Fault func(step string) error
}

// The steps that [RunFaults] knows.
const (
	StepPut  = "put"   // the events of a group are about to be written
	StepSync = "fsync" // what was written is about to be made durable
)

// Open opens a channel, or ends the test. The suite closes it.
type Open func(t *testing.T, o Options) channel.Channel

// Run checks what every kind of channel promises.
func Run(t *testing.T, open Open) {
	run(t, open, putCases, takeCases, orderCases, boundCases, readerCases, laneCases, closeCases, seekCases, cursorCases, forgetCases,
		fullCases, newestCases, oldestCases, lagCases, loadCases, shareCases)
}

// RunDurable checks what holds over close and open again, for kinds that keep what they have.
func RunDurable(t *testing.T, open Open) {
	run(t, open, durableCases, durableForgetCases, durableDropCases, laneDurable, []scenario{boundDurable}, durableSeekCases, durableShareCases)
}

// RunFaults checks what holds when a step fails; steps are those for which the kind asks Options.Fault.
func RunFaults(t *testing.T, open Open, steps ...string) {
	for _, step := range steps {
		cases, ok := faultCases[step]
		if !ok {
			t.Errorf("channeltest knows no step %q", step)
		}
		run(t, open, cases)
	}
}

// scenario is one case: a sentence, and what shows it.
type scenario struct {
	says string
	show func(*env)
}

func run(t *testing.T, open Open, tables ...[]scenario) {
	t.Helper()
	for _, table := range tables {
		for _, s := range table {
			t.Run(s.says, func(t *testing.T) {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) {
					e := &env{T: t, opener: open, options: Options{Dir: dir}}
					e.options.Buffers = &e.memory
					s.show(e)
					e.finish()
				})
			})
		}
	}
}
