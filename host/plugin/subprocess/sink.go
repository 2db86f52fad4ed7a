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

// pruneTimeout is how long a sink may take to forget ranges: a table of them is cut.
const pruneTimeout = time.Minute

// sink is an instance that takes events out.
type sink struct {
	*stream[pluginpb.WriteRequest, pluginpb.WriteReply]
	client  pluginpb.SinkClient
	credit  uint64 // so many more batches may be sent
	scratch []byte
}

var _ plugin.Sink = (*sink)(nil)

func newSink(in *instance, prunes bool) (plugin.Sink, error) {
	s := &sink{client: pluginpb.NewSinkClient(in.conn)}
	var err error
	if s.stream, err = newStream(in, "write", s.client.Write); err != nil {
		return nil, err
	}
	if prunes {
		return pruner{s}, nil
	}
	return s, nil
}

// Write sends the batch and waits for what became of it. When ctx ends the sink is asked to come back, and killed if it does not.
func (s *sink) Write(ctx context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	for s.credit == 0 {
		a, err := s.next(ctx)
		if err != nil {
			return plugin.Outcome{}, err
		}
		s.credit += uint64(a.Credit)
	}
	began := time.Now()
	s.scratch = withBase(s.scratch, b)
	if err := s.ask(&pluginpb.WriteRequest{First: uint64(r.First), Next: uint64(r.Next), Batch: s.scratch}); err != nil {
		return plugin.Outcome{}, err
	}
	s.credit--
	a, err := s.answer(ctx)
	if err != nil {
		return plugin.Outcome{}, err
	}
	s.account(began)
	s.credit += uint64(a.Credit)
	out := plugin.Outcome{}
	if out.Rejected, err = rejections(a.Rejected, b.Len()); err != nil {
		return plugin.Outcome{}, s.broke("write", err.Error())
	}
	switch code := abi.Code(a.Status.GetCode()); {
	case code >= 0:
		return out, nil
	case code == abi.EREJECT:
		return out, fmt.Errorf("%w: %w", plugin.ErrRejected, failed("write", a.Status))
	case code == abi.EINTR && ctx.Err() != nil:
		return plugin.Outcome{}, ctx.Err()
	default:
		return plugin.Outcome{}, failed("write", a.Status)
	}
}

// answer waits for the answer to the batch that is under way.
func (s *sink) answer(ctx context.Context) (*pluginpb.WriteReply, error) {
	a, err := s.reply(ctx)
	if err == nil || ctx.Err() == nil {
		return a, err
	}
	if err := s.ask(&pluginpb.WriteRequest{Interrupt: true}); err != nil {
		return nil, err
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), interruptGrace)
	defer cancel()
	if a, err = s.reply(grace); grace.Err() != nil {
		s.broke("write", fmt.Sprintf("it did not come back from a delivery within %v of being asked to, and was killed", interruptGrace))
		return nil, ctx.Err()
	}
	return a, err
}

// reply waits for the reply that answers a batch.
func (s *sink) reply(ctx context.Context) (*pluginpb.WriteReply, error) {
	for {
		a, err := s.next(ctx)
		if err != nil || a.Done {
			return a, err
		}
		s.credit += uint64(a.Credit)
	}
}

// withBase copies a batch, whose own bytes are others' too, and writes its base into it.
func withBase(dst []byte, b event.Batch) []byte {
	src := b.Bytes()
	if len(src) == 0 {
		src = noEvents
	}
	dst = append(dst[:0], src...)
	event.PutBase(dst, b.Base())
	return dst
}

// pruner is a sink that stores ranges.
type pruner struct{ *sink }

var _ plugin.Pruner = pruner{}

// Prune tells the sink that it may forget ranges below low.
func (p pruner) Prune(ctx context.Context, low event.Offset) error {
	if p.dead.Load() != nil {
		return p.died("prune")
	}
	limited, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	answer, err := p.client.Prune(limited, &pluginpb.PruneRequest{Low: uint64(low)})
	switch code := abi.Code(answer.GetStatus().GetCode()); {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return p.lost("prune", err)
	case code < 0 && code != abi.ENOSYS:
		return failed("prune", answer.Status)
	}
	return nil
}
