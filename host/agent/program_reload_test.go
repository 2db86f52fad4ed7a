// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
)

// programs builds the module in testdata as a program, in several modes, and returns where they lie.
func programs(t *testing.T, modes ...string) map[string]string {
	t.Helper()
	dir, all := t.TempDir(), map[string]string{}
	for _, mode := range modes {
		all[mode] = filepath.Join(dir, mode)
		build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w -X main.mode="+mode, "-o", all[mode], "./testdata/faulty")
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
	}
	return all
}

// install puts a program in the place of the one before, with its manifest, as an installation does.
func (r rig) install(t *testing.T, program string) (digest string) {
	t.Helper()
	to := filepath.Join(r.dir, "pass")
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/faulty/plugin.hcl")
	if err != nil {
		t.Fatal(err)
	}
	manifest, _, diags := config.ParseManifest(text, "plugin.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	doc, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(to+subprocess.ManifestSuffix, doc, 0o600), os.WriteFile(to+"~", code, 0o700), os.Rename(to+"~", to)); err != nil {
		t.Fatal(err)
	}
	if digest, err = subprocess.Digest(to); err != nil {
		t.Fatal(err)
	}
	return digest
}

// ofProgram is a flow through a program, whose digest may be pinned. before is what stands in the agent block.
func ofProgram(f flow, agent, sha256 string) string {
	pin := ""
	if sha256 != "" {
		pin = fmt.Sprintf("\n  sha256 = %q", sha256)
	}
	return agent + strings.Replace(f.String(), `  source = "./faulty.wasm"
  limits { cpu = "100ms" }`, `  source  = "./pass"
  runtime = "subprocess"
  trusted = true`+pin, 1)
}

// swapping is an agent whose processor is a program.
type swapping struct {
	rig
	*testing.T
	built map[string]string // by mode
	runs  string            // the digest
}

// is checks what runs.
func (s *swapping) is(step string) {
	s.Helper()
	if got := s.current().plugins["processor.pass"].Digest(); got != s.runs {
		s.Fatalf("%s: %s runs; want %s", step, got, s.runs)
	}
}

// swap asks for a reload that a program of that mode and digest is to come of, and checks what does.
func (s *swapping) swap(mode, digest string, ask admin.Reload) {
	s.Helper()
	before := s.started()
	_, err := s.Reload(s.Context(), ask)
	back, returned := errors.AsType[*wentBack](err)
	switch good := mode == "one" || mode == "two"; {
	case good && err != nil:
		s.Fatalf("%s: %v", mode, err)
	case good:
		s.runs = digest
		s.onlyChanged(s.T, before, "source.in")
	case !returned || back.stuck:
		s.Fatalf("%s is taken, or refused: %v", mode, err)
	}
	s.is(mode)
}

// block is an agent block in which a bad program has time to show what it is.
func block(mode string) string {
	if mode == "one" || mode == "two" {
		return agentBlock
	}
	return patient
}

func TestAProgramIsReplacedUnderLoadWhenSomebodySaysSoAndBadOnesGiveWay(t *testing.T) {
	f := flow{rate: flowRate, batchA: 4096, waitB: 1, capacity: 256, plugin: true}
	s := &swapping{rig: rig{dir: t.TempDir()}, T: t, built: programs(t, "one", "two", "traps", "breaks", "refuses")}
	s.runs = s.install(t, s.built["one"])
	s.rig = run(t, s.dir, ofProgram(f, agentBlock, ""))
	eventually(t, "it flows", func() bool { return s.component("sink.a").Events > 0 })
	begun := time.Now()
	for _, mode := range []string{"two", "traps", "one", "breaks"} { // by a command
		digest, before := s.install(t, s.built[mode]), s.started()
		write(t, s.dir, ofProgram(f, block(mode), ""))
		for _, ask := range []admin.Reload{{Watch: true}, {}} { // the pipeline says nothing of another one
			if _, err := s.Reload(t.Context(), ask); err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			s.is(mode + ", of which nobody has said anything")
			s.onlyChanged(t, before)
		}
		s.swap(mode, digest, admin.Reload{Plugin: "pass"})
	}
	for _, mode := range []string{"two", "refuses", "one"} { // by its sha256
		digest := s.install(t, s.built[mode])
		write(t, s.dir, ofProgram(f, block(mode), digest))
		_, err := s.Reload(t.Context(), admin.Reload{Watch: true})
		if refusal, ok := errors.AsType[*admin.Refusal](err); !ok || refusal.Code != admin.CodeAsks {
			t.Fatalf("%s: another sha256 is taken up by itself: %v", mode, err)
		}
		s.is(mode + ", of which only the file speaks")
		s.swap(mode, digest, admin.Reload{})
	}
	s.conserves(t, begun)
}
