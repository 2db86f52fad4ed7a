// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/plugins/bundle"
	"github.com/penstock-io/penstock/spec/abi"
)

// builtinScheme begins the source of a plugin that comes with the binary.
const builtinScheme = "builtin:"

// Modules finds the code of plugins, and reads each once: what was validated is what will run.
// Its methods may be called by many goroutines.
type Modules struct {
	// Serve says how a builtin module is started as a child process: a program and its arguments. false: the program does not have it. nil: it has none.
	Serve func(module string) (path string, args []string, ok bool)
	// Launcher is what this program is called with for it to start a plugin as a child process; see [subprocess.Options].
	Launcher []string

	// Native are the manifests of builtin modules that run as child processes alone, since they need more than WebAssembly has; Serve has them all.
	Native map[string]abi.Manifest

	// Check has a plugin of a builtin module look at its config, without any I/O. path is the argument that err is about, "" for the config as a whole.
	// nil: none looks.
	Check func(module string, kind abi.Kind, name string, config json.RawMessage) (path string, err error)

	// Look loads other modules for the same. nil: none looks before it is opened.
	Look Look

	kept bool            // the plugins that run stay as they are, whatever lies in their files by now; set before they are loaded
	anew map[string]bool // plugins that are loaded again, by their names, though nothing but their file may have changed; set before they are

	mu   sync.Mutex
	code map[string]module // by source
}

// module is the code of a plugin, with what is worked out of it once, since that takes milliseconds.
type module struct {
	code     []byte
	digest   func() string // its sha256 in hex
	manifest func() (abi.Manifest, error)
}

// newModule begins to work out the digest. An agent that starts needs it only when it has read the pipeline files and opened its channels.
func newModule(source string, code []byte) module {
	m := module{code: code, manifest: sync.OnceValues(func() (abi.Manifest, error) { return wasm.ManifestOf(code) })}
	builtin, _ := strings.CutPrefix(source, builtinScheme)
	m.digest = sync.OnceValue(func() string {
		if builtin != source {
			return bundle.Digest(builtin, code)
		}
		sum := sha256.Sum256(code)
		return hex.EncodeToString(sum[:])
	})
	go m.digest() // who asks for it waits for it
	return m
}

// ConfigOptions returns what package config needs to know of plugins. dir is the working directory.
func (m *Modules) ConfigOptions(dir string) config.Options {
	native := func(module string) bool {
		_, ok := m.Native[module]
		return ok
	}
	return config.Options{Manifest: m.Manifest, Check: m.check, Builtin: m.Builtin, Native: native, Builtins: m.Builtins, Dir: dir, DiskFree: diskFree, Absent: absent, Isolation: sync.OnceValues(m.isolation)}
}

// absent says that there is no such directory. One that cannot be looked at may be there for whom the agent will run as.
func absent(dir string) bool {
	info, err := os.Stat(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir()
}

// isolation asks the system what keeps child processes to their grants.
func (m *Modules) isolation() (kept bool, trusted []string) {
	i := subprocess.Probe(m.Launcher)
	return i.Complete(), i.Trusted()
}

// Builtin names the module, among those that come with the binary, that holds the plugin.
func (m *Modules) Builtin(kind abi.Kind, name string) (module string, ok bool) {
	for _, module := range m.Names() {
		manifest, err := m.Manifest(config.PluginRef{Name: name, Source: builtinScheme + module})
		if err != nil {
			return module, true // it is not built; who asks for it is told so, rather than that there is no such plugin
		}
		if _, ok := manifest.Find(kind, name); ok {
			return module, true
		}
	}
	return "", false
}

// Builtins lists the names of the plugins of a kind that come with the binary.
func (m *Modules) Builtins(kind abi.Kind) []string {
	var names []string
	for _, module := range m.Names() {
		manifest, err := m.Manifest(config.PluginRef{Source: builtinScheme + module})
		if err != nil {
			continue // not built: Builtin says so where one is asked for
		}
		for _, p := range manifest.Plugins {
			if p.Kind == kind {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// Names are those of the builtin modules. Those that are no WebAssembly come first: they are there, whether the others are built or not.
func (m *Modules) Names() []string {
	return slices.Concat([]string{config.RelayModule}, slices.Sorted(maps.Keys(inside)), slices.Sorted(maps.Keys(m.Native)), bundle.Names())
}

// Manifest reads the manifest of a plugin, without running any of it.
func (m *Modules) Manifest(ref config.PluginRef) (abi.Manifest, error) {
	if ref.Source == relaySource {
		return config.RelayManifest(), nil
	}
	if module, ok := insideOf(ref.Source); ok {
		return inside[module].manifest(), nil
	}
	if name, ok := strings.CutPrefix(ref.Source, builtinScheme); ok {
		if native, ok := m.Native[name]; ok {
			return native, nil
		}
	}
	if ref.Subprocess {
		found, err := m.program(ref)
		switch {
		case err != nil:
			return abi.Manifest{}, err
		case found.Manifest != nil:
			return *found.Manifest, nil
		}
		return subprocess.ManifestOf(found.Path)
	}
	of, err := m.find(ref)
	if err != nil {
		return abi.Manifest{}, err
	}
	return of.manifest()
}

// Code returns the module and its sha256 in hex, which is the one that ref asks for, if it does.
func (m *Modules) Code(ref config.PluginRef) (code []byte, digest string, err error) {
	of, err := m.find(ref)
	if err != nil {
		return nil, "", err
	}
	return of.code, of.digest(), nil
}

func (m *Modules) find(ref config.PluginRef) (module, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	of, ok := m.code[ref.Source]
	if !ok {
		code, err := readModule(ref)
		if err != nil {
			return module{}, err
		}
		of = newModule(ref.Source, code)
		if m.code == nil {
			m.code = make(map[string]module)
		}
		m.code[ref.Source] = of
	}
	if uint64(len(of.code)) > mostOf(ref) {
		return module{}, tooLarge(ref, int64(len(of.code)))
	}
	if ref.SHA256 != "" && !strings.EqualFold(ref.SHA256, of.digest()) {
		return module{}, otherDigest(ref, of.digest())
	}
	return of, nil
}

// keep is m for another setup of the plugins that run already.
func (m *Modules) keep() *Modules {
	return &Modules{Serve: m.Serve, Launcher: m.Launcher, Native: m.Native, Check: m.Check, Look: m.Look, kept: true}
}

// forget lets go of the code, some megabytes a module, once it has been loaded.
func (m *Modules) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.code = nil
}

func readModule(ref config.PluginRef) ([]byte, error) {
	if name, ok := strings.CutPrefix(ref.Source, builtinScheme); ok {
		return bundle.Module(name)
	}
	info, err := os.Stat(ref.Source)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", ref.Source)
	case uint64(info.Size()) > mostOf(ref):
		return nil, tooLarge(ref, info.Size())
	}
	return os.ReadFile(ref.Source)
}

// mostOf is the largest that a module may be.
func mostOf(ref config.PluginRef) uint64 { return cmp.Or(ref.ModuleBytes, abi.DefaultModule) }

func tooLarge(ref config.PluginRef, bytes int64) error {
	return fmt.Errorf("%s has %d bytes, over limits.%s of %d; raise that if the module is worth it", ref.Source, bytes, plugin.LimitModule, mostOf(ref))
}
