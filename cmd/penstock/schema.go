// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/plugins/bundle"
	"github.com/penstock-io/penstock/spec/abi"
)

// moduleManifest is a module with what it holds.
type moduleManifest struct {
	source   string
	manifest abi.Manifest
}

// schemaFlags say of what, and in which form.
type schemaFlags struct {
	module         string
	jsonSchema, md bool
}

func newSchemaCommand(a *app) *cobra.Command {
	var f schemaFlags
	cmd := &cobra.Command{
		Use:   "schema [KIND] [NAME]",
		Short: "List the plugins there are, or the arguments of one or of a block",
		Long: `List the plugins there are, or the arguments of one: what stands in its config block, with types, defaults and bounds.

Plugins that come with the binary are looked at, or those of --module. KIND is "source", "processor" or "sink"; with "block", the blocks of the
language are shown, and with --json-schema, what a whole pipeline file in JSON (.hcl.json) may hold.`,
		Example: `  penstock schema
  penstock schema source file
  penstock schema sink --md > sinks.md
  penstock schema block channel
  penstock schema source parse --module ./parse.wasm --json-schema`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == blockKind {
				return a.printBlocks(cmd, f, strings.Join(args[1:], ""))
			}
			kind, name, err := schemaArgs(args)
			if err != nil {
				return err
			}
			plugins, err := findPlugins(f.module, kind, name)
			if err != nil {
				return err
			}
			return a.printSchema(cmd, f, plugins, name != "")
		},
		ValidArgsFunction: completePlugins,
	}
	cmd.Flags().StringVar(&f.module, "module", "", "a .wasm file, or builtin:NAME, in place of all that come with the binary")
	cmd.Flags().BoolVar(&f.jsonSchema, "json-schema", false, "print the arguments as JSON Schema, for editors")
	cmd.Flags().BoolVar(&f.md, "md", false, "print the reference as Markdown")
	cmd.MarkFlagsMutuallyExclusive("json-schema", "md")
	return withJSON(cmd)
}

// schemaArgs tells "source file" from "source" and "file".
func schemaArgs(args []string) (kind abi.Kind, name string, err error) {
	kinds := []abi.Kind{abi.Source, abi.Processor, abi.Sink}
	for _, k := range kinds {
		if len(args) > 0 && args[0] == string(k) {
			return k, strings.Join(args[1:], ""), nil
		}
	}
	if len(args) == 2 {
		return "", "", wrongUse("", "%q is no kind of plugin; it is source, processor, sink or block", args[0])
	}
	return "", strings.Join(args, ""), nil
}

// described is a plugin with the module that it is in.
type described struct {
	Module string `json:"module"`
	abi.Plugin
}

// findPlugins lists the plugins of that kind and name, "" being any, in the order of their manifests.
func findPlugins(module string, kind abi.Kind, name string) ([]described, error) {
	modules, err := manifests(module)
	if err != nil {
		return nil, err
	}
	var found []described
	var all []string
	for _, m := range modules {
		for _, p := range m.manifest.Plugins {
			all = append(all, string(p.Kind)+" "+p.Name)
			if (kind == "" || p.Kind == kind) && (name == "" || p.Name == name) {
				found = append(found, described{m.source, p})
			}
		}
	}
	if len(found) == 0 {
		what := strings.TrimSpace(string(kind) + " " + name)
		return nil, wrongUse("There are: "+strings.Join(all, ", ")+"\nFor a module of your own: --module ./x.wasm", "there is no plugin %q", what)
	}
	return found, nil
}

// manifests reads one module, or all that come with the binary: first those that most pipelines are made of.
func manifests(module string) ([]moduleManifest, error) {
	sources := []string{module}
	if module == "" {
		sources = nil
		names := newModules().Names()
		slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(bundled(b), bundled(a)) })
		for _, name := range names {
			sources = append(sources, builtinScheme+name)
		}
	}
	var list []moduleManifest
	for _, source := range sources {
		m, err := inspectModule(source)
		if err != nil {
			return nil, err
		}
		list = append(list, moduleManifest{source, m.Manifest})
	}
	return list, nil
}

// bundled is 1 for the builtin modules that are WebAssembly.
func bundled(name string) int {
	if slices.Contains(bundle.Names(), name) {
		return 1
	}
	return 0
}

