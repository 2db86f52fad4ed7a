// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// sameSignal is within what time a second signal is the first one again: timeout(1), and others that start a
// program, send theirs to it and to its process group.
const sameSignal = 200 * time.Millisecond

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, which is its cause, so that what runs can
// drain. A second one leaves at once, with 130 or 143: what was acknowledged is on disk already. stop must be
// called; from then on signals do again what they did before.
func (a *app) untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := make(chan os.Signal, 2) // never closed: package signal writes to it until Stop
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{}) // closed by stop, and by the goroutine
	go func() {
		defer close(ended)
		a.obey(signals, done, cancel)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel(nil)
	}
}

// obey cancels at the first signal and leaves at the second, until done.
func (a *app) obey(signals <-chan os.Signal, done <-chan struct{}, cancel context.CancelCauseFunc) {
	var first time.Time
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			switch {
			case first.IsZero():
				first = time.Now()
				cancel(fmt.Errorf("signal: %v", s))
			case time.Since(first) > sameSignal:
				a.leave(exitCodeOf(s))
			}
		}
	}
}

func exitCodeOf(s os.Signal) int {
	const forced = 128
	if n, ok := s.(syscall.Signal); ok {
		return forced + int(n)
	}
	return exitFailed
}
