// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"syscall"
	"testing"
)

func TestTheFirstSignalDrainsAndTheSecondLeaves(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		var out bytes.Buffer
		a := newApp(nil, &out, &out)
		left := make(chan int, 1)
		a.leave = func(code int) { left <- code }
		ctx, stop := a.untilSignal(t.Context())
		kill(t, signal)
		<-ctx.Done()
		kill(t, signal)
		if got := <-left; got != code {
			t.Errorf("a second %v leaves with %d, want %d", signal, got, code)
		}
		stop()
	}
}

func TestWithoutASignalNothingEnds(t *testing.T) {
	var out bytes.Buffer
	a := newApp(nil, &out, &out)
	a.leave = func(code int) { t.Errorf("left with %d", code) }
	ctx, stop := a.untilSignal(t.Context())
	if ctx.Err() != nil {
		t.Error("ended before a signal came")
	}
	stop()
	if ctx.Err() == nil {
		t.Error("goes on after stop")
	}
}

func kill(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		t.Fatal(err)
	}
}
