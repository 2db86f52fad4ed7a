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

// programs are the languages whose plugins are programs, and not modules for WebAssembly.
var programs = []string{"python"}

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

// Files are those of a new plugin, by relative path.
func Files(language string, kind abi.Kind, name string) (map[string][]byte, error) {
	if !slices.Contains(Kinds(language), kind) {
		return nil, fmt.Errorf("there is no template of a %s in %s", kind, language)
	}
	out := map[string][]byte{}
	for _, dir := range []string{"template/kind", "template/lang/" + language} {
		if err := addTemplates(out, dir, kind, name, slices.Contains(programs, language)); err != nil {
			return nil, err
		}
	}
	return out, addSDK(out, language)
}

// addTemplates fills in the files of a folder, and all below its folder for the kind.
func addTemplates(out map[string][]byte, root string, kind abi.Kind, name string, program bool) error {
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
			out[place], err = expand(file, name, program)
			return err
		}
	})
}

// expand fills in a template.
func expand(file, name string, program bool) ([]byte, error) {
	t, err := template.ParseFS(files, file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		Name, Identifier string
		Program          bool
	}{name, strings.ReplaceAll(name, "-", "_"), program})
	return b.Bytes(), err
}

// errNotBuilt is what a tree answers in which make has not run.
var errNotBuilt = errors.New("the SDKs are not in this binary: run `make build`")

func addSDK(out map[string][]byte, language string) error {
	root := path.Join("_sdk", language)
	err := fs.WalkDir(files, root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := files.ReadFile(file)
		out[path.Join(places[language], strings.TrimPrefix(file, root+"/"))] = b
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return errNotBuilt
	}
	return err
}
