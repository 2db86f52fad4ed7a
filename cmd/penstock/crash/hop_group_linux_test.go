// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
)

// newTriple is an agent that tails a log into a group of three hops, and the three that they lead to.
func newTriple(t *testing.T, delivery string) (near *rig, fars []*rig) {
	t.Helper()
	near = newRig(t)
	certify(t, near, "near")
	certify(t, near, "far")
	group := `
sink_group "all" {
  from        = channel.main
  members     = [sink.a, sink.b, sink.c]
  policy      = "load_balance"
  delivery    = "` + delivery + `"
  load_balance {
    cool_down     = "50ms"
    max_cool_down = "200ms"
  }
}
`
	text, _, _ := strings.Cut(nearText, "sink \"hop\"")
	_, tls, _ := strings.Cut(nearText, "tls \"near\"")
	for _, name := range []string{"a", "b", "c"} {
		port := strconv.Itoa(addresstest.FreePort(t))
		far := &rig{t: t, dir: near.path("far-" + name), cfg: near.path(name + ".hcl"), rng: near.rng, byAim: map[string]int{}}
		place := strings.NewReplacer("DIR/far/", far.dir+"/", "DIR/out/out.log", near.path("out", name+".log"), "DIR", near.dir, "PORT", port)
		if err := os.WriteFile(far.cfg, []byte(place.Replace(farText)), 0o644); err != nil {
			t.Fatal(err)
		}
		group += fmt.Sprintf("sink \"hop\" %q {\n  tls = tls.near\n  batch {\n    events = 100\n  }\n  config { address = \"tls://127.0.0.1:%s\" }\n}\n", name, port)
		fars = append(fars, far)
	}
	if err := os.WriteFile(near.cfg, []byte(strings.ReplaceAll(text+group+"tls \"near\""+tls, "DIR", near.dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	return near, fars
}

// TestThreeDownstreamsAreKilledInTurnAndNothingIsLost: hops to three agents share a channel. One after the other is killed, and comes back when the next one was. The
// others take over at once; what was on its way may be there twice, as at_least_once says, and nothing is missing.
func TestThreeDownstreamsAreKilledInTurnAndNothingIsLost(t *testing.T) {
	const each, window = 3000, 16 * 4096 // lines, and what may be on its way to one that is killed
	near, fars := newTriple(t, "at_least_once")
	up := []*exec.Cmd{fars[0].start(), fars[1].start(), fars[2].start()}
	from := near.start()
	lines := 0
	waits := func(s admin.Status) bool {
		i := slices.IndexFunc(s.Channels, func(c admin.Channel) bool { return c.Address == "channel.main" })
		return component(s, "source.app").Events == uint64(lines) && i >= 0 && s.Channels[i].Events == 0
	}
	write := func(n int) {
		near.write(lines, lines+n)
		lines += n
	}
	write(each)
	near.until("all members have taken some", func(s admin.Status) bool {
		ok := true
		for _, name := range []string{"a", "b", "c"} {
			ok = ok && component(s, "sink."+name).Events > 0
		}
		if !ok {
			write(300)
		}
		return ok
	})
	for i, far := range fars {
		write(each)
		time.Sleep(time.Duration(near.rng.IntN(50)) * time.Millisecond)
		end(up[i])
		write(each)
		near.until("the others have taken all", waits)
		up[i] = far.start()
	}
	near.until("nothing waits", waits)
	near.terminate(from, 0)
	times, twice := timesOf(near, fars, up), 0
	for i := range lines {
		n := times[fmt.Sprintf("line %d\n", i)]
		if n == 0 {
			t.Fatalf("line %d of %d is lost", i, lines)
		}
		twice += n - 1
	}
	t.Logf("%d of %d lines are there more than once", twice, lines)
	if len(times) != lines || twice > 3*window {
		t.Errorf("%d different lines came, of %d that were written, and %d again", len(times), lines, twice)
	}
}

// timesOf ends the three when they have delivered all, and returns how often each line came.
func timesOf(near *rig, fars []*rig, up []*exec.Cmd) map[string]int {
	near.t.Helper()
	times := map[string]int{}
	for i, far := range fars {
		far.until("all is delivered", func(s admin.Status) bool { return component(s, "sink.out").Waiting == 0 })
		far.terminate(up[i], 0)
		got, err := os.ReadFile(near.path("out", []string{"a", "b", "c"}[i]+".log"))
		if err != nil {
			near.t.Fatal(err)
		}
		for line := range strings.Lines(string(got)) {
			times[line]++
		}
	}
	return times
}

// turns is how three downstreams fare of which one is killed at a time.
type turns struct {
	near  *rig
	fars  []*rig
	from  *exec.Cmd
	up    []*exec.Cmd
	lines int    // written
	read  uint64 // of them, by lives of the sender that are over
	doubt uint64 // events that wait for one of them
}

func (n *turns) write(lines int) {
	n.near.write(n.lines, n.lines+lines)
	n.lines += lines
}

// waits waits until all was read, and nothing waits but what is in doubt at one of them.
func (n *turns) waits(what string, at int) {
	n.near.t.Helper()
	n.near.until(what, func(s admin.Status) bool {
		n.doubt = 0
		for i, m := range s.Groups[0].Members {
			switch {
			case m.Doubt == nil:
			case i != at:
				return false
			default:
				n.doubt = m.Doubt.Events
			}
		}
		return component(s, "source.app").Events+n.read == uint64(n.lines) && s.Groups[0].Waiting == n.doubt
	})
}

// kill ends one of them: at a step, when it has some of what it was sent and does not say so, or at any time.
func (n *turns) kill(i int, atStep bool) {
	n.near.t.Helper()
	if !atStep {
		n.write(5000)
		time.Sleep(time.Duration(n.near.rng.IntN(50)) * time.Millisecond)
		end(n.up[i])
		return
	}
	n.fars[i].terminate(n.up[i], 0)
	n.up[i] = n.fars[i].start("--kill-at", []string{"put", "fsync"}[n.near.rng.IntN(2)]+":"+strconv.Itoa(3+n.near.rng.IntN(6)))
	stop := keepWriting(n.write)
	err := n.up[i].Wait()
	stop()
	if err == nil {
		n.near.t.Errorf("agent %d was to be killed", i)
	}
}

// TestThreeDownstreamsAreKilledInTurnAndEachEventComesOnce: the same at exactly_once. What one that is killed was given waits for it, and nothing else does, also
// when the sender is killed meanwhile; in the end each line is there once.
func TestThreeDownstreamsAreKilledInTurnAndEachEventComesOnce(t *testing.T) {
	const rounds = 6
	near, fars := newTriple(t, "exactly_once")
	n := &turns{near: near, fars: fars, from: near.start()}
	defer func() { end(n.from) }()
	for _, far := range fars {
		n.up = append(n.up, far.start())
	}
	n.write(5000)
	n.waits("nothing waits", -1)
	doubtful := 0
	for round := range rounds {
		i := round % len(fars)
		n.kill(i, round%2 == 0)
		n.write(5000)
		n.waits("the others have taken all that is not in doubt", i)
		if round%3 == 1 {
			end(n.from)
			n.from, n.read = near.start(), uint64(n.lines)
			n.waits("the same is in doubt after a kill of the sender", i)
		}
		if n.doubt > 0 {
			doubtful++
		}
		n.up[i] = fars[i].start()
		n.waits("nothing waits", -1)
	}
	near.terminate(n.from, 0)
	times := timesOf(near, fars, n.up)
	for i := range n.lines {
		if got := times[fmt.Sprintf("line %d\n", i)]; got != 1 {
			t.Errorf("line %d of %d is there %d times", i, n.lines, got)
			break
		}
	}
	if len(times) != n.lines || doubtful == 0 {
		t.Errorf("%d different lines came, of %d that were written; something was in doubt in %d of %d rounds", len(times), n.lines, doubtful, rounds)
	}
	t.Logf("%d lines; something was in doubt in %d of %d rounds", n.lines, doubtful, rounds)
}

// keepWriting writes until it is told to stop.
func keepWriting(write func(n int)) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // until it is told to stop
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
				write(1000)
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}
