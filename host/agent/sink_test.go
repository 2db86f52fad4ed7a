// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/pipeline"
)

// meeting is an output at which the first writers wait for each other.
type meeting struct {
	mu      sync.Mutex
	missing int
	all     chan struct{} // closed when none is missing
	written bytes.Buffer
}

func (m *meeting) Write(b []byte) (int, error) {
	m.mu.Lock()
	m.written.Write(b)
	if m.missing--; m.missing == 0 {
		close(m.all)
	}
	m.mu.Unlock()
	<-m.all
	return len(b), nil
}

func TestConnectionsDeliverAtTheSameTimeAndEachEventOnce(t *testing.T) {
	const connections, count = 4, 1000
	out := &meeting{missing: connections, all: make(chan struct{})}
	r := run(t, t.TempDir(), `
source "generate" "g" {
  into = channel.main
  config { count = 1000 }
}
channel "wal" "main" {}
sink "stdout" "screen" {
  from        = channel.main
  order       = "none"
  connections = 4
  batch {
    events = 10
    wait   = "0s"
  }
}
`, func(o *Options) { o.Stdout = out })
	eventually(t, "all is delivered and committed", func() bool {
		s := r.component("sink.screen")
		return s.Events == count && s.Waiting == 0
	})
	s := r.component("sink.screen")
	if len(s.Parts) != connections || s.Parts[3].Name != "connection 3" {
		t.Errorf("the status is %+v", s)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.written.String()), "\n")
	slices.Sort(lines)
	if n := len(lines); n != count || len(slices.Compact(lines)) != count {
		t.Errorf("%d lines, %d of them different, of %d", n, len(slices.Compact(lines)), count)
	}
}

func TestASinkIsAsWellOffAsTheWorstOfItsParts(t *testing.T) {
	c := &component{sink: admin.NewMetrics(prometheus.NewRegistry(), admin.Build{}).Sink("sink.a", "channel.main"), log: slog.Default()}
	for _, name := range []string{"connection 0", "connection 1"} {
		c.parts = append(c.parts, &part{component: c, name: name, state: pipeline.Starting})
	}
	for _, step := range []struct {
		part   int
		state  pipeline.State
		reason string
		want   string
	}{
		{0, pipeline.Running, "", "starting "},
		{1, pipeline.Running, "", "running "},
		{1, pipeline.Retrying, "refused", "retrying connection 1: refused"},
		{0, pipeline.Held, "broken", "held connection 0: broken"},
		{1, pipeline.Running, "", "held connection 0: broken"},
		{0, pipeline.Stopped, "", "running "},
		{1, pipeline.Stopped, "", "stopped "},
	} {
		c.parts[step.part].State(step.state, step.reason)
		state, reason, _ := c.fate()
		if got := string(state) + " " + reason; got != step.want {
			t.Errorf("after part %d is %s: %q, want %q", step.part, step.state, got, step.want)
		}
	}
	if why, at := c.failure(); why != "connection 1: refused" || at.IsZero() {
		t.Errorf("it waited to try again for %q, at %v", why, at)
	}
}

// slowly is an output that takes its time, and looks whether the lines of one file are in order.
type slowly struct {
	mu    sync.Mutex
	lines map[string][]string // by file
}

func (s *slowly) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		file, n, _ := strings.Cut(strings.TrimSpace(line), " ")
		s.lines[file] = append(s.lines[file], n)
	}
	return len(b), nil
}

func TestLanesDeliverEachFileInItsOrder(t *testing.T) {
	const files, each = 6, 300
	dir, out := t.TempDir(), &slowly{lines: map[string][]string{}}
	for f := range files {
		var text strings.Builder
		for n := range each {
			fmt.Fprintf(&text, "file%d %04d\n", f, n)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.log", f)), []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, dir, `
source "file" "in" {
  into = channel.main
  config { paths = ["DIR/*.log"] }
}
channel "wal" "main" {}
sink "stdout" "screen" {
  from     = channel.main
  order_by = event.attributes["file.path"]
  lanes    = 3
  batch {
    events = 20
    wait   = "0s"
  }
}
`, func(o *Options) { o.Stdout = out })
	eventually(t, "all is delivered", func() bool { return r.component("sink.screen").Events == files*each })
	eventually(t, "nothing waits", func() bool { return r.component("sink.screen").Waiting == 0 })
	if s := r.component("sink.screen"); len(s.Parts) != 3 || s.Parts[2].Name != "lane file.path/2-of-3" {
		t.Errorf("the status is %+v", s)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for file, got := range out.lines {
		if len(got) != each || !slices.IsSorted(got) {
			t.Errorf("%s: %d lines, in order: %v", file, len(got), slices.IsSorted(got))
		}
	}
}

// unclosable is a reader of which the position cannot be written down.
type unclosable struct{ channel.Reader }

func (u unclosable) Close() error {
	return errors.Join(u.Reader.Close(), errors.New("the disk is broken"))
}

func TestASinkWhoseOldLanesCannotBeEndedIsHeldAndSaysSo(t *testing.T) {
	text := `
source "generate" "in" {
  into = channel.main
  config { count = 100 }
}
channel "wal" "main" {}
sink "discard" "out" {
  from = channel.main
}
`
	r := run(t, t.TempDir(), text)
	eventually(t, "all is delivered", func() bool { return r.component("sink.out").Events == 100 })
	pause := admin.Pause{Component: "sink.out"}
	if _, err := r.Pause(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	lanes := "sink \"discard\" \"out\" {\n  order_by = event.attributes.x\n  lanes = 2"
	if err := r.reload(t, strings.Replace(text, `sink "discard" "out" {`, lanes, 1)); err != nil {
		t.Fatal(err)
	}
	c := r.find(t, "sink.out")
	if err := c.apart(t.Context(), func() error {
		old := c.layout.readers["sink.out"]
		old.Reader = unclosable{old.Reader}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	pause.Resume = true
	if _, err := r.Pause(t.Context(), pause); err != nil {
		t.Fatal(err)
	}
	eventually(t, "held", func() bool {
		s := r.component("sink.out")
		return s.State == admin.Held && strings.Contains(s.Reason, "the disk is broken")
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), "end the old lanes: the disk is broken") {
		t.Error("the log says nothing")
	}
}
