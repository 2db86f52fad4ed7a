// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

func TestDropsAreSaidAtOnceAndThenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &dropLog{log: slog.New(slog.NewTextHandler(&out, nil))}
		drop := func(first event.Offset, reader string) {
			l.dropped(channel.Drop{Loss: channel.LostSkip, Reader: reader, Range: event.Range{First: first, Next: first + 10}, Events: 5})
		}
		drop(0, "sink.a")
		drop(10, "sink.a")
		drop(20, "sink.a")
		drop(0, "sink.b")
		if lines := strings.Count(out.String(), "\n"); lines != 2 {
			t.Fatalf("%d lines were said at once:\n%s", lines, out.String())
		}
		time.Sleep(dropPause)
		drop(40, "sink.a")
		if !strings.Contains(out.String(), "reason=skip reader=sink.a first=10 next=50 events=15 drops=3") {
			t.Errorf("what had gathered was not said:\n%s", out.String())
		}
		drop(50, "sink.a")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(out.String(), "reason=skip reader=sink.a first=50 next=60 events=5 drops=1\n") {
			t.Errorf("what was left was not said:\n%s", out.String())
		}
	})
}
