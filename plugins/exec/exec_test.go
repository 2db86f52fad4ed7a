// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what takes a moment.
const patience = 20 * time.Second

// shell is a config that runs a script, once, with what a test sets.
func shell(script string, more map[string]any) map[string]any {
	c := map[string]any{
		"command": []string{"/bin/sh", "-c", script}, "restart": "never", "backoff": 10 * time.Millisecond, "max_backoff": time.Second, "min_uptime": 10 * time.Second,
		"on_failure": "log", "stderr": "discard", "event": "line", "max_line": 1 << 20, "on_long_line": "split", "stop_signal": "TERM", "grace": 2 * time.Second,
	}
	maps.Copy(c, more)
	return c
}

// open opens a source. A process has one: it waits for whichever child ends, so that another has to be closed before.
func open(t *testing.T, config map[string]any) *sdktest.Source {
	t.Helper()
	s := sdktest.OpenSource(t, New, config)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// take polls until there are so many events, or the source has ended, and answers what it ended with.
func take(t *testing.T, s *sdktest.Source, n int) ([]sdktest.Event, error) {
	t.Helper()
	before := len(s.Events)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, err := s.Poll()
		s.Commit()
		if got := s.Events[before:]; err != nil || len(got) >= n {
			return got, err
		}
	}
	t.Fatalf("after %v it has brought %d events, and not %d: %q", patience, len(s.Events)-before, n, sdktest.Bodies(s.Events[before:]))
	return nil, nil
}

const all = 1 << 30

func TestEachLineIsAnEvent(t *testing.T) {
	for script, want := range map[string][]string{
		`printf 'a\n\nb\r\n  c'`:            {"a", "b", "  c"}, // the last needs no newline
		`printf a; sleep 0.1; printf 'b\n'`: {"ab"},
		`exit 0`:                            nil,
		`echo one; (sleep 0.2; echo two)`:   {"one", "two"},
		`exec >&-; sleep 0.1`:               nil,
	} {
		got, err := take(t, open(t, shell(script, nil)), all)
		if !errors.Is(err, sdk.Done) || !slices.Equal(sdktest.Bodies(got), want) {
			t.Errorf("%s: %q, %v", script, sdktest.Bodies(got), err)
		}
	}
}

func TestStandardErrorIsNothingOrEventsThatSaySo(t *testing.T) {
	const script = `echo out; echo err >&2`
	got, _ := take(t, open(t, shell(script, nil)), all)
	if len(got) != 1 || len(got[0].Attributes) != 0 {
		t.Errorf("%v", got)
	}
	got, _ = take(t, open(t, shell(script, map[string]any{"stderr": "events"})), all)
	seen := map[string]string{}
	for _, e := range got {
		seen[e.Body] = e.Attributes["exec.stream"]
	}
	if len(got) != 2 || seen["out"] != "stdout" || seen["err"] != "stderr" {
		t.Errorf("%v", got)
	}
}

func TestALongLineIsSplitOrTruncated(t *testing.T) {
	script := `head -c 2500 /dev/zero | tr '\0' x; echo; echo next`
	got, _ := take(t, open(t, shell(script, map[string]any{"max_line": 1024})), all)
	if len(got) != 4 || len(got[0].Body) != 1024 || got[1].Attributes["exec.partial"] != "true" || len(got[2].Body) != 452 || got[2].Attributes["exec.partial"] != "" || got[3].Body != "next" {
		t.Errorf("split: %d events", len(got))
	}
	s := open(t, shell(script, map[string]any{"max_line": 1024, "on_long_line": "truncate"}))
	got, _ = take(t, s, all)
	if len(got) != 2 || len(got[0].Body) != 1024 || got[0].Attributes["exec.truncated"] != "true" || got[1].Body != "next" || s.Metrics["exec_long_lines"] != 1 {
		t.Errorf("truncated: %d events, %v", len(got), s.Metrics)
	}
	s = open(t, shell(`head -c 3145728 /dev/zero | tr '\0' x`, nil))
	s.MaxBytes = 2 << 20
	got, _ = take(t, s, all)
	if len(got) != 3 || len(got[0].Body) != 1<<20 || got[2].Attributes["exec.partial"] != "" {
		t.Errorf("3 MiB in one line: %d events", len(got))
	}
}

