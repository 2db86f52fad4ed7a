// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/penstock-io/penstock/spec/abi"
)

var update = flag.Bool("update", false, "write what comes out into testdata and spec")

// TestGolden loads each archive of testdata. Its comment may hold "disk SIZE", "absent DIR" and "path PATH", "env NAME VALUE", "chmod MODE FILE", "var NAME=VALUE",
// "varfile FILE", and "keys", to read the keys of channels as well; its files are the configuration, with manifests in the place of modules; "want" is what a user sees, and "config"
// what an agent gets. An archive with a plugin.hcl and no pipeline is a case for ParseManifest; one with a plugin.test.hcl too, for ParseTrials.
// A pipeline with a pipeline.test.hcl is a case for ParseTests.
func TestGolden(t *testing.T) {
	for _, file := range archives(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := take(archive, "want") + take(archive, "config")
			shown, loaded := loadArchive(t, archive)
			if shown+loaded == want {
				return
			}
			if !*update {
				t.Fatalf("it is not what it was (run with -update if it is better):\n%s", cmp.Diff(want, shown+loaded))
			}
			archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(shown)})
			if loaded != "" {
				archive.Files = append(archive.Files, txtar.File{Name: "config", Data: []byte(loaded)})
			}
			if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestEachCodeHasACase keeps the table of codes and the cases in step: a code that nothing can bring about is a promise that
// nobody keeps, and a file is named after the code that it shows.
func TestEachCodeHasACase(t *testing.T) {
	shown := make(map[string]bool)
	for _, file := range archives(t) {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := take(archive, "want")
		name, _, _ := strings.Cut(filepath.Base(file), "-")
		if _, isCode := codes[code(name)]; isCode && !strings.Contains(want, "["+name+"]") {
			t.Errorf("%s does not show %s", file, name)
		}
		for c := range codes {
			if strings.Contains(want, "["+string(c)+"]") {
				shown[string(c)] = true
			}
		}
	}
	for _, c := range Codes() {
		if !shown[c] {
			t.Errorf("no case of testdata shows %s", c)
		}
	}
}

