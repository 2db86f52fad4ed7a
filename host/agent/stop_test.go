// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/pipeline"
)

// pipe is a pipe that nobody reads, until it is opened.
type pipe struct {
	once    sync.Once
	written chan struct{} // closed at the first write
	open    chan struct{} // closed by whoever opens it
}

func (p *pipe) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.written) })
	<-p.open
	return len(b), nil
}

func TestAPluginThatIsCaughtInACallDoesNotKeepTheAgentBeyondItsDrainTimeout(t *testing.T) {
	out := &pipe{written: make(chan struct{}), open: make(chan struct{})}
	r := run(t, t.TempDir(), `
source "generate" "g" {
  into = channel.main
  config { count = 100 }
}
channel "memory" "main" {}
sink "stdout" "screen" {
  from = channel.main
}
`, func(o *Options) {
		o.Stdout = out
		o.Config.Agent.DrainTimeout = time.Second
	})
	<-out.written
	r.running()[0].State(pipeline.Held, "it does not come back") // as after its timeout
	err := r.stop()
	if !errors.Is(err, ErrNotDrained) || !strings.Contains(err.Error(), "sink.screen is still in a call") || strings.Contains(err.Error(), "source.g") {
		t.Errorf("error %v", err)
	}
	close(out.open) // else the test could not end
	eventually(t, "stopped after all", func() bool { return len(r.busy()) == 0 })
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheLastLineOfTheLogSaysHowMuchWaits(t *testing.T) {
	r := run(t, t.TempDir(), `
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    dir "until" {
      path = "DIR"
    }
  }
}
source "generate" "g" {
  into = channel.main
  config { count = 100 }
}
channel "wal" "main" {}
sink "faulty" "down" {
  from = channel.main
  config { until = "DIR/until" }
}
`)
	eventually(t, "all is in the channel", func() bool { return r.Status().Channels[0].Events == 100 && r.component("sink.down").Retries > 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), "msg=stopped waiting=100 ") {
		t.Errorf("the log says:\n%s", r.log)
	}
}

func TestWhatASourceReadAndDidNotCommitIsInFlightNoMoreWhenItIsOpenedAgain(t *testing.T) {
	metrics := admin.NewMetrics(prometheus.NewRegistry(), admin.Build{})
	c := &component{channel: &openChannel{}, source: metrics.Source("source.a")}
	o := sourceObserver{c}
	o.Read(10, 1000)
	o.Acked(4)
	if got := c.status(); got.Waiting != 6 || got.Retries != 0 {
		t.Errorf("%d in flight after %d tries, want 6 after none", got.Waiting, got.Retries)
	}
	o.State(pipeline.Retrying, "the disk is full")
	o.State(pipeline.Starting, "")
	if got := c.status(); got.Waiting != 0 || got.Retries != 1 {
		t.Errorf("%d in flight after %d tries, want none after one", got.Waiting, got.Retries)
	}
}
