// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const (
	stopDrain = 2 * time.Second // the drain_timeout of the agents below
	// stopGrace is what an agent may take beyond it: to close its channels, on a machine that has other things to do.
	stopGrace = 8 * time.Second
)

// TestStoppedUnderLoadItEndsWithinItsDrainTimeout stops an agent while its source reads as fast as it can, and one of its destinations never answers.
// What was in flight there is rolled back, what was taken elsewhere is committed; it says 0; and the next agent delivers what is left, each
// line once.
func TestStoppedUnderLoadItEndsWithinItsDrainTimeout(t *testing.T) {
	r := newRig(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections are taken by the kernel, and nobody reads or answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	text, err := os.ReadFile(r.cfg)
	if err != nil {
		t.Fatal(err)
	}
	sound := string(text)
	stuck := strings.Replace(sound, `agent "crash" {`, `agent "crash" {`+"\n  drain_timeout = \""+stopDrain.String()+`"`, 1) + `
sink "http" "silent" {
  from   = channel.main
  on_lag = "skip"
  config { url = "http://` + silent.Addr().String() + `/" }
}
`
	if err := os.WriteFile(r.cfg, []byte(stuck), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("logs", "idle.log"), []byte("idle: the first line\nidle: the second line, long after\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	log := newLogger(t, r.path("logs", "app.log"), r.path("expected"), rand.New(rand.NewPCG(*seed, 2)))
	written, stop := make(chan error, 1), make(chan struct{})
	go func() { written <- log.run(*lines, max(1000, *lines / *kills), r.appSize, stop) }()
	waits := false
	for range max(2, *terms) {
		cmd := r.start()
		took := r.terminate(cmd, 300*time.Millisecond+time.Duration(r.rng.IntN(700))*time.Millisecond)
		if took > stopDrain+stopGrace {
			t.Errorf("told to end, it took %v, with a drain_timeout of %v\n%s", took, stopDrain, &r.said)
		}
		waits = waits || took > stopDrain/2
		t.Logf("it ended after %v", took.Round(time.Millisecond))
	}
	if !waits {
		t.Error("no agent waited for the delivery that was never answered, so that this shows nothing")
	}
	if err := r.waitFor(written); err != nil {
		close(stop)
		t.Fatal(err)
	}
	r.finish(log)
}
