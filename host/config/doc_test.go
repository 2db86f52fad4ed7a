// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const specDir = "../../spec/"

// TestTheReferenceShowsTheTables keeps spec/hcl.md and the code in step: what stands there between markers is made
// from the tables that decode.
func TestTheReferenceShowsTheTables(t *testing.T) {
	parts := map[string]string{"defaults": defaultsTable(), "functions": functionsTable()}
	for _, language := range []struct {
		prefix string
		block
	}{{"", pipelineLanguage}, {"plugin.hcl", pluginLanguage}} {
		tables(language.prefix, language.block, parts)
	}
	for part := range parts { // the same in each
		if strings.HasPrefix(part, "plugin.hcl.sink.") || strings.HasPrefix(part, "plugin.hcl.processor.") {
			delete(parts, part)
		}
	}
	compare(t, specDir+"hcl.md", parts)
}

// TestThePageOnPluginsShowsTheTables does so for what spec/plugins.md says of trials.
func TestThePageOnPluginsShowsTheTables(t *testing.T) {
	all := map[string]string{}
	tables("trial", trialLanguage, all)
	parts := map[string]string{}
	for _, part := range []string{"source", "source.client", "source.request", "processor", "sink", "sink.server", "source.file"} {
		parts["trial."+part] = all["trial."+part]
	}
	compare(t, specDir+"plugins.md", parts)
}

// TestThePageOnTestsShowsTheTables does so for spec/testing.md.
func TestThePageOnTestsShowsTheTables(t *testing.T) {
	all := map[string]string{}
	tables("", testLanguage, all)
	parts := map[string]string{}
	for _, part := range []string{"test", "test.input", "test.sink", "test.expect"} {
		parts[part] = all[part]
	}
	compare(t, specDir+"testing.md", parts)
}

// TestTheListOfCodesShowsTheTable does so for spec/errors.md.
func TestTheListOfCodesShowsTheTable(t *testing.T) {
	var list, texts strings.Builder
	list.WriteString("| code | mistake |\n|---|---|\n")
	for _, c := range Codes() {
		entry := codes[code(c)]
		fmt.Fprintf(&list, "| [%s](#%s) | %s |\n", c, strings.ToLower(c), entry.title)
		fmt.Fprintf(&texts, "### %s\n\n**%s.** %s\n\n", c, entry.title, fenced(strings.TrimSpace(entry.text)))
	}
	compare(t, specDir+"errors.md", map[string]string{"codes": list.String(), "texts": strings.TrimSuffix(texts.String(), "\n")})
}

// fenced names the language of indented code, which Markdown would not colour.
func fenced(text string) string {
	var s strings.Builder
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case indented && !inside:
			s.WriteString("```hcl\n")
			inside = true
		case !indented && line != "" && inside:
			text := strings.TrimRight(s.String(), "\n")
			s.Reset()
			s.WriteString(text + "\n```\n\n")
			inside = false
		}
		s.WriteString(code + "\n")
	}
	text = strings.TrimRight(s.String(), "\n")
	if inside {
		text += "\n```"
	}
	return text
}

// tables makes the part of each block, under its path, such as "sink.batch".
func tables(path string, b block, parts map[string]string) {
	if path == "" {
		parts["blocks"] = overview(b)
	} else {
		parts[path] = table(b)
	}
	for _, inner := range b.blocks {
		tables(strings.TrimPrefix(path+"."+inner.name, "."), inner, parts)
	}
}

func functionsTable() string {
	var s strings.Builder
	s.WriteString("| function | what it comes to |\n|---|---|\n")
	for _, f := range functionTable {
		fmt.Fprintf(&s, "| `%s` | %s |\n", f.shown(), f.doc)
	}
	fmt.Fprintf(&s, "| `file(path)` | The text of a file that lies beside the configuration, or below it. |\n")
	return s.String()
}

func overview(b block) string {
	var s strings.Builder
	s.WriteString("| block | what it is |\n|---|---|\n")
	for _, inner := range b.blocks {
		fmt.Fprintf(&s, "| [`%s`](#%s) | %s |\n", header(inner), inner.name, inner.doc)
	}
	return s.String()
}

func header(b block) string {
	s := b.name
	for _, l := range b.labels {
		s += fmt.Sprintf(" %q", strings.ToUpper(l))
	}
	return s
}

func table(b block) string {
	var s strings.Builder
	if b.name != "" {
		fmt.Fprintf(&s, "`%s` — %s\n", header(b), b.doc)
	}
	if len(b.args) > 0 {
		s.WriteString("\n| argument | type | default | meaning |\n|---|---|---|---|\n")
		for _, a := range b.args {
			fmt.Fprintf(&s, "| `%s` | %s | %s | %s |\n", a.Name, a.Type, a.defaultText(), a.Doc+a.rulesText())
		}
	}
	for _, inner := range b.blocks {
		fmt.Fprintf(&s, "\nBlock `%s`: %s\n", header(inner), inner.doc)
	}
	return s.String()
}

func (a argument) defaultText() string {
	switch {
	case a.Required:
		return "**required**"
	case a.shown != "":
		return a.shown
	case len(a.Default) == 0:
		return "–"
	}
	text := strings.Trim(string(a.Default), `"`)
	if a.typ.form == formString || a.typ.form == formDuration || a.typ.form == formSize {
		text = `"` + text + `"`
	}
	return "`" + text + "`"
}

func (a argument) rulesText() string {
	leaf := a.typ.leaf()
	var s strings.Builder
	if len(a.Enum) > 0 {
		s.WriteString(" One of " + oneOf(a.Enum) + ".")
	}
	switch {
	case a.Min != nil && *a.Min != 0 && a.Max != nil:
		fmt.Fprintf(&s, " From %s to %s.", leaf.amount(*a.Min), leaf.amount(*a.Max))
	case a.Max != nil && *a.Max < 1<<60:
		fmt.Fprintf(&s, " At most %s.", leaf.amount(*a.Max))
	case a.Min != nil && *a.Min != 0:
		fmt.Fprintf(&s, " At least %s.", leaf.amount(*a.Min))
	}
	return s.String()
}

// defaultsTable lists every default there is.
func defaultsTable() string {
	var s strings.Builder
	s.WriteString("| what | default |\n|---|---|\n")
	var walk func(path string, b block)
	walk = func(path string, b block) {
		for _, a := range b.args {
			if text := a.defaultText(); text != "–" && !a.Required {
				fmt.Fprintf(&s, "| `%s%s` | %s |\n", path, a.Name, text)
			}
		}
		for _, inner := range b.blocks {
			walk(path+inner.name+".", inner)
		}
	}
	walk("", pipelineLanguage)
	return s.String()
}

// compare holds the parts of a file, between <!-- NAME --> and <!-- end -->, against what they should be.
func compare(t *testing.T, name string, parts map[string]string) {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	out := regexp.MustCompile(`(?s)<!-- ([a-z_.]+) -->\n.*?<!-- end -->`).ReplaceAllStringFunc(string(src), func(old string) string {
		part := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(old, "\n", 2)[0], "<!-- "), " -->")
		text, known := parts[part]
		if !known {
			t.Errorf("%s shows %q, which there is not", name, part)
		}
		found[part] = true
		return "<!-- " + part + " -->\n" + text + "<!-- end -->"
	})
	for part := range parts {
		if !found[part] {
			t.Errorf("%s lacks %q: write <!-- %s --> and <!-- end -->", name, part, part)
		}
	}
	switch {
	case out == string(src):
	case *update:
		if err := os.WriteFile(name, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the code says; run: go test ./host/config -update", name)
	}
}
