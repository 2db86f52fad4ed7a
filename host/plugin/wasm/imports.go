// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Limits on what one call of a guest may leave with the host.
const (
	// maxEmissions is how many batches one poll may emit, so that a guest that never returns does not fill the host.
	maxEmissions = 64
	// maxChanges is how many bytes of cursor changes go with one batch: what a source's whole cursor may have.
	maxChanges = 2 << 20
	// maxHeld is how many ranges a sink may report in open: they are few where the sink joins neighbours.
	maxHeld = 1 << 16
	// maxReason bounds the reason of one rejection: 4096 of them must not weigh more than the batch.
	maxReason = 1 << 10
)

// emit takes one batch: it is checked and copied before the guest goes on, and then is the host's.
func emit(in *instance, mem api.Memory, stack []uint64) {
	ptr, n := uint32(stack[0]), uint32(stack[1])
	seq, code := in.emit(mem, ptr, n)
	stack[0] = seq
	if code < 0 {
		stack[0] = answer(code)
	}
}

func (in *instance) emit(mem api.Memory, ptr, n uint32) (uint64, abi.Code) {
	view, ok := mem.Read(ptr, n)
	switch {
	case in.inside != abi.ExportPoll && in.inside != abi.ExportProcess:
		return in.refuse("emit is for poll and process alone")
	case !ok:
		return in.refuse("emit of memory that is not there")
	case len(view) > in.limit:
		in.count(plugin.LimitBatch)
		if in.log.Once("batch") {
			in.log.To.Warn("plugin emitted a larger batch than it was asked for", slog.Int("bytes", len(view)), slog.Int("limit", in.limit))
		}
		return 0, abi.ETOOBIG
	case len(in.queue) >= maxEmissions, len(in.queue) > 0 && in.queued+len(view) > in.output:
		return 0, abi.EAGAIN // which is no fault: it may go on in the next call
	}
	take := in.copy
	if in.inside == abi.ExportProcess {
		take = in.derive
	}
	b, err := take(view)
	if err != nil {
		return in.refuse(err.Error())
	}
	in.seq++
	in.queue = append(in.queue, plugin.Emission{Seq: in.seq, Batch: b, Changed: in.changed})
	in.queued += len(view)
	in.changed, in.changedN = nil, 0
	return in.seq, abi.OK
}

func (in *instance) copy(view []byte) (event.Batch, error) {
	return event.Copy(in.buffers, view, in.limit)
}

// refuse logs what is wrong with what a guest emitted: the guest learns only the code.
func (in *instance) refuse(why string) (uint64, abi.Code) {
	in.count(abi.ImportEmit)
	if in.log.Allow() {
		in.log.To.Error("plugin emitted what is not a batch", "error", why)
	}
	return 0, abi.EINVAL
}

// dropQueue forgets what was emitted and not handed out.
func (in *instance) dropQueue() {
	for i := range in.queue {
		if seq := in.queue[i].Seq; seq > 0 { // 0: it was handed out
			in.queue[i].Batch.Release()
			in.commits.Ack(seq, false)
		}
	}
	clear(in.queue)
	in.queue, in.queued, in.changed, in.changedN = in.queue[:0], 0, nil, 0
}

// setCursor sets an entry of the cursor for the batch emitted next.
func setCursor(in *instance, mem api.Memory, stack []uint64) {
	key, ok1 := mem.Read(uint32(stack[0]), uint32(stack[1]))
	value, ok2 := mem.Read(uint32(stack[2]), uint32(stack[3]))
	stack[0] = answer(in.setCursor(key, value, ok1 && ok2))
}

func (in *instance) setCursor(key, value []byte, ok bool) abi.Code {
	switch {
	case !ok, in.kind != abi.Source, len(key) == 0:
		return abi.EINVAL
	case len(key) > abi.MaxKey, len(value) > abi.MaxValue, in.changedN+len(key)+len(value) > maxChanges:
		return abi.ETOOBIG
	}
	if in.changed == nil {
		in.changed = make(event.Cursor, 1)
	}
	in.changed[string(key)] = slices.Clone(value)
	in.changedN += len(key) + len(value)
	return abi.OK
}

// reject notes that an event of the delivery will never be taken, or that one of the batch cannot be processed.
func reject(in *instance, mem api.Memory, stack []uint64) {
	index, code := int32(stack[0]), abi.Code(int32(stack[1]))
	reason, ok := text(mem, stack[2], stack[3], maxReason)
	events := in.given.Len() // 0 outside of deliver and process
	if !ok || in.inside != abi.ExportDeliver && in.inside != abi.ExportProcess || index < 0 || int(index) >= events || len(in.rejected) >= events || code >= 0 {
		stack[0] = answer(abi.EINVAL)
		return
	}
	in.rejected = append(in.rejected, plugin.Rejection{Index: int(index), Code: code, Reason: reason})
	stack[0] = answer(abi.OK)
}

// fail notes what there is to say about the code that the guest returns next: what happened in the
// first line, what the user can do in the rest.
func fail(in *instance, mem api.Memory, stack []uint64) {
	path, ok1 := text(mem, stack[2], stack[3], abi.MaxText)
	words, ok2 := text(mem, stack[4], stack[5], abi.MaxText)
	if !ok1 || !ok2 {
		stack[0] = answer(abi.EINVAL)
		return
	}
	in.failure = failure{said: true, text: words, path: path, delay: abi.Delay(int64(int32(stack[1])))}
	stack[0] = answer(abi.OK)
}

// position notes a range that the destination holds already.
func position(in *instance, _ api.Memory, stack []uint64) {
	r := event.Range{First: event.Offset(stack[1]), Next: event.Offset(stack[2])}
	switch {
	case in.kind != abi.Sink, in.inside != abi.ExportOpen, r.Empty():
		stack[0] = answer(abi.EINVAL)
	case len(in.held) >= maxHeld:
		stack[0] = answer(abi.ETOOBIG)
	default:
		in.held = append(in.held, plugin.Held{Incarnation: stack[0], Range: r})
		stack[0] = answer(abi.OK)
	}
}

func now(_ *instance, _ api.Memory, stack []uint64) { stack[0] = uint64(time.Now().UnixNano()) }

// sleep waits, and answers EINTR as soon as the host wants the guest back.
func sleep(in *instance, _ api.Memory, stack []uint64) {
	ms := max(int32(stack[0]), 0)
	stack[0] = answer(in.pause(time.Duration(ms) * time.Millisecond))
}

// text copies what a guest says, cut to limit bytes and made valid UTF-8.
func text(mem api.Memory, ptr, n uint64, limit int) (string, bool) {
	view, ok := mem.Read(uint32(ptr), uint32(n))
	if !ok {
		return "", false
	}
	return strings.ToValidUTF8(string(view[:min(len(view), limit)]), "\uFFFD"), true
}