func TestAllThatARunPrintsIsOneEvent(t *testing.T) {
	got, err := take(t, open(t, shell(`printf '{\n "a": 1'; sleep 0.1; echo; echo }`, map[string]any{"event": "run"})), all)
	if !errors.Is(err, sdk.Done) || len(got) != 1 || got[0].Body != "{\n \"a\": 1\n}\n" {
		t.Errorf("%v, %v", got, err)
	}
	got, _ = take(t, open(t, shell(`head -c 3000 /dev/zero`, map[string]any{"event": "run", "max_line": 1024})), all)
	if len(got) != 3 || got[0].Attributes["exec.partial"] != "true" || got[2].Attributes["exec.partial"] != "" {
		t.Errorf("%d events", len(got))
	}
}

func TestHowARunEndsIsTold(t *testing.T) {
	for script, want := range map[string]struct {
		timeout time.Duration
		status  float64
		words   string
	}{
		`echo x; exit 3`:                       {patience, 3, "/bin/sh exited with status 3"},
		`echo x; kill -9 $$`:                   {patience, 137, "/bin/sh was ended by signal 9 (killed)"},
		`trap '' TERM; echo x; sleep 60; true`: {2 * time.Second, 137, "/bin/sh did not end within 2s, and was ended by signal 9 (killed)"},
	} {
		s := open(t, shell(script, map[string]any{"on_failure": "event", "timeout": want.timeout, "grace": 100 * time.Millisecond}))
		got, err := take(t, s, all)
		if !errors.Is(err, sdk.Done) || len(got) != 2 || got[0].Body != "x" || got[1].Body != want.words || got[1].Attributes["exec.status"] != fmt.Sprint(want.status) {
			t.Errorf("%s: %v, %v", script, got, err)
		}
		if s.Metrics["exec_status"] != want.status || s.Metrics["exec_failures"] != 1 || !strings.Contains(strings.Join(s.Logs, "\n"), "WARN the command") {
			t.Errorf("%s: %v, %q", script, s.Metrics, s.Logs)
		}
	}
	s := open(t, shell(`echo x; exit 3`, map[string]any{"on_failure": "hold", "restart": "always"}))
	got, err := take(t, s, all)
	if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != abi.EINVAL || e.Path != "command" || len(got) != 1 || !strings.Contains(err.Error(), "exited with status 3") {
		t.Errorf("hold: %v, %v", got, err)
	}
}

func TestItIsStartedAgainWithABackOff(t *testing.T) {
	s := open(t, shell(`echo x`, map[string]any{"restart": "always", "backoff": 20 * time.Millisecond, "max_backoff": 80 * time.Millisecond}))
	began := time.Now()
	if _, err := take(t, s, 5); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < (20+40+80+80)*time.Millisecond || s.Metrics["exec_runs"] != 5 || s.Metrics["exec_failures"] != 0 {
		t.Errorf("after %v: %v", took, s.Metrics)
	}
	_ = s.Close()
	s = open(t, shell(`[ -e `+filepath.Join(t.TempDir(), "$$")+` ] || exit 1`, map[string]any{"restart": "on_failure"}))
	for end := time.Now().Add(patience); s.Metrics["exec_runs"] < 3 && time.Now().Before(end); {
		_, _ = s.Poll()
	}
	if s.Metrics["exec_runs"] < 3 {
		t.Errorf("what fails is not started again: %v", s.Metrics)
	}
	_ = s.Close()
	s = open(t, shell(`echo x`, map[string]any{"restart": "on_failure"}))
	if got, err := take(t, s, all); !errors.Is(err, sdk.Done) || len(got) != 1 {
		t.Errorf("what did not fail is started again: %v, %v", got, err)
	}
}

func TestTheWaitGrowsUpToItsMostAndShrinksAfterALongRun(t *testing.T) {
	s := source{config: config{Backoff: time.Hour, MaxBackoff: 3 * time.Hour, MinUptime: time.Minute}, wait: time.Hour}
	for i, c := range []struct{ took, want time.Duration }{
		{0, time.Hour}, {0, 2 * time.Hour}, {time.Second, 3 * time.Hour}, {0, 3 * time.Hour}, {time.Minute, time.Hour}, {0, 2 * time.Hour},
	} {
		s.schedule(&run{}, c.took, i%2 == 0)
		if got := time.Until(s.due).Round(time.Minute); got != c.want {
			t.Errorf("after run %d it waits for %v, not %v", i, got, c.want)
		}
	}
}

