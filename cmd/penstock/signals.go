// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, so that what runs can drain.
// A second one leaves at once, with 130 or 143: what was acknowledged is on disk already. stop must be
// called; from then on signals do again what they did before.
func (a *app) untilSignal(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2) // never closed: package signal writes to it until Stop
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done, ended := make(chan struct{}), make(chan struct{}) // closed by stop, and by the goroutine
	go func() {
		defer close(ended)
		select {
		case <-signals:
			cancel()
		case <-done:
			return
		}
		select {
		case s := <-signals:
			a.leave(exitCodeOf(s))
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel()
	}
}

func exitCodeOf(s os.Signal) int {
	const forced = 128
	if n, ok := s.(syscall.Signal); ok {
		return forced + int(n)
	}
	return exitFailed
}
