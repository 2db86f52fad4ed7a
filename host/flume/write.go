// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// commentWidth is where comments are wrapped.
const commentWidth = 110

// block is one block of the file to be.
type block struct {
	kind   string
	labels []string
	args   []arg
	blocks []*block
	off    bool // it stands in a comment
}

type arg struct{ name, value string } // value as it is written

// set adds an argument; v is a string, a list or map of strings, a bool or an int64.
func (b *block) set(name string, v any) {
	b.args = append(b.args, arg{name, string(hclwrite.TokensForValue(ctyOf(v)).Bytes())})
}

// refer adds an argument whose value is a reference, or a list of such.
func (b *block) refer(name, reference string) { b.args = append(b.args, arg{name, reference}) }

// within returns the nested block of that kind, made where it is not there.
func (b *block) within(kind string) *block {
	for _, inner := range b.blocks {
		if inner.kind == kind {
			return inner
		}
	}
	inner := &block{kind: kind}
	b.blocks = append(b.blocks, inner)
	return inner
}

// config sets an argument of the plugin.
func (b *block) config(name string, v any) { b.within("config").set(name, v) }

// address is how a block of a component is referred to.
func (b *block) address() string { return b.kind + "." + b.labels[len(b.labels)-1] }

// copyAs returns the block under another name.
func (b *block) copyAs(name string) *block {
	c := *b
	c.labels = append(slices.Clone(b.labels[:len(b.labels)-1]), name)
	c.args = slices.Clone(b.args)
	return &c
}

func ctyOf(v any) cty.Value {
	switch v := v.(type) {
	case string:
		return cty.StringVal(v)
	case bool:
		return cty.BoolVal(v)
	case int64:
		return cty.NumberIntVal(v)
	case []string:
		list := make([]cty.Value, len(v))
		for i, s := range v {
			list[i] = cty.StringVal(s)
		}
		return cty.TupleVal(list)
	case map[string]string:
		object := map[string]cty.Value{}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			object[k] = cty.StringVal(v[k])
		}
		return cty.ObjectVal(object)
	}
	panic(fmt.Sprintf("BUG: no value of a pipeline file: %T", v))
}

// lines writes the block, without its notes.
func (b *block) lines(depth int) []string {
	indent := strings.Repeat("  ", depth)
	head := indent + b.kind
	for _, l := range b.labels {
		head += " " + string(hclwrite.TokensForValue(cty.StringVal(l)).Bytes())
	}
	if len(b.args) == 0 && len(b.blocks) == 0 {
		return []string{head + " {}"}
	}
	out := []string{head + " {"}
	for _, a := range b.args {
		out = append(out, indent+"  "+a.name+" = "+a.value)
	}
	for _, inner := range b.blocks {
		out = append(out, inner.lines(depth+1)...)
	}
	return append(out, indent+"}")
}

// written is the block with the notes of its part over it.
func written(b *block) string {
	lines := b.lines(0)
	if b.off {
		// Laid out before it becomes a comment, which fmt leaves alone.
		lines = strings.Split(string(hclwrite.Format([]byte(strings.Join(lines, "\n")))), "\n")
		for i := range lines {
			lines[i] = strings.TrimRight("# "+lines[i], " ")
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// remarks writes the notes of a part as comments.
func remarks(p *Part) string {
	var s strings.Builder
	for _, n := range p.Notes {
		text := n.Text
		if n.Property != "" {
			text = n.Property + ": " + text
		}
		switch n.Status {
		case Missing:
			text = "TODO " + text
		case Differs:
			text = "NOTE " + text
		}
		s.WriteString(comment(text))
	}
	return s.String()
}

// comment wraps text into lines of a comment.
func comment(text string) string {
	var s strings.Builder
	line := "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth && line != "#" {
			s.WriteString(line + "\n")
			line = "#  "
		}
		line += " " + word
	}
	s.WriteString(line + "\n")
	return s.String()
}

// validName makes a name of Flume's one of ours.
func validName(name string) string {
	valid := strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
	if valid == "" || !hclsyntax.ValidIdentifier(valid[:1]) && valid[0] != '_' {
		valid = "_" + valid
	}
	return valid[:min(len(valid), mostName)]
}

// mostName is the longest name that a pipeline file may have.
const mostName = 64
