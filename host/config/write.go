// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

const (
	defaultWidth = 76  // of what is written, when it is not known
	leastWidth   = 40  // narrower ones only break words
	mostLine     = 120 // runes shown of a line of source: minified JSON has but one
)

// The colours: of the terminal's own palette, so that they can be read on any background.
const (
	red, yellow, bold, reset = "\x1b[31;1m", "\x1b[33;1m", "\x1b[1m", "\x1b[0m"
)

// WriteDiagnostics writes diagnostics for people: what, where, the line with a caret under it, and what to do. width is
// that of the terminal; 0 = not known. s may be nil.
func WriteDiagnostics(w io.Writer, diags hcl.Diagnostics, s *Sources, color bool, width int) {
	if width == 0 {
		width = defaultWidth
	}
	p := printer{sources: s, color: color, width: max(width, leastWidth)}
	for i, d := range diags {
		if i > 0 {
			p.out.WriteByte('\n')
		}
		p.diagnostic(d)
	}
	_, _ = w.Write(p.out.Bytes()) // as with fmt.Fprint to a terminal, there is nobody left to tell
}

type printer struct {
	out     bytes.Buffer
	sources *Sources
	color   bool
	width   int
}

func (p *printer) paint(color, s string) string {
	if !p.color {
		return s
	}
	return color + s + reset
}

func (p *printer) diagnostic(d *hcl.Diagnostic) {
	word, color := "Error", red
	if d.Severity == hcl.DiagWarning {
		word, color = "Warning", yellow
	}
	code := ""
	if c := CodeOf(d); c != "" {
		code = "[" + c + "]"
	}
	head := word + ": " + d.Summary
	gap := max(1, min(p.width, defaultWidth)-utf8.RuneCountInString(head)-len(code))
	fmt.Fprintf(&p.out, "%s: %s%s%s\n\n", p.paint(color, word), p.paint(bold, d.Summary), strings.Repeat(" ", gap), code)
	if d.Subject != nil {
		p.place(*d.Subject)
		p.snippet(*d.Subject)
	}
	p.detail(d.Detail)
}

// place writes "on agent.hcl line 61, column 5, in sink "postgres" "orders":".
func (p *printer) place(r hcl.Range) {
	if p.sources.Bytes(r.Filename) == nil {
		return // the detail names what could not be read
	}
	fmt.Fprintf(&p.out, "  on %s line %d, column %d", printable(r.Filename), r.Start.Line, r.Start.Column)
	if block := p.sources.blockAt(r); block != "" {
		fmt.Fprintf(&p.out, ", in %s", printable(block))
	}
	p.out.WriteString(":\n")
}

// blockAt names the block that the range is in.
func (s *Sources) blockAt(r hcl.Range) string {
	nav, ok := s.file(r.Filename).Nav.(interface{ ContextString(offset int) string })
	if !ok {
		return ""
	}
	return nav.ContextString(r.Start.Byte)
}

// snippet writes the first line of the range with a caret under it.
func (p *printer) snippet(r hcl.Range) {
	before, within, after, ok := p.sources.line(r)
	if !ok {
		return
	}
	number := fmt.Sprintf("  %d: ", r.Start.Line)
	carets := max(1, width(within))
	fmt.Fprintf(&p.out, "%s%s%s%s\n", number, printable(before), p.paint(bold, printable(within)), printable(after))
	fmt.Fprintf(&p.out, "%s%s%s\n", strings.Repeat(" ", len(number)), blank(before), p.paint(bold, strings.Repeat("^", carets)))
}

// window cuts a long line down to what surrounds the caret.
func window(before, within, after string) (string, string, string) {
	room := mostLine - min(width(within), mostLine)
	if b := []rune(before); len(b) > room/2 {
		before = "…" + string(b[len(b)-room/2:])
	}
	if w := []rune(within); len(w) > mostLine {
		within = string(w[:mostLine])
	}
	if a := []rune(after); len(a) > room/2 {
		after = string(a[:room/2]) + "…"
	}
	return before, within, after
}

// width is how many columns a text takes. Wide characters count as one: a caret that is off is better than a table of them.
func width(s string) (n int) {
	for _, r := range s {
		if !unicode.Is(unicode.Mn, r) {
			n++
		}
	}
	return n
}

// blank is as wide as a text, with its tabs kept.
func blank(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return '\t'
		case unicode.Is(unicode.Mn, r):
			return -1
		}
		return ' '
	}, s)
}

// printable keeps a file from steering the terminal that shows it.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r >= ' ' && r != 0x7f && !unicode.Is(unicode.C, r) {
			return r
		}
		return utf8.RuneError
	}, s)
}

// detail writes the text, filled to the width. Indented lines are code to copy, and stay as they are.
func (p *printer) detail(text string) {
	const indent = "  "
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, " ") || line == "" {
			fmt.Fprintf(&p.out, "%s\n", strings.TrimRight(indent+printable(line), " "))
			continue
		}
		at := 0
		for word := range strings.FieldsSeq(line) {
			word = printable(word)
			switch n := width(word); {
			case at == 0:
				p.out.WriteString(indent + word)
				at = len(indent) + n
			case at+1+n > p.width:
				p.out.WriteString("\n" + indent + word)
				at = len(indent) + n
			default:
				p.out.WriteString(" " + word)
				at += 1 + n
			}
		}
		p.out.WriteByte('\n')
	}
}
