// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

const (
	// pollTimeout is how long a poll may wait for data, so that acknowledgements get in without waking it.
	pollTimeout = 250 * time.Millisecond
	// firstIdle and maxIdle bound the wait after a poll that brought nothing and did not wait itself.
	firstIdle = time.Millisecond
	maxIdle   = 50 * time.Millisecond
	// idleEvery is how often [Idler] is called at most.
	idleEvery = time.Second
)

// childSource serves a source.
type childSource struct {
	pluginpb.UnimplementedSourceServer
	*child
	maxEvents, maxBytes int
	ended               bool      // it has said that there is no more
	idled               time.Time // when it was idle last
}

// Open implements [pluginpb.SourceServer].
func (s *childSource) Open(ctx context.Context, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	return s.open(ctx, abi.Source, r)
}

// Close implements [pluginpb.SourceServer].
func (s *childSource) Close(ctx context.Context, _ *pluginpb.CloseRequest) (*pluginpb.CloseResponse, error) {
	return s.close(ctx)
}

// Ack implements [pluginpb.SourceServer].
func (s *childSource) Ack(ctx context.Context, r *pluginpb.AckRequest) (*pluginpb.AckResponse, error) {
	if err := s.enterSoon(ctx, inNothing); err != nil {
		return nil, err
	}
	defer s.leave()
	s.guest.Ack(r.Seq, abi.Code(r.Code))
	return &pluginpb.AckResponse{}, nil
}

// errLeft is what there is to send when the agent asks for no more batches, and has all that were emitted.
var errLeft = errors.New("there is nothing left")

// Read implements [pluginpb.SourceServer]: one batch for each credit. When no more are asked for, what has been emitted is still sent.
func (s *childSource) Read(stream grpc.BidiStreamingServer[pluginpb.ReadRequest, pluginpb.Emission]) error {
	asked, failed := make(chan *pluginpb.ReadRequest), make(chan error, 1)
	go func() {
		if err := s.receive(stream, asked); err != nil {
			failed <- err
		}
	}()
	for {
		r := &pluginpb.ReadRequest{Credit: maxQueue}
		select {
		case r = <-asked:
		case <-s.leaving:
		case err := <-failed:
			return err
		}
		if r.MaxEvents > 0 {
			s.maxEvents = int(r.MaxEvents)
		}
		if r.MaxBytes > 0 {
			s.maxBytes = int(r.MaxBytes)
		}
		for range r.Credit {
			e, err := s.next(stream.Context())
			if errors.Is(err, errLeft) {
				return nil
			}
			if err == nil {
				err = stream.Send(e)
				s.reuse(e)
			}
			if err != nil {
				return err
			}
		}
	}
}

// receive reads what is asked for, until the agent wants no more.
func (s *childSource) receive(stream grpc.BidiStreamingServer[pluginpb.ReadRequest, pluginpb.Emission], to chan<- *pluginpb.ReadRequest) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			close(s.leaving)
			s.wake()
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case to <- r:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// reuse keeps the room of what has been sent for what is emitted next.
func (s *childSource) reuse(e *pluginpb.Emission) {
	s.turn <- struct{}{}
	defer s.leave()
	s.spare = e.Batch
}

