// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
)

// blockKind is what stands for the blocks of the language, in the place of a kind of plugin.
const blockKind = "block"

// printBlocks shows the blocks of the language, or the one of that name.
func (a *app) printBlocks(cmd *cobra.Command, f schemaFlags, name string) error {
	blocks := config.Blocks()
	var names []string
	for _, b := range blocks {
		names = append(names, b.Name)
	}
	if i := slices.Index(names, name); i >= 0 {
		blocks = blocks[i : i+1]
	} else if name != "" {
		return wrongUse("There are: "+strings.Join(names, ", "), "there is no block %q", name)
	}
	switch {
	case f.jsonSchema:
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(fileSchema(blocks))
	case f.md:
		for _, b := range blocks {
			blockMarkdown(a.out, b, "##")
		}
		return nil
	}
	return a.answer(cmd, plural(len(blocks), "block"), blocks, func(t *terminal) {
		if name != "" {
			printBlock(t, blocks[0], "")
			return
		}
		rows := make([][]string, 0, len(blocks))
		for _, b := range blocks {
			rows = append(rows, []string{blockHeader(b), firstSentence(b.Doc)})
		}
		t.table(rows)
		t.printf("\nArguments: penstock schema block %s\n", blocks[len(blocks)-1].Name)
	})
}

// blockHeader is how a block begins: source "PLUGIN" "NAME".
func blockHeader(b config.Block) string {
	s := b.Name
	for _, l := range b.Labels {
		s += fmt.Sprintf(" %q", strings.ToUpper(l))
	}
	return s
}

// printBlock shows a block to a person, with those in it.
func printBlock(t *terminal, b config.Block, indent string) {
	t.printf("%s%s {\n%s\n", indent, t.paint(bold, blockHeader(b)), wrap(b.Doc, t.width, indent+"  # "))
	for _, arg := range b.Arguments {
		line := fmt.Sprintf("%s  %s = %s", indent, t.paint(bold, arg.Name), arg.Type)
		if r := rules(arg); r != "" {
			line += "   " + t.paint(dim, r)
		}
		t.printf("%s\n%s\n", line, wrap(arg.Doc, t.width, indent+"      "))
	}
	for _, inner := range b.Blocks {
		printBlock(t, inner, indent+"  ")
	}
	t.printf("%s}\n", indent)
}

func blockMarkdown(t *terminal, b config.Block, level string) {
	t.printf("%s `%s`\n\n%s\n\n", level, blockHeader(b), b.Doc)
	if len(b.Arguments) > 0 {
		t.printf("| argument | type | rules | meaning |\n|---|---|---|---|\n")
		for _, arg := range b.Arguments {
			t.printf("| `%s` | `%s` | %s | %s |\n", arg.Name, arg.Type, cell(rules(arg)), cell(arg.Doc))
		}
		t.printf("\n")
	}
	for _, inner := range b.Blocks {
		blockMarkdown(t, inner, level+"#")
	}
}

// fileSchema describes a pipeline file in its JSON form, in JSON Schema 2020-12.
func fileSchema(blocks []config.Block) map[string]any {
	s := bodySchema(config.Block{Blocks: blocks})
	s["$schema"], s["title"] = "https://json-schema.org/draft/2020-12/schema", "A pipeline file of Penstock (.hcl.json)"
	return s
}

// bodySchema is what stands in a block: arguments, any of which may be a template, and blocks, each within an object for each of its labels.
func bodySchema(b config.Block) map[string]any {
	if b.Free {
		return map[string]any{"type": "object", "description": b.Doc}
	}
	properties, required := map[string]any{}, []string{}
	for _, arg := range b.Arguments {
		properties[arg.Name] = templated(argumentSchema(arg))
		if arg.Required {
			required = append(required, arg.Name)
		}
	}
	for _, inner := range b.Blocks {
		properties[inner.Name] = labelled(bodySchema(inner), inner)
	}
	s := map[string]any{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
	if b.Doc != "" {
		s["description"] = b.Doc
	}
	return s
}

// templated lets a string with an expression in it stand for a value.
func templated(s map[string]any) map[string]any {
	if s["type"] == nil || s["type"] == "string" && s["enum"] == nil && s["pattern"] == nil {
		return s
	}
	out := map[string]any{"anyOf": []any{s, map[string]any{"type": "string", "pattern": `\$\{`}}}
	if doc := s["description"]; doc != nil {
		out["description"] = doc
		delete(s, "description")
	}
	return out
}

func labelled(body map[string]any, b config.Block) map[string]any {
	s := body
	if !b.Once || len(b.Labels) > 0 {
		s = map[string]any{"anyOf": []any{body, map[string]any{"type": "array", "items": body}}}
	}
	for range b.Labels {
		s = map[string]any{"type": "object", "additionalProperties": s}
	}
	return s
}
