// SPDX-License-Identifier: Apache-2.0

// Package toolchain compiles a folder of plugin source into a WebAssembly module, with the compiler that its language has: it tells the
// language from the files, looks where compilers lie, and says what to install when one is missing. Python has none, and becomes a program
// that runs as a child process; Go may become one.
//
// The flags are here and nowhere else: a reactor for WASI preview 1, with bulk memory and SIMD on, names of functions kept for traces.
// What a compiler says goes to the caller's writer as it is.
package toolchain

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/spec/abi"
)

// Project is a folder with the source of one module.
type Project struct {
	Dir      string
	Language string // "c", "rust", …
	files    []string
	program  bool
}

// Missing is a compiler, or a part of one, that this machine lacks.
type Missing struct {
	Language string // "": What is a sentence of its own
	What     string // "clang"
	Install  string // what to do about it, one or more sentences
}

// Error says what is missing; Install is for the line below.
func (m *Missing) Error() string {
	if m.Language == "" {
		return m.What
	}
	return fmt.Sprintf("%s is missing, which compiles plugins in %s", m.What, m.Language)
}

// language is one way to build.
type language struct {
	name  string
	sdk   string // the SDK's file, which is no plugin
	mark  string // a pattern: a folder with such a file is of this language
	alone bool   // one such file is all there may be, beside the SDK's
	build func(ctx context.Context, p Project, b build) error
}

// languages in the order they are looked for: a project in Rust or Go may hold files of C.
var languages = []language{
	{name: "go", mark: "*.go", build: buildGo},
	{name: "rust", mark: "Cargo.toml", build: buildRust},
	{name: "zig", mark: "*.zig", sdk: "penstock.zig", alone: true, build: buildZig},
	{name: "assemblyscript", mark: "*.ts", sdk: "penstock.ts", alone: true, build: buildAssemblyScript},
	{name: "c", mark: "*.c", build: buildC},
	{name: "python", mark: pythonMain + ".py", build: buildPython},
}

// Program says whether what is built is a program that runs as a child process, and not a module for WebAssembly.
func (p Project) Program() bool { return p.program }

// For is the project as it is built for a runtime: "" is what is usual in its language. An error says that there is no such thing.
func (p Project) For(runtime string) (Project, error) {
	program := runtime == abi.RuntimeSubprocess
	switch {
	case runtime == "" || program == p.program && (program || runtime == abi.RuntimeWasm):
		return p, nil
	case runtime != abi.RuntimeWasm && !program:
		return p, fmt.Errorf("there is no runtime %q", runtime)
	case p.Language != "go":
		return p, fmt.Errorf("plugins in %s are not built for the runtime %s", p.Language, runtime)
	}
	p.program = program
	return p, nil
}

// Open finds out what lies in a folder.
func Open(dir string) (Project, error) {
	if _, err := os.Stat(dir); err != nil {
		return Project{}, fmt.Errorf("look for the source of a plugin: %w", err)
	}
	var marks []string
	for _, l := range languages {
		files, err := filepath.Glob(filepath.Join(dir, l.mark))
		if err != nil {
			return Project{}, fmt.Errorf("look for %s in %s: %w", l.mark, dir, err)
		}
		files = slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == l.sdk })
		switch {
		case len(files) > 1 && l.alone:
			return Project{}, fmt.Errorf("%s has %d files %s beside %s: move all but the main one into a folder", dir, len(files), l.mark, l.sdk)
		case len(files) > 0:
			return Project{Dir: dir, Language: l.name, files: files, program: l.name == "python"}, nil
		}
		marks = append(marks, l.mark)
	}
	return Project{}, fmt.Errorf("%s holds no source of a plugin: looked for %s", dir, strings.Join(marks, ", "))
}

// Build compiles the project to a module at output, which has no manifest yet. What compilers say goes to log. An error is a *Missing when
// something has to be installed first.
func (p Project) Build(ctx context.Context, output string, log io.Writer) error {
	abs, err := filepath.Abs(output)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(languages, func(l language) bool { return l.name == p.Language })
	if i < 0 {
		return fmt.Errorf("no language %q", p.Language)
	}
	if err := languages[i].build(ctx, p, build{output: abs, log: log}); err != nil {
		if _, missing := errors.AsType[*Missing](err); missing {
			return err
		}
		return fmt.Errorf("build %s: %w", p.Dir, err)
	}
	if p.Program() {
		return nil
	}
	code, err := os.ReadFile(abs)
	if err != nil {
		return fmt.Errorf("build %s: %w", p.Dir, err)
	}
	return os.WriteFile(abs, withoutDebug(code), 0o644)
}

// withoutDebug leaves out what compilers say for debuggers, which can be fifty times the code; names of functions stay, for traces. What is no
// module is answered as it is.
func withoutDebug(code []byte) []byte {
	const header = 8 // magic and version
	if len(code) < header {
		return code
	}
	out := append([]byte(nil), code[:header]...)
	for rest := code[header:]; len(rest) > 0; {
		n, k := binary.Uvarint(rest[1:])
		end := 1 + k + int(n)
		if k <= 0 || n > uint64(len(rest)) || end > len(rest) {
			return code
		}
		section := rest[:end]
		rest = rest[end:]
		const custom = 0
		if length, l := binary.Uvarint(section[1+k:]); section[0] == custom && l > 0 && length <= uint64(len(section)) &&
			bytes.HasPrefix(section[1+k+l:], []byte(".debug_")) {
			continue
		}
		out = append(out, section...)
	}
	return out
}

// build is where one run of a compiler writes to.
type build struct {
	output string // absolute
	log    io.Writer
}

// run runs a compiler in a folder. env is added to the environment.
func (b build) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, b.log, b.log
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// ask runs a compiler that answers a question in one line; "" when it does not.
func ask(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// find looks for a program: on the PATH, and in node_modules/.bin of dir and the folders above it, where npm puts a project's own.
func find(dir, name string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		for ; ; abs = filepath.Dir(abs) {
			path := filepath.Join(abs, "node_modules", ".bin", name)
			if _, err := os.Stat(path); err == nil {
				return path
			}
			if abs == filepath.Dir(abs) {
				break
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
