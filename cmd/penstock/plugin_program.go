// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/penstock-io/penstock/host/plugin/subprocess"
)

// isProgram says whether a plugin is a program, which runs as a child process: a file that can be run, and is not WebAssembly.
func isProgram(path string) bool {
	if strings.HasPrefix(path, builtinScheme) || strings.HasSuffix(path, ".wasm") {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return false
	}
	magic := make([]byte, 4)
	_, err = io.ReadFull(f, magic)
	return err != nil || !bytes.Equal(magic, []byte("\x00asm"))
}

func inspectProgram(path string) (inspected, error) {
	manifest, err := subprocess.ManifestOf(path)
	if err != nil {
		return inspected{}, fmt.Errorf("%s: %w", path, err)
	}
	m := inspected{Module: path, Manifest: manifest}
	if m.Digest, err = subprocess.Digest(path); err != nil {
		return inspected{}, err
	}
	info, err := os.Stat(path)
	if err == nil {
		m.Bytes = int(info.Size())
	}
	return m, err
}

// packProgram writes the manifest of a program beside it, or beside output where that is another path.
func (a *app) packProgram(program, manifest, output string) (packed, error) {
	m, err := a.readManifest(manifest)
	if err != nil {
		return packed{}, err
	}
	doc, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return packed{}, fmt.Errorf("pack %s: %w", program, err)
	}
	p := packed{Module: output + subprocess.ManifestSuffix, Plugins: pluginsOf(m), Bytes: len(doc)}
	if p.Digest, err = subprocess.Digest(program); err != nil {
		return packed{}, err
	}
	return p, replaceFile(p.Module, append(doc, '\n'))
}