func archives(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for i := range files {
		if files[i], err = filepath.Abs(files[i]); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// take removes a file from the archive and returns what is in it.
func take(a *txtar.Archive, name string) string {
	for i, f := range a.Files {
		if f.Name == name {
			a.Files = slices.Delete(a.Files, i, i+1)
			return string(f.Data)
		}
	}
	return ""
}

// sameLength returns a new directory whose path is as long on every machine, since lines are folded with it in them.
func sameLength(t *testing.T) string {
	t.Helper()
	const length = 46 // a usual one
	base, err := os.MkdirTemp("/tmp", "golden")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	work := filepath.Join(base, strings.Repeat("d", length-len(base)-1))
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	return work
}

func loadArchive(t *testing.T, a *txtar.Archive) (shown, loaded string) {
	t.Helper()
	work := sameLength(t)
	std := stdManifest(t)
	writeFiles(t, work, a)
	t.Chdir(work)
	t.Setenv("XDG_STATE_HOME", "/state")
	path, o, keys := ".", testOptions(std, work), false
	for line := range strings.SplitSeq(string(a.Comment), "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch word {
		case "disk":
			room, err := parseSize(rest)
			if err != nil {
				t.Fatalf("disk %s: %v", rest, err)
			}
			o.DiskFree = func(string) (uint64, error) { return uint64(room), nil }
		case "absent":
			o.Absent = func(dir string) bool { return dir == rest }
		case "path":
			path = rest
		case "env":
			name, value, _ := strings.Cut(rest, " ")
			t.Setenv(name, value)
		case "chmod":
			text, name, _ := strings.Cut(rest, " ")
			mode, err := strconv.ParseUint(text, 8, 32)
			if err := errors.Join(err, os.Chmod(name, os.FileMode(mode))); err != nil {
				t.Fatal(err)
			}
		case "keys":
			keys = true
		case "var":
			o.Variables.Set = append(o.Variables.Set, rest)
		case "varfile":
			o.Variables.Files = append(o.Variables.Files, rest)
		}
	}
	c, files, diags := load(t, path, o)
	if keys {
		_, unread := ReadKeys(c)
		_, hidden := Reveal(c)
		diags = append(append(diags, unread...), hidden...)
	}
	var out bytes.Buffer
	WriteDiagnostics(&out, diags, files, false, 0)
	shown = strings.ReplaceAll(out.String(), work, "$WORK")
	if c != nil {
		loaded = strings.ReplaceAll(strings.ReplaceAll(dump(c), work, "$WORK"), defaultDataDir(c.Agent.Name), "$DATA")
	}
	return shown, loaded
}

func load(t *testing.T, path string, o Options) (*Config, *Sources, hcl.Diagnostics) {
	t.Helper()
	src, err := os.ReadFile("plugin.hcl")
	if _, none := os.Stat("pipeline.hcl"); none == nil || errors.Is(err, os.ErrNotExist) {
		c, files, diags := Load(path, o)
		if src, err := os.ReadFile("pipeline.test.hcl"); err == nil && c != nil {
			var tests []Test
			tests, files, diags = ParseTests(src, "pipeline.test.hcl")
			for _, test := range tests {
				diags = append(diags, test.Check(c)...)
			}
			return nil, files, diags
		}
		return c, files, diags
	}
	m, files, diags := ParseManifest(src, "plugin.hcl")
	if got := len(m.Plugins) > 0; got == diags.HasErrors() {
		t.Errorf("a manifest came out: %v; errors: %v", got, diags)
	}
	if trials, err := os.ReadFile("plugin.test.hcl"); err == nil {
		_, files, diags = ParseTrials(trials, "plugin.test.hcl", m)
	}
	return nil, files, diags
}

func writeFiles(t *testing.T, dir string, a *txtar.Archive) {
	t.Helper()
	for _, f := range a.Files {
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func stdManifest(t testing.TB) abi.Manifest {
	t.Helper()
	src, err := os.ReadFile("testdata/std.hcl")
	if err != nil {
		t.Fatal(err)
	}
	m, files, diags := ParseManifest(src, "std.hcl")
	if len(diags) > 0 {
		var out bytes.Buffer
		WriteDiagnostics(&out, diags, files, false, 0)
		t.Fatal(out.String())
	}
	return m
}

// testOptions load manifests that lie in the place of modules, in HCL or JSON.
func testOptions(std abi.Manifest, dir string) Options {
	return Options{
		Dir:     dir,
		Version: "0.3.1",
		Check: func(_ string, asks []Ask) []Answer {
			answers := make([]Answer, len(asks))
			for i, a := range asks {
				switch {
				case strings.Contains(string(a.Config), "refused.log"):
					answers[i] = Answer{errors.New("is refused, as in this test"), "path"}
				case strings.Contains(string(a.Config), "doubtful.log"):
					answers[i] = Answer{Err: errors.New("it does not do")}
				case strings.Contains(string(a.Config), "second/*.log"):
					answers[i] = Answer{errors.New("is refused, as in this test"), "paths.1"}
				}
			}
			return answers
		},
		Manifest: func(ref PluginRef) (abi.Manifest, error) {
			if name, ok := strings.CutPrefix(ref.Source, "builtin:"); ok {
				if name == "net" {
					return abi.Manifest{Name: "net", Version: "0.1.0", Plugins: []abi.Plugin{{Kind: abi.Source, Name: "tcp", Replay: "none",
						Arguments: []abi.Argument{{Name: "listen", Type: "string"}}, Needs: []abi.Need{{Handle: "in", Kind: abi.NeedListen, Value: "config.listen"}}}}}, nil
				}
				if name != std.Name {
					return abi.Manifest{}, fmt.Errorf("there is no builtin module %q", name)
				}
				return std, nil
			}
			return manifestFile(ref)
		},
		Builtin: func(kind abi.Kind, name string) (string, bool) {
			_, ok := std.Find(kind, name)
			return std.Name, ok
		},
		Builtins: func(kind abi.Kind) (names []string) {
			for _, p := range std.Plugins {
				if p.Kind == kind {
					names = append(names, p.Name)
				}
			}
			return names
		},
	}
}

func manifestFile(ref PluginRef) (abi.Manifest, error) {
	src, err := os.ReadFile(ref.Source)
	if err != nil {
		return abi.Manifest{}, err
	}
	sum := sha256.Sum256(src)
	if digest := hex.EncodeToString(sum[:]); ref.SHA256 != "" && ref.SHA256 != digest {
		return abi.Manifest{}, fmt.Errorf("its sha256 is %s, and not %s", digest, ref.SHA256)
	}
	if bytes.HasPrefix(src, []byte("{")) {
		return abi.ParseManifest(src)
	}
	m, _, diags := ParseManifest(src, "manifest")
	if diags.HasErrors() {
		return m, errors.New("it is not a WebAssembly module")
	}
	return m, nil
}

// dump writes what an agent gets.
func dump(c *Config) string {
	var s strings.Builder
	a := c.Agent
	fmt.Fprintf(&s, "agent %q id=%q data_dir=%s drain=%v listen=%q log=%s,%s\n",
		a.Name, a.ID, a.DataDir, a.DrainTimeout, a.Listen, a.LogLevel, a.LogFormat)
	if a.Origin || len(a.Labels) > 0 {
		fmt.Fprintf(&s, "  labels=%v origin=%v\n", a.Labels, a.Origin)
	}
	for _, ch := range c.Channels {
		fmt.Fprintf(&s, "%s kind=%s capacity=%d max_events=%d on_full=%s\n", ch.Address(), ch.Kind, ch.CapacityBytes, ch.MaxEvents, ch.OnFull)
		if ch.Durability != "fsync" || ch.MinFreeBytes != nil {
			fmt.Fprintf(&s, "  durability=%s every=%v min_free=%d\n", ch.Durability, ch.FlushEvery, deref(ch.MinFreeBytes))
		}
		if ch.MaxAge+ch.Retain > 0 {
			fmt.Fprintf(&s, "  max_age=%v retain=%v\n", ch.MaxAge, ch.Retain)
		}
		if ch.Compression != "none" || ch.Key != "" || ch.OldKeys != nil {
			fmt.Fprintf(&s, "  compression=%s key=%s old=%v\n", ch.Compression, ch.Key, ch.OldKeys)
		}
	}
	for _, ch := range c.Channels {
		if ch.DeadLetter != "" {
			fmt.Fprintf(&s, "%s dead_letter=%s\n", ch.Address(), ch.DeadLetter)
		}
	}
	for _, p := range c.Processors {
		fmt.Fprintf(&s, "%s on_error=%s\n%s", p.Address(), p.OnError, dumpComponent(p.Component))
		if p.When != nil {
			fmt.Fprintf(&s, "  when=%s loaded=%q\n", p.When.Text, p.When.Loaded())
		}
	}
	for _, r := range c.Routes {
		fmt.Fprintf(&s, "%s from=%s all=%v\n", r.Address(), r.From, r.All)
		for _, option := range r.Cases {
			fmt.Fprintf(&s, "  %s default=%v%s\n", option.Name, option.Default, dumpCondition(" when", option.When))
		}
	}
	for _, m := range c.Moved {
		fmt.Fprintf(&s, "%s was %s\n", m.To, strings.Join(c.Formerly(m.To), ", "))
	}
	if len(c.Off) > 0 {
		fmt.Fprintf(&s, "off: %s\n", strings.Join(c.Off, ", "))
	}
	for _, k := range c.Secrets {
		fmt.Fprintf(&s, "secret.%s from=%s\n", k.Name, k.From)
	}
	for _, src := range c.Sources {
		fmt.Fprintf(&s, "%s into=%s\n%s", src.Address(), src.Into, dumpComponent(src.Component))
		if src.Through != nil {
			fmt.Fprintf(&s, "  through=%v\n", src.Through)
		}
	}
	for _, k := range c.Sinks {
		s.WriteString(dumpSink(k))
	}
	for _, g := range c.Groups {
		fmt.Fprintf(&s, "%s %s of %v delivery=%s cool_down=%v..%v fail_back=%v return_in=%v\n", g.Address(), g.Policy, g.Members, g.Delivery, g.CoolDown.Min, g.CoolDown.Max, g.FailBack, g.ReturnIn)
	}
	return s.String()
}

func dumpCondition(what string, c *Condition) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%s=%s loaded=%q", what, c.Text, c.Loaded())
}

func dumpSink(k Sink) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s from=%s start=%s batch=%d/%d/%v retry=%v..%v\n%s", k.Address(), k.From, k.Start,
		k.Batch.Events, k.Batch.Bytes, k.Batch.Wait, k.Retry.Min, k.Retry.Max, dumpComponent(k.Component))
	if k.OnLag != "hold" {
		fmt.Fprintf(&s, "  on_lag=%s\n", k.OnLag)
	}
	if k.Delivery != "" {
		fmt.Fprintf(&s, "  delivery=%s\n", k.Delivery)
	}
	if k.Through != nil {
		fmt.Fprintf(&s, "  through=%v\n", k.Through)
	}
	if k.Group != "" {
		fmt.Fprintf(&s, "  of sink_group.%s\n", k.Group)
	}
	if k.Route != "" || k.Where != nil {
		fmt.Fprintf(&s, "  reads %s%s\n", k.Reads(), dumpCondition(" where", k.Where))
	}
	return s.String()
}

