// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"fmt"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// processor is an instance that changes batches.
type processor struct{ *instance }

var _ plugin.Processor = (*processor)(nil)

// Process copies the batch into the guest's arena, and answers what the guest emits for it.
func (p *processor) Process(ctx context.Context, b event.Batch) (event.Batch, error) {
	if err := p.enter(ctx); err != nil {
		return event.Batch{}, err
	}
	defer p.leave()
	n, err := p.put(ctx, b)
	if err != nil {
		return event.Batch{}, err
	}
	p.given = b
	defer func() { p.given = event.Batch{} }()
	p.queue, p.queued = p.queue[:0], 0
	code, err := p.run(ctx, abi.ExportProcess, p.guest.process, n)
	if err != nil {
		return event.Batch{}, err
	}
	if code < 0 {
		p.dropQueue()
		return event.Batch{}, p.failed(code)
	}
	if len(p.queue) != 1 {
		return event.Batch{}, p.die(fmt.Errorf("it emitted %d batches for one", len(p.queue)))
	}
	out := p.queue[0].Batch
	p.queue[0] = plugin.Emission{}
	return out, nil
}

// derive copies and checks what a processor made of the batch that it was given. Events keep the numbers
// of those they were made from, so these need not be 0, 1, 2…, but they lie where the given ones do.
func (in *instance) derive(view []byte) (event.Batch, error) {
	buf := in.buffers.Get(len(view))
	copy(buf.Bytes(), view)
	b, err := event.Parse(buf.Bytes())
	if err == nil && b.Base() != 0 {
		err = fmt.Errorf("%w: a processor leaves base 0", event.ErrInvalid)
	}
	if err == nil && b.Len() > 0 && b.Last() > in.given.Last()-in.given.Base() {
		err = fmt.Errorf("%w: an event is numbered after the last one that was given", event.ErrInvalid)
	}
	if err != nil {
		buf.Release()
		return event.Batch{}, err
	}
	return event.Trusted(buf.Bytes(), in.given.Base(), buf), nil
}