func TestTheEndIsToldAfterAllThatWasPrinted(t *testing.T) {
	s := open(t, shell(`seq 20000; exit 3`, map[string]any{"on_failure": "event"}))
	s.MaxEvents = 100
	got, err := take(t, s, all)
	if !errors.Is(err, sdk.Done) || len(got) != 20001 || got[19999].Body != "20000" || got[20000].Attributes["exec.status"] != "3" {
		t.Errorf("%d events, %v", len(got), err)
	}
}

func TestAnEndThatIsKnownWaitsForTheOutput(t *testing.T) {
	s := source{run: &run{open: 1, chunks: make(chan chunk), exited: make(chan ending, 1)}}
	s.run.exited <- ending{}
	if more, err := s.attend(&sdk.Poll{Timeout: 20 * time.Millisecond}); more || err != nil || s.run == nil {
		t.Errorf("its output is not over, and it is: %v, %v", more, err)
	}
}

func TestItRunsOnceInAWhile(t *testing.T) {
	s := open(t, shell(`echo x; [ -e "$0" ] && sleep 0.5; exit 1`, map[string]any{"restart": "", "interval": 200 * time.Millisecond}))
	began := time.Now()
	if _, err := take(t, s, 2); err != nil || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if _, err := take(t, s, 2); err != nil {
		t.Fatal(err)
	}
	if s.Metrics["exec_skipped_runs"] < 2 || s.Metrics["exec_runs"] < 4 {
		t.Errorf("a run that took two intervals and a half: %v", s.Metrics)
	}
}

func TestWhatIsWrongIsOneArgument(t *testing.T) {
	dir := t.TempDir()
	plain, orphan := filepath.Join(dir, "plain"), filepath.Join(dir, "orphan")
	if err := errors.Join(os.WriteFile(plain, nil, 0o644), os.WriteFile(orphan, []byte("#!/no/such/interpreter\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change     map[string]any
		path, want string
	}{
		{map[string]any{"command": []string{}}, "command", "is empty"},
		{map[string]any{"command": []string{"/bin/echo hello"}}, "command", `there is no shell that takes it apart: write each argument by itself, or ["/bin/sh", "-c", "/bin/echo hello"]`},
		{map[string]any{"command": []string{"no-such-program"}}, "command", `there is no program "no-such-program" in PATH`},
		{map[string]any{"command": []string{"/no/such/program"}}, "command", "there is no program /no/such/program"},
		{map[string]any{"command": []string{plain}}, "command", "cannot be run by user"},
		{map[string]any{"command": []string{orphan}}, "command", "the interpreter that the first line of " + orphan + " names is not there"},
		{map[string]any{"interval": time.Second, "restart": "always"}, "restart", "exclude each other"},
		{map[string]any{"backoff": time.Hour}, "backoff", "max_backoff"},
		{map[string]any{"environment": map[string]string{"A=B": "x"}}, "environment", "A=B"},
		{map[string]any{"directory": "/no/such/directory"}, "directory", "cannot be entered"},
	} {
		s := sdktest.OpenSource(t, New, shell("true", nil))
		s.Configure(shell("true", c.change))
		err := s.Restart()
		if err == nil { // it shows when it is started
			_, err = s.Poll()
		}
		if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != abi.EINVAL || e.Path != c.path || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.change, err)
		}
	}
}

func TestTheCommandSeesWhatItWasGivenAlone(t *testing.T) {
	t.Setenv("PENSTOCK_PLUGIN", "x")
	t.Setenv("AGENT_SECRET", "hunter2")
	t.Setenv("GRANTED", "yes")
	dir := t.TempDir()
	got, _ := take(t, open(t, shell("env; pwd; cat", map[string]any{"directory": dir, "env": []string{"GRANTED"}, "environment": map[string]string{"LANG": "xx", "MINE": "a b"}})), all)
	text := strings.Join(sdktest.Bodies(got), "\n") + "\n"
	for _, want := range []string{"GRANTED=yes\n", "LANG=xx\n", "MINE=a b\n", "PWD=" + dir + "\n", "\n" + dir + "\n", "PATH="} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q: %s", want, text)
		}
	}
	if strings.Contains(text, "hunter2") || strings.Contains(text, "PENSTOCK") {
		t.Errorf("it sees %s", text)
	}
}

func TestTheManifestIsOfThisSource(t *testing.T) {
	if !strings.Contains(Manifest, `replay = "none"`) || Plugins()["exec"].Source == nil {
		t.Error("plugin.hcl claims what is not so")
	}
}
