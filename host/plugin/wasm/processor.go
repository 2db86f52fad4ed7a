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
