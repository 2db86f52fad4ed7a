// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
)

// harms are what can befall a file.
var harms = []struct {
	name string
	do   func(path string) error
}{
	{"deleted", os.Remove},
	{"cut", func(path string) error { return os.Truncate(path, 10) }},
	{"emptied", func(path string) error { return os.Truncate(path, 0) }},
	{"changed", func(path string) error { return change(path, 1) }},
}

// change flips a bit of a byte.
func change(path string, at int) error {
	b, err := os.ReadFile(path)
	if err == nil && len(b) > at {
		b[at] ^= 0x10
		err = os.WriteFile(path, b, 0o600)
	}
	return err
}

const (
	harmDelivered = 300 // lines that came out before
	harmAll       = 500 // with those that wait
)

// harmed is an agent that is down, with some lines delivered and some that wait, in the state that each case begins with.
type harmed struct {
	*rig
	pristine string
}

// newHarmed makes that state; it was killed, or ended in order.
func newHarmed(t *testing.T, end func(r *rig, cmd *exec.Cmd)) *harmed {
	t.Helper()
	h := &harmed{newRig(t), filepath.Join(t.TempDir(), "pristine")}
	cmd := h.start()
	defer func() { _ = cmd.Process.Kill() }()
	h.write(0, harmDelivered)
	h.delivered(harmDelivered)
	h.terminate(cmd, 0)
	// Another sink takes its place, so that the rest waits.
	text, err := os.ReadFile(h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	other := regexp.MustCompile(`(?s)sink "file" "out".*`).ReplaceAllString(string(text), "sink \"discard\" \"other\" {\n  from = channel.main\n}\n")
	if err := os.WriteFile(h.cfg, []byte(other), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd = h.start()
	h.write(harmDelivered, harmAll)
	h.until("the rest is put", func(s admin.Status) bool { return s.Channels[0].Put == harmAll-harmDelivered })
	end(h.rig, cmd)
	err = errors.Join(os.WriteFile(h.cfg, text, 0o644), os.Remove(h.path("data", "channels", "main", "reserve")))
	for _, d := range []string{"data/channels", "out"} {
		err = errors.Join(err, os.CopyFS(filepath.Join(h.pristine, d), os.DirFS(h.path(d))))
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// restore begins a case.
func (h *harmed) restore() {
	h.t.Helper()
	var err error
	for _, d := range []string{"data/channels", "out"} {
		err = errors.Join(err, os.RemoveAll(h.path(d)), os.CopyFS(h.path(d), os.DirFS(filepath.Join(h.pristine, d))))
	}
	reserve := h.path("data", "channels", "main", "reserve")
	if err = errors.Join(err, os.WriteFile(reserve, nil, 0o600), os.Truncate(reserve, 64<<20)); err != nil {
		h.t.Fatal(err)
	}
	h.said = tail{}
}

// files are those of the channel, relative to it.
func (h *harmed) files() (list []string) {
	h.t.Helper()
	dir := filepath.Join(h.pristine, "data/channels/main")
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			name, _ := filepath.Rel(dir, path)
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return append(list, "reserve")
}

// deliversAll starts an agent, and waits until nothing waits; a source that begins anew must have done so.
func (h *harmed) deliversAll(anew bool) {
	h.t.Helper()
	cmd := h.start()
	defer func() { _ = cmd.Process.Kill() }()
	h.until("nothing waits", func(s admin.Status) bool {
		for _, r := range s.Channels[0].Readers {
			if r.Name == "sink.out" {
				return r.Waiting == 0 && r.Leased == 0 && (!anew || component(s, "source.app").Events == harmAll)
			}
		}
		return false
	})
	h.terminate(cmd, 0)
}

// cameInPart checks what came out of a log that was harmed: what had come out before is there, and nothing that nobody wrote. With the log its
// cursors are gone too, so that the source has begun anew; else it is in order, once.
func (h *harmed) cameInPart(anew bool) {
	t := h.t
	t.Helper()
	out, err := os.ReadFile(h.path("out", "out.log"))
	if err != nil {
		t.Fatal(err)
	}
	last, lines := -1, map[int]bool{}
	for line := range strings.Lines(string(out)) {
		i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(line, "line "), "\n"))
		if err != nil || i <= last && !anew {
			t.Fatalf("%q comes after line %d", line, last)
		}
		last, lines[i] = i, true
	}
	if want := map[bool]int{false: harmDelivered, true: harmAll}[anew]; len(lines) < want {
		t.Errorf("%d lines came out, %d or more should have", len(lines), want)
	}
}

// mend is the command that a refusal names.
var mend = regexp.MustCompile(`penstock (channel repair [^\s"\\` + "`" + `]+)`)

// refuses starts an agent, which must not start, name the file, and name a command; that is run.
func (h *harmed) refuses(file string) {
	t := h.t
	t.Helper()
	cmd := h.start()
	timer := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	timer.Stop()
	said := h.said.String()
	m := mend.FindStringSubmatch(said)
	if err == nil || !strings.Contains(said, file) || m == nil {
		t.Fatalf("it ended with %v, and should have named %s and a command:\n%s", err, file, said)
	}
	if out, err := exec.Command(binary, append(strings.Fields(m[1]), "--yes")...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", m[0], err, out)
	}
}

// Each file of a channel beside its log is deleted, cut, emptied and changed, one at a time, and an agent started on it: all that was committed
// comes out, once. When it is the log itself, the agent refuses, says which command mends it, and that does.
func TestAnyFileOfAChannelMayBeHarmed(t *testing.T) {
	cases := 0
	for how, end := range map[string]func(*rig, *exec.Cmd){
		"killed":         func(_ *rig, cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGKILL); _ = cmd.Wait() },
		"ended in order": func(r *rig, cmd *exec.Cmd) { r.terminate(cmd, 0) },
	} {
		h := newHarmed(t, end)
		for _, file := range h.files() {
			for _, harm := range harms {
				if how != "killed" && file != "CLEAN" && harm.name != "changed" {
					continue // it is the same
				}
				cases++
				t.Run(fmt.Sprintf("%s, %s is %s", how, file, harm.name), func(t *testing.T) {
					h.t = t
					h.restore()
					path := h.path("data", "channels", "main", file)
					inLog := strings.HasPrefix(file, "log/")
					err := harm.do(path)
					if inLog && harm.name == "changed" {
						err = errors.Join(err, change(path, 1), change(path, 3000)) // in a record, with others behind it
					}
					if err != nil {
						t.Fatal(err)
					}
					if inLog {
						h.refuses("log")
					}
					anew := inLog && harm.name != "changed"
					h.deliversAll(anew)
					if inLog {
						h.cameInPart(anew)
					} else {
						h.came(harmAll)
					}
				})
			}
		}
	}
	reliability.Report(t, reliability.Row{Part: reliability.Harm, What: "an agent starts on it", Tried: cases, Checked: cases * harmAll})
}

// The destination has a batch, and the agent dies before it has noted that: it is offered again, and has no second effect.
func TestTakenAndNotCommittedItHasNoSecondEffect(t *testing.T) {
	r := newRig(t)
	r.write(0, harmAll)
	if err := r.start("--kill-at", "commit:1").Wait(); err == nil {
		t.Fatal("it was not killed")
	}
	if r.outSize() == 0 {
		t.Fatal("nothing came out")
	}
	text, err := exec.Command(binary, "channel", "inspect", r.path("data", "channels", "main"), "--json").Output()
	var answer struct {
		Result []struct {
			Readers []struct{ Waiting uint64 } `json:"readers"`
		} `json:"result"`
	}
	if err = errors.Join(err, json.Unmarshal(text, &answer)); err != nil || len(answer.Result) == 0 || answer.Result[0].Readers[0].Waiting == 0 {
		t.Fatalf("nothing waits, though the take was not committed: %s %v", text, err)
	}
	cmd := r.start()
	defer func() { _ = cmd.Process.Kill() }()
	r.until("all is there", func(s admin.Status) bool { return s.Channels[0].Events == 0 && component(s, "source.app").Waiting == 0 })
	r.came(harmAll)
	r.terminate(cmd, 0)
}

// The channel is put back to what it was yesterday, while its destination has got more since. Offsets begin anew, but not as the
// same ones: nothing is taken for delivered, the sink is held and says why, and when the destination's data was moved aside, all that the log had
// forgotten is read and delivered again.
func TestAChannelRestoredFromABackupIsToldApartAndLosesNothing(t *testing.T) {
	r := newRig(t)
	const day = 100
	for i := range 2 {
		cmd := r.start()
		defer func() { _ = cmd.Process.Kill() }()
		r.write(i*day, (i+1)*day)
		r.delivered(day)
		r.terminate(cmd, 0)
		if i == 0 {
			if err := os.CopyFS(r.path("backup"), os.DirFS(r.path("data", "channels"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.came(2 * day)
	if err := errors.Join(os.RemoveAll(r.path("data", "channels")), os.Rename(r.path("backup"), r.path("data", "channels"))); err != nil {
		t.Fatal(err)
	}
	r.write(2*day, 3*day)
	cmd := r.start()
	defer func() { _ = cmd.Process.Kill() }()
	r.until("the sink is held", func(s admin.Status) bool {
		reason := component(s, "sink.out").Reason
		return strings.Contains(reason, "diverged: ") && strings.Contains(reason, "move the destination's data aside, or restore")
	})
	r.terminate(cmd, 0)
	r.came(2 * day) // untouched
	if err := errors.Join(os.Rename(r.path("out"), r.path("aside")), os.Mkdir(r.path("out"), 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd = r.start()
	defer func() { _ = cmd.Process.Kill() }()
	r.until("what the log had forgotten is delivered", func(s admin.Status) bool {
		return s.Channels[0].Events == 0 && r.outSize() > 0
	})
	r.terminate(cmd, 0)
	var want strings.Builder
	for i := day; i < 3*day; i++ {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	got, err := os.ReadFile(r.path("out", "out.log"))
	if err = errors.Join(err, compare(strings.NewReader(want.String()), strings.NewReader(string(got)))); err != nil {
		t.Error(err)
	}
}
