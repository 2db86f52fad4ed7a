// SPDX-License-Identifier: Apache-2.0

package fuel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
)

// The official test suite of the core specification, compiled, lies in wazero's module. Each of its scripts is run twice, as it
// is and rewritten, and must say the same both times.

// script is one file of the suite.
type script struct {
	Commands []command `json:"commands"`
}

type command struct {
	Type       string   `json:"type"`
	Line       int      `json:"line"`
	Name       string   `json:"name"`
	As         string   `json:"as"`
	Filename   string   `json:"filename"`
	ModuleType string   `json:"module_type"`
	Action     action   `json:"action"`
	Expected   []scalar `json:"expected"`
}

type action struct {
	Type   string   `json:"type"`
	Module string   `json:"module"`
	Field  string   `json:"field"`
	Args   []scalar `json:"args"`
}

type scalar struct {
	Type  string          `json:"type"`
	Lanes string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

// words gives a value as wazero takes it.
func (s scalar) words() ([]uint64, error) {
	if s.Type == "v128" {
		return s.vector()
	}
	var text string
	if err := json.Unmarshal(s.Value, &text); err != nil {
		return nil, err
	}
	v, err := strconv.ParseUint(text, 10, 64)
	switch {
	case text == "null":
		return []uint64{0}, nil
	case s.Type == "externref":
		return []uint64{v + 1}, err // 0 is null
	}
	return []uint64{v}, err
}

func (s scalar) vector() ([]uint64, error) {
	var lanes []string
	if err := json.Unmarshal(s.Value, &lanes); err != nil {
		return nil, err
	}
	width := 128 / len(lanes)
	words := make([]uint64, 2)
	for i, lane := range lanes {
		v, err := strconv.ParseUint(lane, 10, 64)
		if err != nil {
			n, serr := strconv.ParseInt(lane, 10, 64)
			if serr != nil {
				return nil, err
			}
			v = uint64(n)
		}
		if width < 64 {
			v &= 1<<width - 1
		}
		words[i*width/64] |= v << (i * width % 64)
	}
	return words, nil
}

// stage runs one script.
type stage struct {
	t        *testing.T
	dir      string
	ctx      context.Context
	runtime  wazero.Runtime
	prepare  func([]byte) ([]byte, error)
	named    map[string]api.Module
	last     api.Module
	outcomes []string
	failed   int // what the specification asks for and did not come
}

func newStage(t *testing.T, suite, dir string, features api.CoreFeatures, prepare func([]byte) ([]byte, error)) *stage {
	s := &stage{t: t, dir: dir, ctx: t.Context(), prepare: prepare, named: map[string]api.Module{}}
	s.runtime = wazero.NewRuntimeWithConfig(s.ctx, wazero.NewRuntimeConfigCompiler().WithCoreFeatures(features))
	t.Cleanup(func() { s.runtime.Close(context.Background()) })
	host(t, s.runtime)
	code, err := os.ReadFile(filepath.Join(suite, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.runtime.InstantiateWithConfig(s.ctx, code, wazero.NewModuleConfig().WithName("spectest")); err != nil {
		t.Fatal(err)
	}
	return s
}

var errDeep = errors.New("too deep")

const testDepth = 1 << 10

// host is what a rewritten module needs.
func host(t testing.TB, r wazero.Runtime) {
	yield := api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		if int32(stack[0]) > testDepth {
			panic(errDeep)
		}
		stack[0] = fuel.Slice
	})
	i32 := []api.ValueType{api.ValueTypeI32}
	_, err := r.NewHostModuleBuilder(fuel.ImportModule).NewFunctionBuilder().WithGoModuleFunction(yield, i32, i32).Export(fuel.ImportName).Instantiate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
}

// module loads a module; the error says which step went wrong first.
func (s *stage) module(c command, name string) (api.Module, error) {
	code, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
	if err != nil {
		s.t.Fatal(err)
	}
	if code, err = s.prepare(code); err != nil {
		return nil, err
	}
	compiled, err := s.runtime.CompileModule(s.ctx, code)
	if err != nil {
		return nil, err
	}
	return s.runtime.InstantiateModule(s.ctx, compiled, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
}

// act runs an action and says what came.
func (s *stage) act(a action) ([]uint64, error) {
	m := s.last
	if a.Module != "" {
		m = s.named[a.Module]
	}
	if m == nil {
		return nil, errors.New("there is no module")
	}
	if a.Type == "get" {
		g := m.ExportedGlobal(a.Field)
		return []uint64{g.Get()}, nil
	}
	var args []uint64
	for _, arg := range a.Args {
		w, err := arg.words()
		if err != nil {
			s.t.Fatal(err)
		}
		args = append(args, w...)
	}
	return m.ExportedFunction(a.Field).Call(s.ctx, args...)
}

func (s *stage) run(file script) {
	for i, c := range file.Commands {
		if c.Type == "module" && i+1 < len(file.Commands) && file.Commands[i+1].Type == "register" {
			c.As = file.Commands[i+1].As // wazero takes names only when a module is made
		}
		s.outcomes = append(s.outcomes, fmt.Sprintf("line %d %s: %s", c.Line, c.Type, s.command(c)))
	}
}

// command carries out one command, and gives what is to be compared.
func (s *stage) command(c command) string {
	switch c.Type {
	case "module":
		m, err := s.module(c, c.As)
		s.last = m
		if c.Name != "" {
			s.named[c.Name] = m
		}
		return s.want(err == nil, "loads", err)
	case "register":
		return "registered " + c.As
	case "action":
		_, err := s.act(c.Action)
		return s.want(err == nil, "", err)
	case "assert_return":
		got, err := s.act(c.Action)
		return s.want(err == nil && matches(got, c.Expected), fmt.Sprint(got), err)
	case "assert_trap":
		_, err := s.act(c.Action)
		return s.want(err != nil, first(err), nil)
	case "assert_exhaustion": // the limits are not the same, and nobody promised which they are
		_, err := s.act(c.Action)
		return s.want(err != nil, "exhausted", nil)
	case "assert_invalid", "assert_malformed":
		if c.ModuleType == "text" {
			return "text"
		}
		_, err := s.module(c, "")
		return s.want(err != nil, "refused", nil)
	case "assert_unlinkable", "assert_uninstantiable":
		_, err := s.module(c, "")
		return s.want(err != nil, "does not start", nil)
	}
	s.t.Fatalf("line %d: the test does not know the command %q", c.Line, c.Type)
	return ""
}

func (s *stage) want(ok bool, what string, err error) string {
	if !ok {
		s.failed++
		what = "not: " + what
	}
	if err != nil {
		return what + " " + first(err)
	}
	return what
}

func first(err error) string {
	if err == nil {
		return "no error"
	}
	head, _, _ := strings.Cut(err.Error(), "\n")
	return head
}

// matches compares results with what is expected, as far as that is a number.
func matches(got []uint64, expected []scalar) bool {
	at := 0
	for _, e := range expected {
		n := 1
		if e.Type == "v128" {
			n = 2
		}
		if at+n > len(got) {
			return false
		}
		words, err := e.words()
		if err == nil && e.Type != "funcref" && !slices.Equal(words, masked(e.Type, got[at:at+n])) {
			return false
		}
		at += n
	}
	return at == len(got)
}

func masked(typ string, words []uint64) []uint64 {
	if typ == "i32" || typ == "f32" {
		return []uint64{words[0] & 0xffffffff}
	}
	return words
}

// suite finds wazero's module.
func suite(t testing.TB) string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatalf("find wazero's module: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
}

func TestTheSpecificationSuiteSaysTheSame(t *testing.T) {
	root := suite(t)
	for version, features := range map[string]api.CoreFeatures{"v1": api.CoreFeaturesV1, "v2": api.CoreFeaturesV2} {
		files, err := filepath.Glob(filepath.Join(root, version, "testdata", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no scripts in %s: %v", root, err)
		}
		total, unmet := 0, 0
		for _, path := range files {
			t.Run(version+"/"+strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
				doc, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				var file script
				if err := json.Unmarshal(doc, &file); err != nil {
					t.Fatal(err)
				}
				plain := newStage(t, root, filepath.Dir(path), features, func(b []byte) ([]byte, error) { return b, nil })
				plain.run(file)
				rewritten := newStage(t, root, filepath.Dir(path), features, func(b []byte) ([]byte, error) {
					return fuel.Rewrite(b, fuel.Options{Depth: testDepth})
				})
				rewritten.run(file)
				for i := range plain.outcomes {
					if plain.outcomes[i] != rewritten.outcomes[i] {
						t.Errorf("%s\nrewritten: %s", plain.outcomes[i], rewritten.outcomes[i])
					}
				}
				total += len(plain.outcomes)
				unmet += plain.failed
			})
		}
		t.Logf("%s: %d scripts, %d commands the same; %d are not as the specification has them, plain or rewritten", version, len(files), total, unmet)
	}
}
