// SPDX-License-Identifier: Apache-2.0

// Package skeleton holds what a new plugin begins with, in each language: a small plugin of each kind with its manifest and its test, and the SDK, so
// that it builds without a network. `make plugins` puts the SDK here; a tree in which that has not been done still builds, and what needs it then says so.
package skeleton

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"text/template"

	"github.com/penstock-io/penstock/spec/abi"
)

// What is the same in all languages is below template/kind, the rest below template/lang.
//
//go:embed all:template all:_sdk
var files embed.FS

// places says where in a new plugin the SDK of a language goes.
var places = map[string]string{"go": "vendor", "c": ".", "rust": "penstock", "zig": ".", "assemblyscript": ".", "python": "penstock"}

// Languages lists the languages that there are templates for, sorted.
func Languages() (names []string) {
	list, err := files.ReadDir("template/lang")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// Kinds lists the kinds of plugin that there is a template for in a language.
func Kinds(language string) (kinds []abi.Kind) {
	for _, k := range []abi.Kind{abi.Source, abi.Processor, abi.Sink} {
		if _, err := fs.Stat(files, path.Join("template/lang", language, string(k))); err == nil {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// Runtimes lists what a plugin in a language can be built for, what is usual first.
func Runtimes(language string) []string {
	switch language {
	case "go":
		return []string{abi.RuntimeWasm, abi.RuntimeSubprocess}
	case "python":
		return []string{abi.RuntimeSubprocess}
	}
	return []string{abi.RuntimeWasm}
}

// Plugin is one to begin.
type Plugin struct {
	Name     string
	Language string
	Kind     abi.Kind
	Runtime  string // one of the language's
}

// Files are those of a new plugin, by relative path.
func Files(p Plugin) (map[string][]byte, error) {
	if !slices.Contains(Kinds(p.Language), p.Kind) || !slices.Contains(Runtimes(p.Language), p.Runtime) {
		return nil, fmt.Errorf("there is no template of a %s in %s for the runtime %s", p.Kind, p.Language, p.Runtime)
	}
	out := map[string][]byte{}
	fill := filling{
		Name: p.Name, Identifier: strings.ReplaceAll(p.Name, "-", "_"),
		Program: p.Runtime == abi.RuntimeSubprocess,
	}
	if p.Language == "go" && fill.Program {
		if err := addChildSDK(out, &fill); err != nil {
			return nil, err
		}
	} else if err := addFolder(out, path.Join("_sdk", p.Language), places[p.Language]); err != nil {
		return nil, err
	}
	for _, dir := range []string{"template/kind", "template/lang/" + p.Language} {
		if err := addTemplates(out, dir, p.Kind, fill); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// filling is what templates are filled in with.
type filling struct {
	Name, Identifier string
	Program          bool
	Modules          []string // "path version": what a program in Go is built with beside the SDK
}

// addTemplates fills in the files of a folder, and all below its folder for the kind.
func addTemplates(out map[string][]byte, root string, kind abi.Kind, fill filling) error {
	return fs.WalkDir(files, root, func(file string, e fs.DirEntry, err error) error {
		switch below := strings.TrimPrefix(strings.TrimPrefix(file, root), "/"); {
		case err != nil:
			return err
		case e.IsDir() && below != "" && !strings.HasPrefix(below+"/", string(kind)+"/"):
			return fs.SkipDir
		case e.IsDir():
			return nil
		default:
			place := strings.TrimSuffix(strings.TrimPrefix(below, string(kind)+"/"), ".tmpl")
			out[place], err = expand(file, fill)
			return err
		}
	})
}

// expand fills in a template.
func expand(file string, fill filling) ([]byte, error) {
	t, err := template.ParseFS(files, file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, fill)
	return b.Bytes(), err
}

// errNotBuilt is what a tree answers in which make has not run.
var errNotBuilt = errors.New("the SDKs are not in this binary: run `make build`")

// addFolder adds the files below a folder of this package, to below place.
func addFolder(out map[string][]byte, root, place string) error {
	err := fs.WalkDir(files, root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := files.ReadFile(file)
		out[path.Join(place, strings.TrimPrefix(file, root+"/"))] = b
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return errNotBuilt
	}
	return err
}

// addChildSDK adds the SDK for programs in Go: a module of its own in the folder penstock, with what serves an agent over gRPC. gRPC itself
// is 15 MB of source: go.mod and go.sum name it, and go build fetches it. A folder vendor would have to hold it.
func addChildSDK(out map[string][]byte, fill *filling) error {
	const place = "penstock"
	err := addFolder(out, "_sdk/go/github.com/penstock-io/penstock", place)
	if err == nil {
		err = addFolder(out, "_sdk/child", place) // its child.go takes the place of that which serves nobody
	}
	if err != nil {
		return err
	}
	list, sum := path.Join(place, "modules.txt"), path.Join(place, "go.sum")
	fill.Modules = strings.Split(strings.TrimSpace(string(out[list])), "\n")
	out["go.sum"] = out[sum]
	delete(out, list)
	delete(out, sum)
	out[path.Join(place, "go.mod")], err = expand("template/child/go.mod.tmpl", *fill)
	return err
}
