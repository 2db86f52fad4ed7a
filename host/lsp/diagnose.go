// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/config"
)

// codePage is where codes are explained.
const codePage = "https://github.com/penstock-io/penstock/blob/main/spec/errors.md#"

// opened lists the open pipeline files of a directory, sorted. Files of tests and of variables, and manifests of plugins, are none.
func (s *server) opened(dir string) (paths []string) {
	for path := range s.documents {
		name := filepath.Base(path)
		test := strings.HasSuffix(name, ".test.hcl") || strings.HasSuffix(name, ".test.hcl.json")
		pipeline := strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".hcl.json")
		if filepath.Dir(path) == dir && pipeline && !test && !config.IsManifest(path, s.documents[path]) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// publish loads a directory, and tells the editor what is wrong in each file, also that nothing is wrong any more.
func (s *server) publish(dir string) error {
	found := make(map[string][]diagnostic)
	if open := s.opened(dir); len(open) > 0 {
		found = s.load(dir, open)
	}
	for path, from := range s.published {
		if from == dir && found[path] == nil {
			found[path] = []diagnostic{}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		s.published[path] = dir
		if len(found[path]) == 0 {
			delete(s.published, path)
		}
		note := map[string]any{"jsonrpc": "2.0", "method": "textDocument/publishDiagnostics", "params": published{uriOf(path), found[path]}}
		if err := writeMessage(s.out, note); err != nil {
			return err
		}
	}
	return nil
}

// load loads a directory with what is open in it.
func (s *server) load(dir string, open []string) map[string][]diagnostic {
	o := s.options(dir)
	o.Overlay = s.documents
	target := dir
	if _, err := os.Stat(open[0]); err != nil && len(open) == 1 && !anyPipeline(dir) {
		target = open[0] // it was never saved, and there is no other
	}
	_, sources, diags := config.Load(target, o)
	found := make(map[string][]diagnostic)
	for _, path := range open {
		found[path] = []diagnostic{}
	}
	for _, d := range diags {
		path, src, at := d.Subject.Filename, sources.Bytes(d.Subject.Filename), *d.Subject
		if src == nil { // of the directory, or of a variable from outside
			path, src, at = open[0], s.documents[open[0]], hcl.Range{}
		}
		found[path] = append(found[path], diagnosticOf(d, src, at))
	}
	return found
}

func anyPipeline(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "*.hcl*"))
	return err == nil && len(found) > 0
}

func diagnosticOf(d *hcl.Diagnostic, src []byte, at hcl.Range) diagnostic {
	out := diagnostic{Range: spanOf(src, at), Severity: 1, Code: config.CodeOf(d), Source: "penstock", Message: d.Summary + ": " + d.Detail}
	if d.Severity == hcl.DiagWarning {
		out.Severity = 2
	}
	if out.Code != "" {
		out.CodeDescription = &description{codePage + strings.ToLower(out.Code)}
	}
	return out
}
