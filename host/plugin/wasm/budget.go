// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// maxDepth is how deep functions may nest that may be inside themselves: far deeper than a parser of anything sane, and
	// some MiB of stack.
	maxDepth = 1 << 15
	// defaultBudget is how much processor time one call may take: a batch of 1 MiB takes some milliseconds.
	defaultBudget = 200 * time.Millisecond
	// pollBudget is the same for a poll, which may read and split a lot before it emits.
	pollBudget = time.Second
	// openBudget is the same for what comes before the first batch: a Go guest sets up its memory, and a sink may read what it holds.
	openBudget = 10 * time.Second
)

var (
	errTooLong = errors.New("out of processor time")
	errTooDeep = errors.New("functions nest too deep")
)

// budget counts the processor time of the call that is running. It belongs to whoever has the turn.
type budget struct {
	limit   time.Duration // that one call may take; 0: what is usual for the export
	allowed time.Duration // in the call that is running
	used    time.Duration // of it, as far as yields have counted
	cpu     time.Duration // of this thread, when it was looked at last
	at      time.Time     // when that was; zero: not in this call, or the guest has waited since
}

// begin is called before each call of an export.
func (b *budget) begin(export string) {
	b.allowed = defaultBudget
	switch export {
	case abi.ExportPoll:
		b.allowed = pollBudget
	case abi.ExportOpen, exportInitialize, exportStart:
		b.allowed = openBudget
	}
	if b.limit > 0 {
		b.allowed = b.limit
	}
	b.used, b.at = 0, time.Time{}
}

// waited is called when the guest was away from the processor for its own reasons.
func (b *budget) waited() { b.at = time.Time{} }

// spent counts what has gone since the last look, and says whether it is too much. The thread's own clock does not run while others
// have the processor. Should this goroutine have come to another thread in between, the difference of their clocks says nothing, and
// is bounded by the time of day.
func (b *budget) spent() bool {
	now, cpu := time.Now(), threadTime()
	if !b.at.IsZero() {
		b.used += min(max(cpu-b.cpu, 0), now.Sub(b.at))
	}
	b.at, b.cpu = now, cpu
	return b.used > b.allowed
}

// yield is what a guest calls now and then, because the host wrote that into it. It ends a guest that has had enough by trapping it there.
func yield(in *instance, _ api.Memory, stack []uint64) {
	switch {
	case int32(stack[0]) > maxDepth:
		panic(errTooDeep)
	case in.budget.spent():
		panic(errTooLong)
	}
	stack[0] = fuel.Slice
}

// overspent tells what a guest did that was ended, nil when it was not.
func (in *instance) overspent(cause error) *plugin.Error {
	switch {
	case errors.Is(cause, errTooLong):
		return &plugin.Error{
			Class: abi.Fatal, Err: cause,
			Message: fmt.Sprintf("the plugin used more than %v of processor time in one call of %s, and was ended%s", in.budget.allowed, in.inside, whereabouts(cause)),
			Hint:    "give it less at a time, or mend a loop that does not end",
		}
	case errors.Is(cause, errTooDeep):
		return &plugin.Error{
			Class: abi.Fatal, Err: cause,
			Message: fmt.Sprintf("functions of the plugin nest more than %d deep in %s, and it was ended%s", maxDepth, in.inside, whereabouts(cause)),
			Hint:    "mend a recursion that does not end",
		}
	}
	return nil
}
