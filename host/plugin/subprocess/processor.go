// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// processTimeout is how long a processor may take for a batch: it is a pure function, and waits for nobody.
const processTimeout = time.Minute

// processor is an instance that changes batches.
type processor struct {
	*stream[pluginpb.ProcessRequest, pluginpb.ProcessReply]
	credit  uint64 // so many more batches may be sent
	scratch []byte
}

var _ plugin.Processor = (*processor)(nil)

func newProcessor(in *instance) (*processor, error) {
	p := &processor{}
	var err error
	p.stream, err = newStream(in, "process", pluginpb.NewProcessorClient(in.conn).Process)
	return p, err
}

// Process sends the batch and waits for what becomes of it. A processor that takes too long, or longer than ctx, is killed: it has no
// state that anybody would miss.
func (p *processor) Process(ctx context.Context, b event.Batch) (event.Batch, plugin.Outcome, error) {
	limited, cancel := context.WithTimeout(ctx, processTimeout)
	defer cancel()
	began := time.Now()
	a, err := p.exchange(limited, b)
	switch {
	case err != nil && ctx.Err() != nil:
		p.broke("process", "it was still at work when it was to end, and was killed")
		return event.Batch{}, plugin.Outcome{}, ctx.Err()
	case err != nil && limited.Err() != nil:
		return event.Batch{}, plugin.Outcome{}, p.broke("process", fmt.Sprintf("it took longer than %v for one batch, and was killed", processTimeout))
	case err != nil:
		return event.Batch{}, plugin.Outcome{}, err
	}
	p.account(began)
	p.credit += uint64(a.Credit)
	out := plugin.Outcome{}
	if out.Rejected, err = rejections(a.Rejected, b.Len()); err != nil {
		return event.Batch{}, plugin.Outcome{}, p.broke("process", err.Error())
	}
	if a.Status.GetCode() < 0 {
		e := failed("process", a.Status)
		if e.Class == abi.Reject {
			return event.Batch{}, out, fmt.Errorf("%w: %w", plugin.ErrRejected, e)
		}
		return event.Batch{}, plugin.Outcome{}, e
	}
	made, err := event.CopyMade(p.buffers, a.Batch, b.Last()-b.Base()+1)
	if err != nil {
		p.count(abi.ImportEmit)
		return event.Batch{}, plugin.Outcome{}, p.broke("process", "it made what is not a batch: "+err.Error())
	}
	return made.WithBase(b.Base()), out, nil
}

// exchange sends a batch and waits for its answer.
func (p *processor) exchange(ctx context.Context, b event.Batch) (*pluginpb.ProcessReply, error) {
	for p.credit == 0 {
		a, err := p.next(ctx)
		if err != nil {
			return nil, err
		}
		p.credit += uint64(a.Credit)
	}
	p.scratch = withBase(p.scratch, b)
	if err := p.ask(&pluginpb.ProcessRequest{Batch: p.scratch}); err != nil {
		return nil, err
	}
	p.credit--
	for {
		a, err := p.next(ctx)
		if err != nil || a.Done {
			return a, err
		}
		p.credit += uint64(a.Credit)
	}
}
