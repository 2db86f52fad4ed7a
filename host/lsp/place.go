// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/host/config"
)

// frame is a block that is open at a place.
type frame struct {
	name   string // "" is an object
	labels []string
	args   []string // that stand in it before the place
}

// place is what a position of a file stands in.
type place struct {
	frames []frame
	line   hclsyntax.Tokens // from the beginning of the argument or the head of the block
	arg    string           // whose value it is; "" = none
}

// caseKind is the kind of the cases of a route, the default too. They are called ROUTE.CASE.
const caseKind = "case"

// declaration is a block, or a local value, that can be referred to.
type declaration struct {
	kind, name string // of a block: its type and last label
	labels     []string
	at         hcl.Range
	texts      map[string]string // arguments that are plain strings
}

// scanner follows the braces of a file. It goes by words and not by the grammar, so that a file that is half typed has places too: whatever is broken
// behind a position does not matter to it, and a block of the language at the margin begins anew, whatever was not closed before it.
type scanner struct {
	place
	depth    int // of brackets and parentheses
	declared []declaration
	roots    []config.Block
}

func scan(src []byte, file string, roots []config.Block) *scanner {
	tokens, _ := hclsyntax.LexConfig(src, file, scanStart) // what is no word is a token too
	s := &scanner{roots: roots}
	for _, t := range tokens {
		s.token(t)
	}
	return s
}

func (s *scanner) token(t hclsyntax.Token) {
	switch t.Type {
	case hclsyntax.TokenComment, hclsyntax.TokenNewline:
		if t.Type == hclsyntax.TokenNewline || len(t.Bytes) > 0 && t.Bytes[len(t.Bytes)-1] == '\n' {
			s.newline()
		}
		return
	case hclsyntax.TokenEOF:
		return
	case hclsyntax.TokenOBrack, hclsyntax.TokenOParen:
		s.depth++
	case hclsyntax.TokenCBrack, hclsyntax.TokenCParen:
		s.depth = max(0, s.depth-1)
	case hclsyntax.TokenOBrace:
		s.open()
		return
	case hclsyntax.TokenCBrace:
		if n := len(s.frames); n > 0 {
			s.frames = s.frames[:n-1]
		}
		s.newline()
		return
	case hclsyntax.TokenIdent:
		if t.Range.Start.Column == 1 && blockOf(s.roots, string(t.Bytes)) != nil {
			s.place, s.depth = place{}, 0
		}
	case hclsyntax.TokenEqual:
		s.equal()
	}
	s.line = append(s.line, t)
	s.plain()
}

func (s *scanner) newline() {
	if s.depth == 0 {
		s.line, s.arg = nil, ""
	}
}

// equal notes an argument.
func (s *scanner) equal() {
	if len(s.line) != 1 || s.line[0].Type != hclsyntax.TokenIdent || len(s.frames) == 0 {
		return
	}
	s.arg = string(s.line[0].Bytes)
	f := &s.frames[len(s.frames)-1]
	f.args = append(f.args, s.arg)
	if len(s.frames) == 1 && f.name == "locals" {
		s.declared = append(s.declared, declaration{kind: "local", name: s.arg, at: s.line[0].Range})
	}
}

// plain notes NAME = "TEXT" of the block that was declared last.
func (s *scanner) plain() {
	n := len(s.line)
	if len(s.frames) != 1 || s.arg == "" || n != 5 || s.line[4].Type != hclsyntax.TokenCQuote || len(s.declared) == 0 {
		return
	}
	if d := &s.declared[len(s.declared)-1]; d.texts != nil {
		d.texts[s.arg] = string(s.line[3].Bytes)
	}
}

// open begins a block, or an object.
func (s *scanner) open() {
	f := frame{}
	if s.arg == "" && len(s.line) > 0 && s.line[0].Type == hclsyntax.TokenIdent {
		f.name, f.labels = string(s.line[0].Bytes), labelsOf(s.line[1:])
	}
	if f.name != "" && len(s.frames) == 0 && len(f.labels) > 0 {
		s.declared = append(s.declared, declaration{
			kind: f.name, name: f.labels[len(f.labels)-1], labels: f.labels, texts: make(map[string]string),
			at: hcl.RangeBetween(s.line[0].Range, s.line[len(s.line)-1].Range),
		})
	}
	s.branch(f)
	s.frames = append(s.frames, f)
	s.line, s.arg, s.depth = nil, "", 0
}

// branch notes a case of a route.
func (s *scanner) branch(f frame) {
	if len(s.frames) != 1 || s.frames[0].name != "route" || len(s.frames[0].labels) == 0 || len(f.labels) == 0 || f.name != "case" && f.name != "default" {
		return
	}
	s.declared = append(s.declared, declaration{
		kind: caseKind, name: s.frames[0].labels[0] + "." + f.labels[0], labels: f.labels, at: hcl.RangeBetween(s.line[0].Range, s.line[len(s.line)-1].Range),
	})
}

func labelsOf(tokens hclsyntax.Tokens) (labels []string) {
	for _, t := range tokens {
		if t.Type == hclsyntax.TokenQuotedLit || t.Type == hclsyntax.TokenIdent {
			labels = append(labels, string(t.Bytes))
		}
	}
	return labels
}

func blockOf(blocks []config.Block, name string) *config.Block {
	if i := slices.IndexFunc(blocks, func(b config.Block) bool { return b.Name == name }); i >= 0 {
		return &blocks[i]
	}
	return nil
}
