// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestAFinishedStreamIsForgottenThoughTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	r.finish = func(n int) error { // it is forgotten, and nobody hears of it
		if n < 3 {
			return errCut
		}
		return nil
	}
	cfg := plain(r)
	cfg.Stream = "job"
	c := open(t, cfg)
	if err := c.Send(within(t), lines(0, 10)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Queue(within(t), lines(10, 5)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Finish(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, r.got(), 15)
	if r.ends != 3 || len(r.have) != 0 {
		t.Errorf("%d times it was told, and has %v", r.ends, r.have)
	}
	if _, err := c.Queue(within(t), lines(15, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("what is queued afterwards: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = open(t, cfg) // the application was killed before it heard of it
	if have := c.Have(); have != (Position{}) {
		t.Fatal(have)
	}
	if err := c.Finish(within(t)); err != nil {
		t.Fatal(err)
	}
}

func TestWhoCannotFinishSaysSo(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	c := open(t, plain(r)) // without a stream
	if err := c.Send(within(t), lines(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(within(t)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a stream: %v", err)
	}
	r.old = true
	cfg := plain(r)
	cfg.Stream = "job"
	c = open(t, cfg)
	if err := c.Send(within(t), lines(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(within(t)); !errors.Is(err, errors.ErrUnsupported) || r.ends != 0 {
		t.Errorf("of an older receiver: %v", err)
	}
	if err := c.Send(within(t), lines(2, 1)); err != nil { // nothing has ended
		t.Error(err)
	}
}

func TestAFinishThatNobodyAnswersEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	r.finish = func(int) error { return errCut }
	cfg := plain(r)
	cfg.Stream = "job"
	c := open(t, cfg)
	if err := c.Send(within(t), lines(0, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Finish(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Finish(context.Background()) }()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("of a client that is closed: %v", err)
	}
}
