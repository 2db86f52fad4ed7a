// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
)

// printed is a command that an agent says is the way out, and what is said when it is run.
func (r *rig) printed(said, pattern string) (string, error) {
	r.t.Helper()
	command := regexp.MustCompile(`penstock (` + pattern + `)`).FindStringSubmatch(said)
	if command == nil {
		r.t.Fatalf("no command is printed that is like %q:\n%s", pattern, said)
	}
	out, err := exec.Command(binary, append(strings.Fields(command[1]), "--data-dir", r.path("data"), "--yes")...).CombinedOutput()
	return string(out), err
}

// restore puts the channels of an agent back to what they were when they were copied.
func (r *rig) restore() {
	r.t.Helper()
	if err := errors.Join(os.RemoveAll(r.path("data", "channels")), os.Rename(r.path("backup"), r.path("data", "channels"))); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) backup() {
	r.t.Helper()
	if err := os.CopyFS(r.path("backup"), os.DirFS(r.path("data", "channels"))); err != nil {
		r.t.Fatal(err)
	}
}

// TestOneOfThreeDownstreamsDivergesAndTheOthersGoOn: a sender is restored from a backup. Since that was made it has sent events to one of three, which alone has diverged: it is
// held, both sides say so, and the others take all that comes; the command that is printed has it take part again. The second time it was given something before
// the backup of which the sender does not know what became.
func TestOneOfThreeDownstreamsDivergesAndTheOthersGoOn(t *testing.T) {
	for name, doubt := range map[string]bool{"all settled": false, "something in doubt": true} {
		t.Run(name, func(t *testing.T) { divergence(t, doubt) })
	}
}

func divergence(t *testing.T, doubt bool) {
	const day = 2000
	near, fars := newTriple(t, "exactly_once")
	n := &turns{near: near, fars: fars, from: near.start()}
	defer func() {
		end(n.from)
		for _, up := range n.up {
			end(up)
		}
	}()
	for _, far := range fars {
		n.up = append(n.up, far.start())
	}
	n.write(day)
	n.waits("nothing waits", -1)
	if doubt {
		n.kill(0, true)
		n.waits("what the first was given waits for it", 0)
	}
	n.diverge(day)
	var reason string
	n.waits("the others take all", 0)
	near.until("the first is held", func(s admin.Status) bool {
		reason = component(s, "sink.a").Reason
		return component(s, "sink.a").State == "held" && strings.Contains(reason, "diverged")
	})
	if !strings.Contains(fars[0].said.String(), "diverged") {
		t.Errorf("the receiver says nothing:\n%s", &fars[0].said)
	}
	near.wayOut(reason, doubt)
	most := n.lines + 20*day
	near.until("the first takes part again", func(s admin.Status) bool {
		if n.lines < most {
			n.write(100)
		}
		return component(s, "sink.a").Events > 0
	})
	n.waits("nothing waits", -1)
	near.terminate(n.from, 0)
	times := timesOf(near, fars, n.up)
	for i := range n.lines {
		if got := times[fmt.Sprintf("line %d\n", i)]; got != 1 {
			t.Fatalf("line %d of %d is there %d times", i, n.lines, got)
		}
	}
	if len(times) != n.lines {
		t.Errorf("%d different lines came, of %d that were written", len(times), n.lines)
	}
}

// diverge restores the sender from a backup, since which it has sent a day's lines to the first alone. They are not there to be read again.
func (n *turns) diverge(day int) {
	n.near.t.Helper()
	n.near.terminate(n.from, 0)
	n.near.backup()
	for i, far := range n.fars {
		if n.up[i].ProcessState == nil { // it runs
			far.terminate(n.up[i], 0)
		}
		if i == 0 {
			n.up[i] = far.start()
		}
	}
	n.from, n.read = n.near.start(), uint64(n.lines)
	n.write(day)
	n.waits("the first has taken all", -1)
	n.near.terminate(n.from, 0)
	n.near.restore()
	if err := os.Remove(n.near.path("logs", "app.log")); err != nil {
		n.near.t.Fatal(err)
	}
	for i, far := range n.fars[1:] {
		n.up[1+i] = far.start()
	}
	n.read = uint64(n.lines)
	n.write(day)
	n.from = n.near.start()
}

// wayOut does what is printed with a reason. What is in doubt has to be resolved before.
func (r *rig) wayOut(reason string, doubt bool) {
	r.t.Helper()
	const replay = `channel replay \S+ \S+ --from here`
	said, err := r.printed(reason, replay)
	if doubt {
		if err == nil {
			r.t.Errorf("what is in doubt is sent again: %s", said)
		}
		said, err = r.printed(said, `sink resolve \S+`)
		if err == nil { // the first has all that it was given before
			said, err = r.printed("penstock sink resolve all.a --delivered", `.*`)
		}
		if err == nil {
			said, err = r.printed(reason, replay)
		}
	}
	if err != nil {
		r.t.Errorf("%v: %s", err, said)
	}
}
