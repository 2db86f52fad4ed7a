// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
)

// blocked is a pipeline whose destination never answers.
const blocked = `
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
channel "memory" "main" {
  max_events = 50
  on_full    = "refuse"
}
sink "faulty" "down" {
  from = channel.main
  config { until = "DIR/until" }
}
`

func TestAChannelIsOpenedAsThePipelineSays(t *testing.T) {
	r := run(t, t.TempDir(), blocked)
	c := r.channels()[0]
	eventually(t, "full", func() bool { return c.Stats().Events >= 50 })
	if _, err := c.Begin(t.Context()); !errors.Is(err, channel.ErrFull) {
		t.Errorf("a full channel that refuses answered %v", err)
	}
	if c.pool.Used() == 0 {
		t.Error("what it holds is not in its pool")
	}
	if p, err := c.Cursor(t.Context(), "source.g"); err != nil || p.Version != 1 {
		t.Errorf("the cursor is kept in form %d, %v", p.Version, err)
	}
	sink := r.running()[0]
	sink.Limits.MemoryBytes = 123
	if got := r.current().request(sink).Limits.MemoryBytes; got != 123 {
		t.Errorf("the limit of memory is %d", got)
	}
}

func TestADurableChannelIsOpenedAsThePipelineSays(t *testing.T) {
	r := run(t, t.TempDir(), strings.Replace(blocked, `"memory" "main" {`, `"wal" "main" {
  durability = "os"
  min_free   = "1024TiB"`, 1))
	eventually(t, "it is short of disk, and not ready", func() bool {
		return strings.Contains(strings.Join(r.Ready(), " "), "channel.main is short of disk")
	})
	if s := r.Status().Channels[0]; s.ShortOfDisk == "" || s.Put != 0 {
		t.Errorf("the status is %+v", s)
	}
	c := config.Channel{Durability: "interval", FlushEvery: time.Second}
	if o, err := durableOptions(c, nil); err != nil || o.level != wal.Interval || o.every != time.Second || o.minFree != wal.DefaultMinFree {
		t.Errorf("the options are %+v, %v", o, err)
	}
	c.Key = "disk"
	if _, err := durableOptions(c, nil); err == nil {
		t.Error("without its key a channel would be plain")
	}
}

func TestAnAgentThatCannotBeAskedEnds(t *testing.T) {
	r := run(t, t.TempDir(), blocked)
	eventually(t, "it runs", func() bool { return len(r.Ready()) == 0 })
	if err := r.server.Close(); err != nil { // as if somebody had taken its socket away
		t.Fatal(err)
	}
	eventually(t, "ended by itself", func() bool {
		reasons := r.Ready()
		return len(reasons) == 1 && strings.Contains(reasons[0], "does not run")
	})
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "serve on") {
		t.Errorf("it answered %v", err)
	}
}

// stopped is a channel whose disk has failed.
type stopped struct{ channel.Operator }

func (stopped) Stats() channel.Stats { return channel.Stats{Stopped: errors.New("input/output error")} }

func TestAnAgentWithAChannelThatStoppedIsToBeStartedAgain(t *testing.T) {
	a := &Agent{rev: &revision{channels: []*openChannel{{Operator: stopped{}, address: "channel.main"}}}}
	if err := a.Live(); err == nil || !strings.Contains(err.Error(), "channel.main has stopped: input/output error") {
		t.Errorf("live: %v", err)
	}
}

func TestADeliveryThatHangsIsEndedWithItsInstanceAndTriedAgain(t *testing.T) {
	hangs := strings.Replace(blocked, `config { until = "DIR/until" }`, `timeout = "50ms"
  config {
    until = "DIR/until"
    hangs = true
  }`, 1)
	r := run(t, t.TempDir(), hangs)
	sink := r.running()[0]
	eventually(t, "twice", func() bool { return r.component("sink.down").Retries >= 2 })
	if s := r.component("sink.down"); s.Events != 0 || sink.layout.sorted()[0].Info().Leased > 50 {
		t.Errorf("it is %+v", s)
	}
	if err := os.WriteFile(filepath.Join(r.dir, "until"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all is delivered", func() bool { return r.component("sink.down").Events == 100 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), "was not over after 50ms") {
		t.Errorf("the log says:\n%s", r.log)
	}
}