// next waits for what answers one credit. The turn is free while it waits, so that an acknowledgement can get in.
func (s *childSource) next(ctx context.Context) (*pluginpb.Emission, error) {
	for wait := firstIdle; ; wait = min(2*wait, maxIdle) {
		e, slept, err := s.step(ctx)
		if e != nil || err != nil {
			return e, err
		}
		select {
		case <-s.leaving:
			return nil, errLeft
		default:
		}
		if slept {
			continue
		}
		select {
		case <-time.After(wait):
		case <-s.leaving:
		case <-s.closing:
			return nil, context.Canceled
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// step takes what was emitted, or else polls once. Nothing: there was nothing; then slept says whether the source has waited for something.
func (s *childSource) step(ctx context.Context) (e *pluginpb.Emission, slept bool, err error) {
	if err := s.enter(ctx, inPoll); err != nil {
		return nil, false, err
	}
	defer s.leave()
	if len(s.queue) == 0 {
		if e := s.poll(); e != nil {
			return e, false, nil
		}
	}
	if len(s.queue) == 0 {
		return nil, s.slept, nil
	}
	e, s.queue = s.queue[0], s.queue[1:]
	return e, false, nil
}

// poll polls, and returns what the source said instead of a batch, if it did. The caller has the turn.
func (s *childSource) poll() *pluginpb.Emission {
	select {
	case <-s.leaving:
		return nil
	case <-s.closing:
		return nil
	default:
	}
	end := &pluginpb.Emission{Status: &pluginpb.Status{Code: int32(abi.EOF)}}
	if s.ended {
		return end
	}
	s.queue, s.queued = nil, 0
	code := abi.OK
	if time.Since(s.idled) >= idleEvery {
		s.idled = time.Now()
		code = s.guest.Idle()
	}
	if code >= 0 || code == abi.EINTR {
		code = s.guest.Poll(s.maxEvents, s.maxBytes, pollTimeout)
	}
	s.ended = code == abi.EOF
	switch {
	case len(s.queue) > 0 || code >= 0 || code == abi.EINTR:
		return nil
	case s.ended:
		return end
	}
	return &pluginpb.Emission{Status: s.status(code)}
}

// childSink serves a sink.
type childSink struct {
	pluginpb.UnimplementedSinkServer
	*child
	idled time.Time
}

// Open implements [pluginpb.SinkServer].
func (s *childSink) Open(ctx context.Context, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	return s.open(ctx, abi.Sink, r)
}

// Close implements [pluginpb.SinkServer].
func (s *childSink) Close(ctx context.Context, _ *pluginpb.CloseRequest) (*pluginpb.CloseResponse, error) {
	return s.close(ctx)
}

// Prune implements [pluginpb.SinkServer].
func (s *childSink) Prune(ctx context.Context, r *pluginpb.PruneRequest) (*pluginpb.PruneResponse, error) {
	if err := s.enter(ctx, inNothing); err != nil {
		return nil, err
	}
	defer s.leave()
	return &pluginpb.PruneResponse{Status: s.status(s.guest.Prune(event.Offset(r.Low)))}, nil
}

// Write implements [pluginpb.SinkServer]. What asks for the running call back is read while that runs.
func (s *childSink) Write(stream grpc.BidiStreamingServer[pluginpb.WriteRequest, pluginpb.WriteReply]) error {
	if err := stream.Send(&pluginpb.WriteReply{Credit: 1}); err != nil {
		return err
	}
	requests, failed := make(chan *pluginpb.WriteRequest), make(chan error, 1)
	go func() { failed <- s.receive(stream, requests) }()
	for {
		select {
		case r := <-requests:
			if err := s.deliver(stream, r); err != nil {
				return err
			}
		case err := <-failed:
			return err
		}
	}
}

// receive reads requests until the stream ends.
func (s *childSink) receive(stream grpc.BidiStreamingServer[pluginpb.WriteRequest, pluginpb.WriteReply], to chan<- *pluginpb.WriteRequest) error {
	var two [2]pluginpb.WriteRequest // in turn: one may come in while the other is delivered
	for i := 0; ; {
		r := &two[i]
		err := stream.RecvMsg(r)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case r.Interrupt:
			s.interrupt()
			continue
		}
		s.interrupted.Store(false)
		select {
		case to <- r:
			i = 1 - i
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *childSink) deliver(stream grpc.BidiStreamingServer[pluginpb.WriteRequest, pluginpb.WriteReply], r *pluginpb.WriteRequest) error {
	if err := s.enter(stream.Context(), inWrite); err != nil {
		return err
	}
	defer s.leave()
	code := abi.OK
	if time.Since(s.idled) >= idleEvery {
		s.idled = time.Now()
		code = s.guest.Idle()
	}
	if s.rejected = nil; code >= 0 || code == abi.EINTR {
		s.guest.hand(r.Batch)
		code = s.guest.Deliver(event.Range{First: event.Offset(r.First), Next: event.Offset(r.Next)}, len(r.Batch))
	}
	return stream.Send(&pluginpb.WriteReply{Credit: 1, Done: true, Status: s.status(code), Rejected: s.rejected})
}

// childProcessor serves a processor.
type childProcessor struct {
	pluginpb.UnimplementedProcessorServer
	*child
}

// Open implements [pluginpb.ProcessorServer].
func (p *childProcessor) Open(ctx context.Context, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	return p.open(ctx, abi.Processor, r)
}

// Close implements [pluginpb.ProcessorServer].
func (p *childProcessor) Close(ctx context.Context, _ *pluginpb.CloseRequest) (*pluginpb.CloseResponse, error) {
	return p.close(ctx)
}

// Process implements [pluginpb.ProcessorServer].
func (p *childProcessor) Process(stream grpc.BidiStreamingServer[pluginpb.ProcessRequest, pluginpb.ProcessReply]) error {
	if err := stream.Send(&pluginpb.ProcessReply{Credit: 1}); err != nil {
		return err
	}
	r := new(pluginpb.ProcessRequest)
	for {
		err := stream.RecvMsg(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = p.process(stream, r)
		}
		if err != nil {
			return err
		}
	}
}

func (p *childProcessor) process(stream grpc.BidiStreamingServer[pluginpb.ProcessRequest, pluginpb.ProcessReply], r *pluginpb.ProcessRequest) error {
	if err := p.enter(stream.Context(), inProcess); err != nil {
		return err
	}
	defer p.leave()
	p.queue, p.queued, p.rejected = nil, 0, nil
	p.guest.hand(r.Batch)
	out := &pluginpb.ProcessReply{Credit: 1, Done: true}
	out.Status = p.status(p.guest.Process(len(r.Batch)))
	if out.Rejected = p.rejected; out.Status == nil && len(p.queue) == 1 {
		out.Batch, p.spare = p.queue[0].Batch, p.queue[0].Batch
	}
	return stream.Send(out)
}
