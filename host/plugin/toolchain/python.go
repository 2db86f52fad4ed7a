// SPDX-License-Identifier: Apache-2.0

package toolchain

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// PythonEnvironment is where the interpreter is looked for that has what plugins import: below /usr, which every plugin may read.
	PythonEnvironment = "/usr/local/lib/penstock/python"
	// pythonMain is the module that a plugin in Python begins with, without .py.
	pythonMain = "plugin"
	// maxPython bounds the source of a plugin: a folder with more was meant for something else.
	maxPython = 64 << 20
)

// buildPython packs a folder into one file that its interpreter runs: a zip of its modules behind a line that names the interpreter. So there is one
// digest of all of it. $PENSTOCK_PYTHON names the interpreter; else it is the folder's own environment, that of all plugins, or python3.
func buildPython(ctx context.Context, p Project, b build) error {
	python, err := findPython(ctx, p.Dir)
	if err != nil {
		return err
	}
	files, err := pythonFiles(p.Dir)
	if err != nil {
		return err
	}
	if !slices.Contains(files, pythonMain+".py") {
		return fmt.Errorf("%s has no %s.py, with which a plugin begins", p.Dir, pythonMain)
	}
	// What is wrong with the source is better said now than by an agent.
	for _, f := range files {
		src := filepath.Join(p.Dir, filepath.FromSlash(f))
		if err := b.run(ctx, p.Dir, nil, python, "-c", "import sys; compile(open(sys.argv[1], 'rb').read(), sys.argv[1], 'exec')", src); err != nil {
			return err
		}
	}
	var archive bytes.Buffer
	fmt.Fprintf(&archive, "#!%s\n", python)
	if err := zipPython(&archive, p.Dir, files); err != nil {
		return err
	}
	return os.WriteFile(b.output, archive.Bytes(), 0o755)
}

// pythonStart is what runs first: the plugin's module as a program of its own.
const pythonStart = "import runpy\n\nrunpy.run_module(" + `"` + pythonMain + `"` + ", run_name=\"__main__\", alter_sys=True)\n"

// zipPython writes the same bytes for the same files.
func zipPython(to *bytes.Buffer, dir string, files []string) error {
	z := zip.NewWriter(to)
	z.SetOffset(int64(to.Len()))
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	add := func(name string, content []byte) error {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err == nil {
			_, err = w.Write(content)
		}
		return err
	}
	err := add("__main__.py", []byte(pythonStart))
	total := 0
	for _, f := range files {
		content, readErr := os.ReadFile(filepath.Join(dir, filepath.FromSlash(f)))
		if total += len(content); total > maxPython {
			return fmt.Errorf("%s has more than %d MiB of source", dir, maxPython>>20)
		}
		err = errors.Join(err, readErr, add(f, content))
	}
	return errors.Join(err, z.Close())
}

// pythonFiles lists the modules below a folder, sorted; not those of tests, environments and hidden folders.
func pythonFiles(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() && path != dir {
			if strings.HasPrefix(name, ".") || name == "tests" || name == "__pycache__" || exists(filepath.Join(path, "pyvenv.cfg")) {
				return fs.SkipDir
			}
			return nil
		}
		if e.Type().IsRegular() && strings.HasSuffix(name, ".py") && !strings.HasPrefix(name, "test_") {
			rel, err := filepath.Rel(dir, path)
			files = append(files, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

// findPython looks for an interpreter that has what the SDK needs.
func findPython(ctx context.Context, dir string) (string, error) {
	const install = "Make an environment for plugins, where every plugin can read it:\n" +
		"  python3 -m venv " + PythonEnvironment + " && " + PythonEnvironment + "/bin/pip install 'grpcio>=1.66' 'protobuf>=6.31.1,<8'\n" +
		"or one of the plugin's own, in .venv of its folder. $PENSTOCK_PYTHON names another interpreter."
	candidates := []string{filepath.Join(dir, ".venv", "bin", "python3"), PythonEnvironment + "/bin/python3"}
	if path, err := exec.LookPath("python3"); err == nil {
		candidates = append(candidates, path)
	}
	if named := os.Getenv("PENSTOCK_PYTHON"); named != "" {
		candidates = []string{named}
	}
	lacks := "python3"
	for _, c := range candidates {
		path, err := filepath.Abs(c)
		if err != nil || !exists(path) {
			continue
		}
		if ask(ctx, path, "-c", "import sys, grpc, google.protobuf; print(sys.version_info >= (3, 9))") == "True" {
			return path, nil
		}
		lacks = "grpcio or protobuf (of " + path + ", which has to be Python 3.9 or later)"
	}
	return "", &Missing{"Python", lacks, install}
}
