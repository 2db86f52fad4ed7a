// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
)

var poisonAmong = flag.Int("poisonamong", 50_000, "among how many events one is poison")

// poisonText has two sinks get all lines, of which one breaks on one.
const poisonText = `
agent "crash" {
  data_dir = "DIR/data"
}

plugin "poison" {
  source = "./poison.wasm"
  grant {
    dir "path" {
      path   = "DIR/out"
      access = "write"
    }
  }
}

source "generate" "lines" {
  into = channel.main
  config {
    count = COUNT
    size  = "48B"
  }
}

channel "wal" "main" {
  capacity    = "512MiB"
  dead_letter = channel.rejected
}

channel "wal" "rejected" {}

sink "poison" "out" {
  from = channel.main
  config {
    path   = "DIR/out/out.log"
    breaks = "BREAKS"
  }
}

sink "file" "other" {
  from = channel.main
  config { path = "DIR/out/other.log" }
}
`

// poisoned makes the rig of that pipeline, which breaks in the middle.
func poisoned(t *testing.T, count int) *rig {
	r := newRig(t)
	text := strings.NewReplacer("DIR", r.dir, "COUNT", strconv.Itoa(count), "BREAKS", fmt.Sprintf("%016d", count/2)).Replace(poisonText)
	if err := os.WriteFile(r.cfg, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.pack("")
	return r
}

// pack builds the module of the sink, and puts it into the place of the one before.
func (r *rig) pack(mended string) {
	r.t.Helper()
	built := r.path("built.wasm")
	build := exec.Command("go", "build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -X main.mended="+mended, "-o", built, "./testdata/poison")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	r.run("plugin", "pack", built, "--manifest", r.manifest(), "--output", r.path("poison.new"))
	if err := errors.Join(os.Rename(r.path("poison.new"), r.path("poison.wasm")), os.Remove(built)); err != nil {
		r.t.Fatal(err)
	}
}

// manifest copies that of the module to where the command finds it.
func (r *rig) manifest() string {
	r.t.Helper()
	text, err := os.ReadFile("testdata/poison/plugin.hcl")
	if err == nil {
		err = os.WriteFile(r.path("manifest"), text, 0o600)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return r.path("manifest")
}

// sinkUntil asks the agent until it is as wanted.
func (r *rig) sinkUntil(what string, ok func(sink admin.Component, letters uint64) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		status, err := admin.Ask(r.t.Context(), r.path("data"))
		var sink admin.Component
		letters := uint64(0)
		for _, c := range status.Components {
			if c.Address == "sink.out" {
				sink = c
			}
		}
		for _, c := range status.Channels {
			for _, reader := range c.Readers {
				if reader.Name == "dead" {
					letters = reader.Waiting
				}
			}
		}
		if err == nil && ok(sink, letters) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("still not: %s: %+v, %v\n%s", what, sink, err, &r.said)
		}
	}
}

// ordered reads the numbers at the ends of the lines of an output.
func (r *rig) ordered(name string, visit func(at, number int)) (lines int) {
	r.t.Helper()
	f, err := os.Open(r.path("out", name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); lines++ {
		line := in.Text()
		number, err := strconv.Atoi(line[max(0, len(line)-16):])
		if err != nil {
			r.t.Fatalf("line %d of %s is %q", lines, name, line)
		}
		visit(lines, number)
	}
	return lines
}

// TestAPoisonEventIsFoundKeptAndReplayedAfterTheSinkIsMended has it in the middle of many. The sink goes on without it, and a reader beside sees it once.
func TestAPoisonEventIsFoundKeptAndReplayedAfterTheSinkIsMended(t *testing.T) {
	count, poison := *poisonAmong, *poisonAmong/2
	r := poisoned(t, count)
	agent := r.start()
	var broke, found time.Time
	tries := uint64(0)
	r.sinkUntil("the event is among the dead letters", func(sink admin.Component, letters uint64) bool {
		if tries = sink.Retries; tries > 0 && broke.IsZero() {
			broke = time.Now()
		}
		found = time.Now()
		return letters == 1
	})
	r.sinkUntil("the others are delivered", func(sink admin.Component, _ uint64) bool { return sink.Events == uint64(count)-1 && sink.Waiting == 0 })
	var shown struct {
		Letters []struct {
			Component, Reason, Class, Said, Plugin string
			Copies                                 int
			Event                                  struct{ Body string }
		}
	}
	if err := json.Unmarshal(result(t, r.run("dead", "show", "rejected", "--json")), &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Letters) != 1 {
		t.Fatalf("there are the letters %+v", shown.Letters)
	}
	if l := shown.Letters[0]; l.Component != "sink.out" || l.Reason != "broke" || l.Class != "fatal" || l.Plugin != "poison/poison 0.1.0" || l.Copies != 1 ||
		!strings.HasPrefix(l.Said, "the plugin broke in penstock_deliver: panic: this line is poison to me: ") || !strings.HasSuffix(l.Event.Body, fmt.Sprintf("%016d", poison)) {
		t.Errorf("the letter is %+v", l)
	}

	r.pack("yes")
	r.run("plugin", "reload", "poison")
	r.run("dead", "replay", "rejected", "--yes")
	r.sinkUntil("what is replayed is delivered", func(sink admin.Component, letters uint64) bool { return letters == 0 && sink.Waiting == 0 })
	time.Sleep(300 * time.Millisecond) // for what should not come
	r.terminate(agent, 0)

	n := r.ordered("out.log", func(at, number int) {
		want := at
		switch {
		case at == count-1:
			want = poison // the last, since it was put again
		case at >= poison:
			want++
		}
		if number != want {
			t.Fatalf("line %d of the sink that broke has the number %d, not %d", at, number, want)
		}
	})
	other := r.ordered("other.log", func(at, number int) {
		if number != at {
			t.Fatalf("line %d of the other sink has the number %d", at, number)
		}
	})
	if n != count || other != count {
		t.Errorf("of %d lines the one sink got %d, the other %d", count, n, other)
	}
	t.Logf("one of %d events was found in %v, with %d instances", count, found.Sub(broke).Round(time.Millisecond), tries)
}
