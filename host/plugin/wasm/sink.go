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

// sink is an instance that takes events out.
type sink struct{ *instance }

var _ plugin.Sink = (*sink)(nil)

// Write copies the batch into the guest's arena and has it delivered.
func (s *sink) Write(ctx context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	if err := s.enter(ctx); err != nil {
		return plugin.Outcome{}, err
	}
	defer s.leave()
	if err := s.idle(ctx); err != nil {
		return plugin.Outcome{}, err
	}
	n, err := s.put(ctx, b)
	if err != nil {
		return plugin.Outcome{}, err
	}
	s.given = b
	defer func() { s.given = event.Batch{} }()
	s.rejected = s.rejected[:0]
	code, err := s.run(ctx, &s.guest.deliver, uint64(r.First), uint64(r.Next), n)
	switch {
	case err != nil:
		return plugin.Outcome{}, err
	case code >= 0:
		return plugin.Outcome{Rejected: slices.Clone(s.rejected)}, nil
	case code == abi.EREJECT:
		e := s.failed(code)
		return plugin.Outcome{Rejected: slices.Clone(s.rejected)}, fmt.Errorf("%w: %w", plugin.ErrRejected, e)
	default:
		return plugin.Outcome{}, s.failed(code)
	}
}

// put copies a batch into the arena, with its base, and answers how long it is there.
func (in *instance) put(ctx context.Context, b event.Batch) (uint64, error) {
	src := b.Bytes()
	if len(src) == 0 {
		src = noEvents
	}
	view, err := in.arena(ctx, len(src))
	if err != nil {
		return 0, err
	}
	copy(view, src)
	event.PutBase(view, b.Base())
	return uint64(len(src)), nil
}

// noEvents is the encoding of the zero Batch.
var noEvents = new(event.Builder).Bytes()

// pruner is a sink whose guest stores ranges.
type pruner struct{ *sink }

var _ plugin.Pruner = pruner{}

// Prune tells the guest that it may forget ranges below low.
func (p pruner) Prune(ctx context.Context, low event.Offset) error {
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer p.leave()
	return p.optional(p.run(ctx, &p.guest.prune, uint64(low)))
}
