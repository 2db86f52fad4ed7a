// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

const (
	// defaultEvents is how many events a batch is asked to have at most: 1 MiB of ordinary log lines.
	defaultEvents = 4096
	// ackTimeout is how long a source may take for an acknowledgement: it is told between its calls, and none of them may wait for long.
	ackTimeout = time.Minute
	// maxChanges is how many bytes of cursor changes go with one batch: what a source's whole cursor may have.
	maxChanges = 2 << 20
	// leaveTimeout is how long it is waited for what a source has emitted and not sent, when no more is asked for. One that does not know of that
	// polls on.
	leaveTimeout = time.Second
)

// source is an instance that brings events in.
type source struct {
	*stream[pluginpb.ReadRequest, pluginpb.Emission]
	client  pluginpb.SourceClient
	credit  *pluginpb.ReadRequest
	pending bool // a credit has been given, and nothing has come for it
	began   time.Time
	seq     uint64 // of the last emission
	acks    bool   // it wants to be told
	ended   bool
	listens bool      // connections come to it
	leaving time.Time // zero, or when it is not waited any longer for what it has emitted
}

var (
	_ plugin.Source = (*source)(nil)
	_ plugin.Leaver = (*source)(nil)
)

func newSource(in *instance, open plugin.Request, acks bool) (*source, error) {
	s := &source{client: pluginpb.NewSourceClient(in.conn), acks: acks, listens: len(open.Grants.Listen) > 0}
	s.credit = &pluginpb.ReadRequest{Credit: 1, MaxEvents: uint32(cmp.Or(open.Limits.BatchEvents, defaultEvents)), MaxBytes: uint32(in.limit)}
	var err error
	s.stream, err = newStream(in, "read", s.client.Read)
	return s, err
}

// Read gives credit for one batch, and waits for it. When ctx ends before, the credit stays, and the next Read waits for its batch.
func (s *source) Read(ctx context.Context) (plugin.Emission, error) {
	if s.ended {
		return plugin.Emission{}, io.EOF
	}
	if err := ctx.Err(); err != nil {
		return plugin.Emission{}, err
	}
	if !s.leaving.IsZero() {
		return s.readLast(ctx)
	}
	if !s.pending {
		if err := s.ask(s.credit); err != nil {
			return plugin.Emission{}, err
		}
		s.pending, s.began = true, time.Now()
	}
	e, err := s.next(ctx)
	if err != nil {
		return plugin.Emission{}, err
	}
	s.pending = false
	s.account(s.began)
	switch code := abi.Code(e.Status.GetCode()); {
	case code == abi.EOF:
		s.ended = true
		return plugin.Emission{}, io.EOF
	case code < 0:
		return plugin.Emission{}, failed("read", e.Status)
	}
	return s.take(e)
}

// Leave implements [plugin.Leaver]. Only of connections there is no second copy.
func (s *source) Leave() {
	s.ended = s.ended || !s.listens || s.dead.Load() != nil || s.CloseSend() != nil
	s.leaving = time.Now().Add(leaveTimeout)
}

// readLast takes what the source had emitted when it was told that no more is asked for, until it ends its stream.
func (s *source) readLast(ctx context.Context) (plugin.Emission, error) {
	limited, cancel := context.WithDeadline(ctx, s.leaving)
	defer cancel()
	for {
		select {
		case e, ok := <-s.arrived:
			switch {
			case !ok && errors.Is(s.stream.ended, io.EOF):
				s.ended = true
				s.calls.whole.Store(true)
				return plugin.Emission{}, io.EOF
			case !ok:
				return plugin.Emission{}, s.gone(s.stream.ended)
			case e.Status.GetCode() < 0:
				continue // its stream ends too
			}
			return s.take(e)
		case <-limited.Done():
			s.ended = true
			return plugin.Emission{}, io.EOF
		}
	}
}

// take checks what was emitted, and copies it.
func (s *source) take(e *pluginpb.Emission) (plugin.Emission, error) {
	if e.Seq != s.seq+1 {
		return plugin.Emission{}, s.broke("read", fmt.Sprintf("it emitted batch %d after batch %d", e.Seq, s.seq))
	}
	out := plugin.Emission{Seq: e.Seq}
	size := 0
	for _, c := range e.Changed {
		if size += len(c.Key) + len(c.Value); c.Key == "" || len(c.Key) > abi.MaxKey || len(c.Value) > abi.MaxValue || size > maxChanges {
			return plugin.Emission{}, s.broke("read", fmt.Sprintf("it set an entry of its cursor of %d + %d bytes, and %d + %d are the most, %d with one batch",
				len(c.Key), len(c.Value), abi.MaxKey, abi.MaxValue, maxChanges))
		}
		if out.Changed == nil {
			out.Changed = make(event.Cursor, len(e.Changed))
		}
		out.Changed[c.Key] = slices.Clip(c.Value)
	}
	batch := e.Batch
	if len(batch) == 0 {
		batch = noEvents
	}
	if len(batch) > s.limit {
		s.count(plugin.LimitBatch)
	}
	var err error
	if out.Batch, err = event.Copy(s.buffers, batch, s.limit); err != nil {
		s.count(abi.ImportEmit)
		return plugin.Emission{}, s.broke("read", "it emitted what is not a batch: "+err.Error())
	}
	s.seq = e.Seq
	s.calls.emitted.Store(e.Seq)
	return out, nil
}

// noEvents is the encoding of the zero Batch.
var noEvents = new(event.Builder).Bytes()

// Ack does what waited for it, and tells the source, if it wants to be told.
func (s *source) Ack(ctx context.Context, seq uint64, refused error) error {
	s.calls.kept.Ack(seq, refused == nil)
	if s.dead.Load() != nil {
		return s.died("acknowledge")
	}
	if !s.acks {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	answer, err := s.client.Ack(limited, &pluginpb.AckRequest{Seq: seq, Code: int32(codeOf(refused))})
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return s.lost("acknowledge", err)
	case answer.Status.GetCode() < 0:
		return failed("acknowledge", answer.Status)
	}
	return nil
}

// codeOf is the code that says why a batch was refused.
func codeOf(err error) abi.Code {
	if err == nil {
		return abi.OK
	}
	if e, ok := errors.AsType[*plugin.Error](err); ok && e.Code < 0 {
		return e.Code
	}
	return abi.EAGAIN
}