func dumpComponent(c Component) string {
	var more strings.Builder
	for _, h := range c.Handles {
		fmt.Fprintf(&more, "  %s %s=%s%s secure=%v\n", h.Kind, h.Name, h.Address, h.pattern(), h.Address.Secure())
	}
	if len(c.Env)+len(c.Secrets) > 0 {
		fmt.Fprintf(&more, "  env=%v secrets=%v\n", c.Env, c.Secrets)
	}
	if t := c.TLS; t != nil {
		fmt.Fprintf(&more, "  tls %s cert=%s key=%s ca=%s verify=%v min_version=%s\n", t.Name, t.Cert, t.Key, t.CA, t.Verify, t.MinVersion)
	}
	usual := (&pluginBlock{values: &values{}}).limits(c.Plugin)
	if usual.MemoryBytes = c.Limits.MemoryBytes; c.Limits != usual {
		l := c.Limits
		fmt.Fprintf(&more, "  limits cpu=%v cpu_share=%v handles=%d log_rate=%d metrics=%d output=%d batch=%d\n", l.Call, l.Share, l.Handles, l.LogRate, l.Metrics, l.OutputBytes, l.BatchBytes)
		fmt.Fprintf(&more, "  listen=%+v\n  serve=%+v\n", l.Listen, l.Serve)
	}
	if r := c.Ref; r.Trusted || r.ModuleBytes != abi.DefaultModule || r.TableEntries != abi.DefaultTable {
		fmt.Fprintf(&more, "  trusted=%v module_size=%d table=%d\n", r.Trusted, r.ModuleBytes, r.TableEntries)
	}
	if c.Ref.Subprocess {
		fmt.Fprintf(&more, "  subprocess, and may: %s\n", strings.Join(c.Permissions(), "; "))
	}
	return more.String() + fmt.Sprintf("  plugin %s of %s from %s memory=%d\n  dirs=%v needs=%v\n  config=%s\n",
		c.Plugin.Name, c.Ref.Name, c.Ref.Source, c.Limits.MemoryBytes, c.Dirs, c.Needs, c.Config)
}

// deref shows what is set, -1 for what is not.
func deref(n *uint64) int64 {
	if n == nil {
		return -1
	}
	return int64(*n)
}
