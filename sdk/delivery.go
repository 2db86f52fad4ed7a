// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Delivery is how a sink answers about single events, and waits. It belongs to the call it was handed to.
type Delivery struct{ host *Host }

// Reject says that the destination will never take the event at this place in the batch, and why.
func (d *Delivery) Reject(index int, reason error) error {
	code := d.host.Result(index, abi.EREJECT, cut(reason.Error()))
	return check(code, fmt.Sprintf("reject event %d", index))
}

// Now is the wall clock.
func (d *Delivery) Now() time.Time { return time.Unix(0, d.host.Now()) }

// Sleep waits for t. [ErrInterrupted]: the host wants the sink back; return it.
func (d *Delivery) Sleep(t time.Duration) error {
	return check(d.host.Sleep(t), "sleep")
}

// Output collects what a processor makes of a batch. It belongs to the call it was handed to.
type Output struct {
	host  *Host
	batch event.Builder
}

// Append adds an event; it keeps nothing of e. at is the offset of the event it was made from, which
// must not decrease.
func (w *Output) Append(at event.Offset, e event.Event) error { return w.batch.AppendAt(at, &e) }

// AppendEvent is Append without a copy of e, which counts in a WebAssembly guest.
func (w *Output) AppendEvent(at event.Offset, e *event.Event) error { return w.batch.AppendAt(at, e) }

// Each walks the batch that Process was given, and keeps what goes on as it is, at a fraction of the cost of Append:
//
//	for e := out.Each(b); e.Next(); {
//		if wanted(e.Body()) {
//			e.Keep()
//		}
//	}
//
// One walk at a time. Events that are kept one after the other are copied at once, when Process returns at the latest: until then b must not be changed.
func (w *Output) Each(b event.Batch) *event.Keeper { return w.batch.Each(b) }

// Reject says that the event at this place in the batch cannot be processed, and why. It is left out of the output; what becomes of
// it is the pipeline's to say.
func (w *Output) Reject(index int, reason error) error {
	code := w.host.Result(index, abi.EREJECT, cut(reason.Error()))
	return check(code, fmt.Sprintf("reject event %d", index))
}

func (w *Output) begin(base event.Offset) {
	w.batch.Reset()
	w.batch.Base = base
}

func cut(s string) string { return s[:min(len(s), abi.MaxText)] }
