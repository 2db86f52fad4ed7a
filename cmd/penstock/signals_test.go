// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/watch"
)

func TestTheFirstSignalDrainsAndTheSecondLeaves(t *testing.T) {
	for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			a := newApp(nil, &out, &out)
			var left []int
			a.leave = func(code int) { left = append(left, code) }
			ctx, cancel := context.WithCancelCause(t.Context())
			signals, done := make(chan os.Signal), make(chan struct{})
			go a.obey(signals, done, cancel)
			signals <- signal
			<-ctx.Done()
			if got, want := context.Cause(ctx).Error(), "signal: "+signal.String(); got != want {
				t.Errorf("cause %q, want %q", got, want)
			}
			signals <- signal // as timeout(1) does: to the process, and to its group
			synctest.Wait()
			if len(left) > 0 {
				t.Errorf("left at once because of one signal that came twice")
			}
			time.Sleep(sameSignal + 1)
			signals <- signal
			synctest.Wait()
			if len(left) != 1 || left[0] != code {
				t.Errorf("a second %v leaves with %d, want %d", signal, left, code)
			}
			close(done)
		})
	}
}

func TestARealSignalEndsTheContext(t *testing.T) {
	var out bytes.Buffer
	a := newApp(nil, &out, &out)
	ctx, stop := a.untilSignal(t.Context())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
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

func TestFilesThatCannotBeWatchedAreSpokenOfAtOnce(t *testing.T) {
	var out bytes.Buffer
	_, err := watch.New(filepath.Join(t.TempDir(), "gone", "pipeline.hcl"))
	unwatched(slog.New(slog.NewTextHandler(&out, nil)), err)
	if err == nil || !strings.Contains(out.String(), "level=ERROR msg=\"the files are not watched") {
		t.Errorf("it says %q", &out)
	}
}
