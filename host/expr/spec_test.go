// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/spec/event"
)

const specFile = "../../spec/expressions.md"

// TestTheResultsInTheSpec asks what stands in the tables of spec/expressions.md of the event that stands there.
func TestTheResultsInTheSpec(t *testing.T) {
	text := read(t)
	ev := specEvent(t, text)
	rows := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.*) \\|$")
	asked := 0
	for _, part := range strings.Split(text, "<!-- results -->\n")[1:] {
		table, _, _ := strings.Cut(part, "\n\n")
		for _, row := range rows.FindAllStringSubmatch(table, -1) {
			asked++
			source, want := strings.ReplaceAll(row[1], `\|`, "|"), row[2]
			if got := result(t, source, ev); got != want {
				t.Errorf("%s comes to %s; the spec says %s", source, got, want)
			}
		}
	}
	if asked < 40 {
		t.Errorf("only %d rows found", asked)
	}
}

func read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func specEvent(t *testing.T, text string) *event.Event {
	t.Helper()
	_, rest, found := strings.Cut(text, "```json event\n")
	source, _, _ := strings.Cut(rest, "```")
	var in struct {
		Time       int64
		Attributes map[string]string
		Body       string
	}
	if err := json.Unmarshal([]byte(source), &in); err != nil || !found {
		t.Fatalf("the event of %s: %v", specFile, err)
	}
	ev := &event.Event{Time: in.Time, Body: []byte(in.Body)}
	for _, k := range slices.Sorted(maps.Keys(in.Attributes)) {
		ev.Attributes = append(ev.Attributes, event.Attribute{Key: k, Value: []byte(in.Attributes[k])})
	}
	return ev
}

// result is what an expression comes to, as the spec writes it.
func result(t *testing.T, source string, ev *event.Event) string {
	t.Helper()
	x, diags := hclsyntax.ParseExpression([]byte(source), "x.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatalf("%s: %v", source, diags)
	}
	c := compiler{places: []hcl.Range{x.Range()}, mentions: mentions(x)}
	o := c.node(x)
	if c.diags.HasErrors() {
		return "refused"
	}
	m := &vm{event: ev}
	v := o.run(m)
	switch v.kind {
	case failed:
		return "fails"
	case text:
		return strconv.Quote(v.s)
	case raw, list, object:
		return "refused" // as the whole of an expression
	}
	s, _ := appendText(nil, v)
	return string(s)
}

func TestTheSpecListsTheFunctions(t *testing.T) {
	_, rest, _ := strings.Cut(read(t), "<!-- functions -->\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	var got []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+)\\(").FindAllStringSubmatch(table, -1) {
		got = append(got, row[1])
	}
	if !slices.Equal(got, Functions()) {
		t.Errorf("the spec lists %v, there are %v", got, Functions())
	}
}

func TestTheSpecListsWhatAnEventHas(t *testing.T) {
	_, rest, _ := strings.Cut(read(t), "## 1. What an event has\n")
	table, _, _ := strings.Cut(rest, "<!-- results -->")
	for _, f := range Fields() {
		if !strings.Contains(table, "\n| `event."+f.Name) {
			t.Errorf("%s does not list event.%s", specFile, f.Name)
		}
		if text := result(t, "event."+f.Name+" == null", specEvent(t, read(t))); f.Name != "attributes" && text != "false" {
			t.Errorf("event.%s: %s", f.Name, text)
		}
	}
	if n := strings.Count(table, "\n| `event."); n != len(Fields()) {
		t.Errorf("%s lists %d parts, there are %d", specFile, n, len(Fields()))
	}
}

func TestTheSpecSaysTheBounds(t *testing.T) {
	text := read(t)
	for _, want := range []string{
		fmt.Sprintf("| parts of an expression | %d |", maxNodes),
		fmt.Sprintf("| pattern | %d KiB |", maxPattern>>10),
		fmt.Sprintf("| depth of JSON | %d |", maxDepth),
		fmt.Sprintf("| text that one event makes | %d MiB |", maxText>>20),
		fmt.Sprintf("makes | %d %d |", maxElements/1000, maxElements%1000),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q", specFile, want)
		}
	}
}
