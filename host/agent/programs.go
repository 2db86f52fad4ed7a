// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
)

// target says what a runtime is to load.
func (m *Modules) target(ref config.PluginRef) (plugin.Ref, error) {
	if _, ok := insideOf(ref.Source); ok {
		return plugin.Ref{Name: ref.Name, Source: ref.Source}, nil
	}
	if ref.Subprocess {
		return m.program(ref)
	}
	code, digest, err := m.Code(ref)
	return plugin.Ref{
		Name: ref.Name, Source: ref.Source, Code: code, Digest: digest, Trusted: ref.Trusted, Module: ref.ModuleBytes, Table: ref.TableEntries,
	}, err
}

// program is target for what runs as a child process. A builtin plugin is the same as in its module for WebAssembly, whose manifest holds for both.
func (m *Modules) program(ref config.PluginRef) (plugin.Ref, error) {
	p := plugin.Ref{Name: ref.Name, Source: ref.Source, Digest: ref.SHA256, Path: ref.Source}
	name, builtin := strings.CutPrefix(ref.Source, builtinScheme)
	if !builtin {
		if ref.SHA256 == "" {
			return p, nil
		}
		if got, err := subprocess.Digest(ref.Source); err != nil || !strings.EqualFold(ref.SHA256, got) {
			return p, cmp.Or(err, otherDigest(ref, got))
		}
		return p, nil
	}
	ok := m.Serve != nil
	if ok {
		p.Path, p.Args, ok = m.Serve(name)
	}
	if !ok {
		return p, fmt.Errorf("this program has no module %q that runs as a child process", name)
	}
	manifest, err := m.Manifest(config.PluginRef{Name: ref.Name, Source: ref.Source})
	p.Manifest = &manifest
	return p, err
}

func otherDigest(ref config.PluginRef, got string) error {
	return fmt.Errorf("%s has sha256 %s, the pipeline asks for %s; if the new one is meant, write its digest", ref.Source, got, ref.SHA256)
}
