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
	// shareBurst is for how long a guest may save up the processor time that is its share.
	shareBurst = time.Second
	// ticks is after how many calls into the host the processor time is looked at: a guest counts the instructions that it executes itself,
	// and what the host does for it may take a thousand times as long. Looking takes as long as some calls.
	ticks = 64
	// maxThrottle is how long a guest that is over its share waits at most, before the host looks again.
	maxThrottle = time.Second
)

var (
	errTooLong = errors.New("out of processor time")
	errTooDeep = errors.New("functions nest too deep")
)

// budget counts the processor time of the call that is running, and what share of a core the guest has had. It belongs to whoever has the
// turn.
type budget struct {
	limit   time.Duration // that one call may take; 0: what is usual for the export
	allowed time.Duration // in the call that is running
	used    time.Duration // of it, as far as was looked at
	cpu     time.Duration // of this thread, when it was looked at last
	at      time.Time     // when that was; zero: not in this call, or the guest has waited since
	began   time.Time     // the call that is running, where always
	calls   uint32        // into the host, of any call
	always  bool          // look at the beginning and the end of each call, not only when the guest yields

	share   float64       // of a core; 0: all of it
	saved   time.Duration // that it may use at once; negative: it is over its share
	savedAt time.Time
}

func newBudget(l plugin.Limits, counted bool) budget {
	b := budget{limit: l.Call, always: counted}
	if l.Share > 0 && l.Share < 1 {
		b.share, b.saved, b.savedAt, b.always = l.Share, time.Duration(l.Share*float64(shareBurst)), time.Now(), true
	}
	return b
}

// begin is called before each call of an export, with how many bytes were handed over for it.
func (b *budget) begin(export string, input int) {
	b.allowed = abi.DefaultCall
	switch export {
	case abi.ExportDeliver:
		b.allowed += time.Duration(input) * abi.DefaultCallInput >> 20
	case abi.ExportPoll, abi.ExportProcess: // a processor may look for an expression in each event: some 5 MB/s in a Go guest
		b.allowed = abi.DefaultPoll
	case abi.ExportOpen, exportInitialize, exportStart:
		b.allowed = abi.DefaultOpen
	}
	if b.limit > 0 {
		b.allowed = b.limit
	}
	b.used, b.at = 0, time.Time{}
	if b.always {
		b.look()
		b.began = b.at
	}
}

// end is called after each call of an export.
func (b *budget) end() {
	if b.always && !b.at.IsZero() {
		b.look()
	}
}

// waits is called before the guest leaves the processor for its own reasons, and waited after that.
func (b *budget) waits() { b.end() }

func (b *budget) waited() {
	b.at = time.Time{}
	if b.always {
		b.look()
	}
}

// look counts what has gone since the last look. The thread's own clock does not run while others have the processor. Should this
// goroutine have come to another thread in between, the difference of their clocks says nothing, and is bounded by the time of day.
func (b *budget) look() {
	now, cpu := time.Now(), threadTime()
	if !b.at.IsZero() {
		took := min(max(cpu-b.cpu, 0), now.Sub(b.at))
		b.used += took
		b.saved -= took
	}
	b.at, b.cpu = now, cpu
}

// spent looks, and says whether it is too much.
func (b *budget) spent() bool {
	b.look()
	return b.used > b.allowed
}

// debt is how long a guest has to wait until it is within its share again.
func (b *budget) debt(now time.Time) time.Duration {
	if b.share == 0 {
		return 0
	}
	most := time.Duration(b.share * float64(shareBurst))
	b.saved = min(b.saved+time.Duration(b.share*float64(now.Sub(b.savedAt))), most)
	b.savedAt = now
	return time.Duration(float64(max(0, -b.saved)) / b.share)
}

// yield is what a guest calls now and then, because the host wrote that into it. It ends a guest that has had enough by trapping it there,
// and keeps one that is over its share waiting.
func yield(in *instance, _ api.Memory, stack []uint64) {
	switch {
	case int32(stack[0]) > maxDepth:
		panic(errTooDeep)
	case in.budget.spent():
		panic(errTooLong)
	}
	in.throttle()
	stack[0] = fuel.Slice
}

// tick counts what the guest has the host do, and ends a guest that has had enough of that.
func (in *instance) tick() {
	if in.budget.calls++; in.budget.calls%ticks == 0 && !in.plugin.trusted && in.budget.spent() {
		panic(errTooLong)
	}
}

// throttle waits until the guest is within its share of a core again, or the host wants it back.
func (in *instance) throttle() {
	for in.budget.share > 0 && !in.wanted() {
		wait := in.budget.debt(time.Now())
		if wait == 0 {
			return
		}
		in.limited(plugin.LimitShare, fmt.Sprintf("it is kept waiting, so that it takes %v of a second in each second", in.budget.share))
		in.budget.waits()
		in.timer.Reset(min(wait, maxThrottle))
		select {
		case <-in.timer.C:
		case <-in.nudge:
		case <-in.closing:
		case <-in.call.Done():
		}
		in.timer.Stop()
		in.budget.waited()
	}
}

// overspent tells what a guest did that was ended, nil when it was not.
func (in *instance) overspent(cause error) *plugin.Error {
	switch {
	case errors.Is(cause, errTooLong):
		in.count(plugin.LimitCall)
		return &plugin.Error{
			Class: abi.Fatal, Err: cause,
			Message: fmt.Sprintf("the plugin used more than %v of processor time in one call of %s, and was ended%s", in.budget.allowed, in.inside, whereabouts(cause)),
			Hint:    "mend a loop that does not end, give it less at a time, or raise limits.cpu",
		}
	case errors.Is(cause, errTooDeep):
		in.count(plugin.LimitDepth)
		return &plugin.Error{
			Class: abi.Fatal, Err: cause,
			Message: fmt.Sprintf("functions of the plugin nest more than %d deep in %s, and it was ended%s", maxDepth, in.inside, whereabouts(cause)),
			Hint:    "mend a recursion that does not end",
		}
	}
	return nil
}
