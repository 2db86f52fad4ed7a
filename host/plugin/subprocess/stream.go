// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
)

// stream is the one stream of an instance: questions go out, answers come in, in order. One goroutine uses it.
type stream[Question, Answer any] struct {
	*instance
	grpc.BidiStreamingClient[Question, Answer]
	arrived chan *Answer // closed when there will be no more
	ended   error        // why; valid then
	doing   string       // for errors
}

func newStream[Q, A any](in *instance, doing string, open func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Q, A], error)) (*stream[Q, A], error) {
	s, err := open(in.ctx)
	if err != nil {
		return nil, in.lost(doing, err)
	}
	x := &stream[Q, A]{instance: in, BidiStreamingClient: s, arrived: make(chan *A), doing: doing}
	in.watching.Go(x.receive)
	return x, nil
}

// receive waits for answers, so that whoever wants one can also wait for something else.
func (x *stream[Q, A]) receive() {
	defer close(x.arrived)
	var two [2]A // in turn: what is handed over is looked at while the next may come in
	for i := 0; ; i = 1 - i {
		a := &two[i]
		if err := x.RecvMsg(a); err != nil {
			x.ended = err
			return
		}
		select {
		case x.arrived <- a:
		case <-x.ctx.Done():
			x.ended = x.ctx.Err()
			return
		}
	}
}

// ask sends a question. Errors are *plugin.Error.
func (x *stream[Q, A]) ask(q *Q) error {
	if x.dead.Load() != nil {
		return x.died(x.doing)
	}
	switch err := x.Send(q); {
	case errors.Is(err, io.EOF): // the answer says why
		return nil
	case err != nil:
		return x.gone(err)
	}
	return nil
}

// next waits for an answer, which stays as it is until the next but one is waited for. Errors are *plugin.Error after which the instance is dead, or ctx's.
func (x *stream[Q, A]) next(ctx context.Context) (*A, error) {
	select {
	case a, ok := <-x.arrived:
		if !ok {
			return nil, x.gone(x.ended)
		}
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gone says why the stream ended.
func (x *stream[Q, A]) gone(err error) error {
	if errors.Is(err, io.EOF) {
		err = errEnded
	}
	return x.lost(x.doing, err)
}

var errEnded = errors.New("it ended its stream")
