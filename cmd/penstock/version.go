// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/plugins/bundle"
	"github.com/penstock-io/penstock/spec/abi"
)

// version is set by the linker for a release: -X main.version=1.2.3.
var version = "0.1.0-dev"

const shownRevision = 12 // digits of a commit or digest that people compare

func readBuild() admin.Build {
	b := admin.Build{Version: version, Revision: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	changed := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Revision = s.Value[:min(len(s.Value), shownRevision)]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	b.Revision += changed
	return b
}

// versionResult is what version answers.
type versionResult struct {
	Version  string         `json:"version"`
	Revision string         `json:"revision"`
	Go       string         `json:"go"`
	Platform string         `json:"platform"`
	ABI      int            `json:"abi"`
	Builtins []builtinState `json:"builtins"`
}

// builtinState is a module that comes with the binary, or should.
type builtinState struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
	Bytes  int    `json:"bytes"`
	Error  string `json:"error,omitempty"`
}

func newVersionCommand(a *app) *cobra.Command {
	return withJSON(&cobra.Command{
		Use:   "version",
		Short: "Say which binary this is, and with which plugins",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versionResult{
				Version: a.build.Version, Revision: a.build.Revision, Go: runtime.Version(),
				Platform: runtime.GOOS + "/" + runtime.GOARCH, ABI: abi.Version, Builtins: builtins(),
			}
			return a.answer(cmd, "penstock "+v.Version, v, v.print)
		},
	})
}

func (v versionResult) print(t *terminal) {
	t.printf("penstock %s\n", t.paint(bold, v.Version))
	rows := [][]string{
		{"revision", v.Revision},
		{"go", v.Go + ", " + v.Platform},
		{"plugin ABI", number(v.ABI)},
	}
	for _, b := range v.Builtins {
		what := "not there: " + b.Error
		if b.Error == "" {
			what = "sha256 " + b.Digest[:shownRevision] + "…, " + size(uint64(b.Bytes))
		}
		rows = append(rows, []string{"builtin " + b.Name, what})
	}
	t.table(rows)
}

func builtins() []builtinState {
	list := []builtinState{}
	for _, name := range bundle.Names() {
		code, err := bundle.Module(name)
		if err != nil {
			list = append(list, builtinState{Name: name, Error: err.Error()})
			continue
		}
		list = append(list, builtinState{Name: name, Digest: bundle.Digest(name, code), Bytes: len(code)})
	}
	return list
}