func completePlugins(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []string{"source", "processor", "sink", blockKind}, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	if args[0] == blockKind {
		for _, b := range config.Blocks() {
			names = append(names, b.Name+"\t"+firstSentence(b.Doc))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	found, err := findPlugins("", abi.Kind(args[0]), "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	for _, p := range found {
		names = append(names, p.Name+"\t"+firstSentence(p.Doc))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) printSchema(cmd *cobra.Command, f schemaFlags, plugins []described, named bool) error {
	switch {
	case f.jsonSchema:
		return a.printJSONSchema(plugins)
	case f.md:
		for _, p := range plugins {
			p.markdown(a.out)
		}
		return nil
	}
	return a.answer(cmd, plural(len(plugins), "plugin"), plugins, func(t *terminal) {
		if named {
			for _, p := range plugins {
				p.print(t)
			}
			return
		}
		rows := make([][]string, 0, len(plugins))
		for _, p := range plugins {
			rows = append(rows, []string{string(p.Kind), p.Name, p.Module, firstSentence(p.Doc)})
		}
		t.table(rows)
		t.printf("\nArguments: penstock schema %s %s\n", plugins[0].Kind, plugins[0].Name)
	})
}

// printJSONSchema prints the schema of the one plugin, or an object with the schema of each.
func (a *app) printJSONSchema(plugins []described) error {
	var out any
	if len(plugins) == 1 {
		out = jsonSchema(plugins[0].Plugin)
	} else {
		each := map[string]any{}
		for _, p := range plugins {
			each[string(p.Kind)+"."+p.Name] = jsonSchema(p.Plugin)
		}
		out = each
	}
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}

// print shows one plugin to a person.
func (p described) print(t *terminal) {
	t.printf("%s  %s  %s\n", t.paint(bold, string(p.Kind)+" "+fmt.Sprintf("%q", p.Name)), p.Module, claims(p.Plugin))
	if p.Doc != "" {
		t.printf("\n%s\n", wrap(p.Doc, t.width, ""))
	}
	if len(p.Arguments) > 0 {
		t.printf("\nconfig {\n")
		for _, arg := range p.Arguments {
			line := fmt.Sprintf("  %s = %s", t.paint(bold, arg.Name), arg.Type)
			if r := rules(arg); r != "" {
				line += "   " + t.paint(dim, r)
			}
			t.printf("%s\n", line)
			if arg.Doc != "" {
				t.printf("%s\n", wrap(arg.Doc, t.width, "      "))
			}
		}
		t.printf("}\n")
	}
	for _, n := range p.Needs {
		t.printf("needs %s\n", needText(n))
	}
	t.printf("\n")
}

// markdown writes one plugin's section of a reference.
func (p described) markdown(t *terminal) {
	t.printf("## %s `%s`\n\n", p.Kind, p.Name)
	if p.Doc != "" {
		t.printf("%s\n\n", p.Doc)
	}
	if len(p.Arguments) > 0 {
		t.printf("| argument | type | rules | meaning |\n|---|---|---|---|\n")
		for _, arg := range p.Arguments {
			t.printf("| `%s` | `%s` | %s | %s |\n", arg.Name, arg.Type, cell(rules(arg)), cell(arg.Doc))
		}
		t.printf("\n")
	}
	for _, n := range p.Needs {
		t.printf("Needs `%s`.\n\n", needText(n))
	}
}

// cell makes text fit one cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text)
}

// rules says what holds for an argument beside its type.
func rules(arg abi.Argument) string {
	var parts []string
	if arg.Required {
		parts = append(parts, "required")
	}
	if len(arg.Default) > 0 {
		parts = append(parts, "default "+string(arg.Default))
	}
	if len(arg.Enum) > 0 {
		parts = append(parts, "one of "+strings.Join(arg.Enum, ", "))
	}
	if arg.Pattern != "" {
		parts = append(parts, "matches "+arg.Pattern)
	}
	if arg.Min != nil {
		parts = append(parts, "at least "+amount(arg.Type, *arg.Min))
	}
	if arg.Max != nil {
		parts = append(parts, "at most "+amount(arg.Type, *arg.Max))
	}
	if arg.Sensitive {
		parts = append(parts, "never shown")
	}
	if arg.Deprecated != "" {
		parts = append(parts, "deprecated: "+arg.Deprecated)
	}
	return strings.Join(parts, ", ")
}

// wrap breaks text into lines of at most width, each with the indent.
func wrap(text string, width int, indent string) string {
	var out strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && line != indent {
			out.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	out.WriteString(line)
	return out.String()
}
