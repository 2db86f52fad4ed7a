// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
)

// loaded is a configuration that has no errors, with what it was checked against.
type loaded struct {
	config  *config.Config
	modules *agent.Modules
	sources *config.Sources
	diags   hcl.Diagnostics // warnings
	took    time.Duration
}

// load reads the pipeline files at path. Mistakes in them come as a fault that shows them all.
func (a *app) load(path string) (loaded, error) { return a.loadIn(path, "") }

// here is load of this directory's pipeline files, read once: some commands ask them for each channel that they come by.
func (a *app) here() (loaded, error) {
	if a.loadedHere == nil {
		a.loadedHere = sync.OnceValues(func() (loaded, error) { return a.load(".") })
	}
	return a.loadedHere()
}

// loadIn does so with relative paths of data taken from dir; "" is the working directory.
func (a *app) loadIn(path, dir string) (loaded, error) {
	start := time.Now()
	l := loaded{modules: newModules()}
	l.modules.Look = a.look
	opts := l.modules.ConfigOptions(dir)
	opts.Version, opts.Variables = a.build.Version, a.variables
	percent := debug.SetGCPercent(startGC)
	l.config, l.sources, l.diags = config.Load(path, opts)
	debug.SetGCPercent(percent)
	l.took = time.Since(start)
	if l.config == nil {
		return l, a.mistakes(l)
	}
	return l, nil
}

// mistakes is the fault of a configuration with errors.
func (a *app) mistakes(l loaded) error {
	f := &fault{err: errors.New("there are mistakes"), exit: exitUsage, result: diagnosticsOf(l)}
	for _, d := range config.DiagnosticsJSON(l.diags, l.sources) {
		if d.Severity == "error" { // the first stands for all
			f.err, f.code, f.at = fmt.Errorf("%s: %s", d.Summary, d.Detail), d.Code, &d.Range
			f.hint = "See: penstock explain " + d.Code
			break
		}
	}
	f.show = func() { a.showDiagnostics(l) }
	return f
}

// showDiagnostics prints errors and warnings with the lines that they are about, and counts them.
func (a *app) showDiagnostics(l loaded) {
	if len(l.diags) == 0 {
		return
	}
	config.WriteDiagnostics(a.err, l.diags, l.sources, a.err.color, a.err.width)
	errs, warnings := countDiagnostics(l.diags)
	what := plural(errs, "error")
	switch {
	case errs == 0:
		what = plural(warnings, "warning")
	case warnings > 0:
		what += " and " + plural(warnings, "warning")
	}
	if n := len(l.sources.Names()); n > 0 {
		what += " in " + plural(n, "file")
	}
	a.err.printf("\n%s (%s, nothing was run)\n", what, span(l.took))
}

func countDiagnostics(diags hcl.Diagnostics) (errs, warnings int) {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			errs++
		}
	}
	return errs, len(diags) - errs
}

// diagnostics are the mistakes of a configuration in JSON, in the form of `terraform validate -json`, with the files and codes beside.
type diagnostics struct {
	FormatVersion string                  `json:"format_version"`
	Valid         bool                    `json:"valid"`
	Errors        int                     `json:"error_count"`
	Warnings      int                     `json:"warning_count"`
	Files         []string                `json:"files"`
	Diagnostics   []config.JSONDiagnostic `json:"diagnostics"`
}

func diagnosticsOf(l loaded) diagnostics {
	errs, warnings := countDiagnostics(l.diags)
	return diagnostics{"1.0", errs == 0, errs, warnings, l.sources.Names(), config.DiagnosticsJSON(l.diags, l.sources)}
}

// printAnnotations writes diagnostics as commands of a workflow of GitHub, which shows them at their lines.
func printAnnotations(t *terminal, l loaded) {
	value := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, d := range config.DiagnosticsJSON(l.diags, l.sources) {
		at := ""
		if d.Snippet != nil { // not of a flag, or of a directory
			r := d.Range
			at = fmt.Sprintf("file=%s,line=%d,col=%d,endLine=%d,endColumn=%d,", value.Replace(r.Filename), r.Start.Line, r.Start.Column, r.End.Line, r.End.Column)
		}
		t.printf("::%s %stitle=%s::%s\n", d.Severity, at, value.Replace(d.Code+" "+d.Summary), message.Replace(d.Detail))
	}
}

// isDir says whether path is a directory that is there.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
