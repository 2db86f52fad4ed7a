// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Poll collects what a source brings. It belongs to the call it was handed to.
type Poll struct {
	MaxEvents int           // that one batch may have
	MaxBytes  int           // that one batch may have, encoded
	Timeout   time.Duration // how long to wait for the first event

	batch event.Builder
	moved bool // the cursor was set since the last batch
	seq   uint64
	stuck error // the host refused a batch, or a part of its cursor: what follows would have a hole before it, or come again
	host  *Host

	requests requests
}

func (p *Poll) begin(maxEvents, maxBytes int, timeout time.Duration) {
	const events = 4096 // unless the host says otherwise: a batch that a sink takes whole
	if maxEvents <= 0 {
		maxEvents = events
	}
	if maxBytes <= 0 {
		maxBytes = event.DefaultBatch
	}
	p.MaxEvents, p.MaxBytes, p.Timeout = maxEvents, min(maxBytes, event.MaxBatch), timeout
	p.batch.Limit = p.MaxBytes
}

// Append adds an event to the batch; it keeps nothing of e. [ErrFull]: the batch is full, nothing
// was appended. [ErrTooBig]: the event will never fit.
func (p *Poll) Append(e event.Event) error {
	if p.batch.Len() >= p.MaxEvents {
		return ErrFull
	}
	return p.batch.Append(e)
}

// AppendList is Append of an event with the attributes of l, which are checked and encoded already: for
// a source whose events share them, but for the value of the last.
func (p *Poll) AppendList(time int64, l *event.AttributeList, body []byte) error {
	if p.batch.Len() >= p.MaxEvents {
		return ErrFull
	}
	return p.batch.AppendList(time, l, body)
}

// Discard drops the events that were appended since the last Flush. The cursor stays as it was set.
func (p *Poll) Discard() { p.batch.Reset() }

// Len is the number of events in the batch.
func (p *Poll) Len() int { return p.batch.Len() }

// Size is the length of the batch in bytes, as it goes out.
func (p *Poll) Size() int { return p.batch.Size() }

// MaxBody is the longest body that fits an event of the batch beside these attributes.
func (p *Poll) MaxBody(attributes ...event.Attribute) int {
	n := p.MaxBytes - event.EventMargin - event.RecordSize
	for i := range attributes {
		n -= event.AttributeSize + len(attributes[i].Key) + len(attributes[i].Value)
	}
	return max(n, 0)
}

// SetCursor says how far the batch brings the source. Entries that are not set stay as they are; an
// empty value deletes one. Neither is kept. A batch may be all cursor and no event. After an error the
// batch does not go out, nor any later one: its events would come again.
func (p *Poll) SetCursor(key string, value []byte) error {
	err := check(p.host.Cursor(key, value), "set cursor")
	if len(key) > abi.MaxKey || len(value) > abi.MaxValue {
		err = fmt.Errorf("cursor entry of %d + %d bytes is over the limit of %d + %d",
			len(key), len(value), abi.MaxKey, abi.MaxValue)
	}
	if err != nil {
		p.stuck = err
	}
	p.moved = true
	return err
}

// Flush sends the batch and returns its number, or 0 when there was nothing to send. It is needed
// only by a source that sends several batches in one Poll: what is left goes out when Poll returns.
func (p *Poll) Flush() (seq uint64, err error) {
	if p.stuck != nil {
		return 0, p.stuck
	}
	if p.batch.Len() == 0 && !p.moved {
		return 0, nil
	}
	n := p.host.Emit(p.batch.Bytes())
	p.batch.Reset()
	p.moved = false
	if n <= 0 {
		p.stuck = check(abi.Code(min(n, -1)), "emit")
		return 0, p.stuck
	}
	p.seq = uint64(n)
	return p.seq, nil
}

// Now is the wall clock. It is one call; take it once a batch or once a chunk, not once an event.
func (p *Poll) Now() time.Time { return time.Unix(0, p.host.Now()) }

// Sleep waits for d. [ErrInterrupted]: the host wants the source back; return it from Poll.
func (p *Poll) Sleep(d time.Duration) error {
	return check(p.host.Sleep(d), "sleep")
}
