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
	batch event.Builder
	base  event.Offset
}

// Append adds an event; it keeps nothing of e. at is the offset of the event it was made from, which
// must not decrease.
func (w *Output) Append(at event.Offset, e event.Event) error {
	if at < w.base || at-w.base > 0xffffffff {
		return fmt.Errorf("append at offset %d: not of the batch that begins at %d", at, w.base)
	}
	return w.batch.AppendAt(uint32(at-w.base), e)
}

func cut(s string) string { return s[:min(len(s), abi.MaxText)] }
