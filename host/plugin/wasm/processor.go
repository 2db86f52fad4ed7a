// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// processor is an instance that changes batches.
type processor struct{ *instance }

var _ plugin.Processor = (*processor)(nil)

// Process copies the batch into the guest's arena, and answers what the guest emits for it.
func (p *processor) Process(ctx context.Context, b event.Batch) (event.Batch, plugin.Outcome, error) {
	if err := p.enter(ctx); err != nil {
		return event.Batch{}, plugin.Outcome{}, err
	}
	defer p.leave()
	n, err := p.put(ctx, b)
	if err != nil {
		return event.Batch{}, plugin.Outcome{}, err
	}
	p.given = b
	defer func() { p.given = event.Batch{} }()
	p.queue, p.queued, p.rejected = p.queue[:0], 0, p.rejected[:0]
	code, err := p.run(ctx, &p.guest.process, n)
	if err != nil {
		return event.Batch{}, plugin.Outcome{}, err
	}
	out := plugin.Outcome{Rejected: slices.Clone(p.rejected)}
	if code < 0 {
		p.dropQueue()
		err := p.failed(code)
		if err.Class == abi.Reject {
			return event.Batch{}, out, fmt.Errorf("%w: %w", plugin.ErrRejected, err)
		}
		return event.Batch{}, plugin.Outcome{}, err
	}
	if len(p.queue) != 1 {
		return event.Batch{}, plugin.Outcome{}, p.die(fmt.Errorf("it emitted %d batches for one", len(p.queue)))
	}
	made := p.queue[0].Batch
	p.queue[0] = plugin.Emission{}
	return made, out, nil
}

// derive copies and checks what a processor made of the batch that it was given. Events keep the numbers
// of those they were made from, so these need not be 0, 1, 2…, but they lie where the given ones do.
func (in *instance) derive(view []byte) (event.Batch, error) {
	b, err := event.CopyMade(in.buffers, view, in.given.Last()-in.given.Base()+1)
	return b.WithBase(in.given.Base()), err
}
