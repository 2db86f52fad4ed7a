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
	base  event.Offset
	last  event.Offset
}

// Append adds an event; it keeps nothing of e. at is the offset of the event it was made from, which
// must not decrease.
func (w *Output) Append(at event.Offset, e event.Event) error {
	if at < w.last || at-w.base > 0xffffffff {
		return fmt.Errorf("append at offset %d after %d: the batch begins at %d", at, w.last, w.base)
	}
	if err := w.batch.AppendNumbered(&e, uint32(at-w.base)); err != nil {
		return err
	}
	w.last = at
	return nil
}

// Keep adds the event at which d stands as it is, at a fraction of the cost of Append.
func (w *Output) Keep(d *event.Decoder) error {
	if d.Offset < w.last || d.Offset-w.base > 0xffffffff {
		return fmt.Errorf("keep of offset %d after %d: the batch begins at %d", d.Offset, w.last, w.base)
	}
	if err := w.batch.AppendRecord(d.Record(), uint32(d.Offset-w.base)); err != nil {
		return err
	}
	w.last = d.Offset
	return nil
}

// Reject says that the event at this place in the batch cannot be processed, and why. It is left out of the output; what becomes of
// it is the pipeline's to say.
func (w *Output) Reject(index int, reason error) error {
	code := w.host.Result(index, abi.EREJECT, cut(reason.Error()))
	return check(code, fmt.Sprintf("reject event %d", index))
}

func (w *Output) begin(base event.Offset) {
	w.batch.Reset()
	w.base, w.last = base, base
}

func cut(s string) string { return s[:min(len(s), abi.MaxText)] }
