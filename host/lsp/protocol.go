// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"net/url"
	"path/filepath"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// The part of the protocol that is spoken, under its own names (version 3.17).

type position struct {
	Line      int `json:"line"`      // from 0
	Character int `json:"character"` // from 0, in UTF-16 units
}

type span struct {
	Start position `json:"start"`
	End   position `json:"end"`
}

type location struct {
	URI   string `json:"uri"`
	Range span   `json:"range"`
}

type textEdit struct {
	Range   span   `json:"range"`
	NewText string `json:"newText"`
}

type description struct {
	Href string `json:"href"`
}

type diagnostic struct {
	Range           span         `json:"range"`
	Severity        int          `json:"severity"` // 1 error, 2 warning
	Code            string       `json:"code,omitempty"`
	CodeDescription *description `json:"codeDescription,omitempty"`
	Source          string       `json:"source"`
	Message         string       `json:"message"`
}

type published struct {
	URI         string       `json:"uri"`
	Diagnostics []diagnostic `json:"diagnostics"`
}

type markup struct {
	Kind  string `json:"kind"`
	Value string `json:"value"`
}

type hover struct {
	Contents markup `json:"contents"`
}

// Kinds of completion items.
const (
	itemVariable, itemModule, itemProperty, itemValue, itemReference = 6, 9, 10, 12, 18
)

type item struct {
	Label         string   `json:"label"`
	Kind          int      `json:"kind"`
	Detail        string   `json:"detail,omitempty"`
	Documentation *markup  `json:"documentation,omitempty"`
	TextEdit      textEdit `json:"textEdit"`
}

type items struct {
	IsIncomplete bool   `json:"isIncomplete"`
	Items        []item `json:"items"`
}

// params are those of every request and notification that is served.
type params struct {
	TextDocument struct {
		URI  string `json:"uri"`
		Text string `json:"text"`
	} `json:"textDocument"`
	Position       position `json:"position"`
	ContentChanges []struct {
		Text string `json:"text"` // of the whole file
	} `json:"contentChanges"`
}

func pathOf(uri string) (string, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "file" || u.Path == "" {
		return "", false
	}
	return filepath.Clean(filepath.FromSlash(u.Path)), true
}

func uriOf(path string) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}

// step moves a position over the character at src[i:], and says how many bytes that has. Lines end as the protocol has it: in \n, \r\n or \r.
func (p *position) step(src []byte, i int) int {
	r, n := utf8.DecodeRune(src[i:])
	switch {
	case r == '\r' && i+1 < len(src) && src[i+1] == '\n': // no place of its own: the line has ended, but the next has not begun
	case lineEnds(r):
		*p = position{Line: p.Line + 1}
	case r > 0xFFFF:
		p.Character += 2
	default:
		p.Character++
	}
	return n
}

func lineEnds(r rune) bool { return r == '\n' || r == '\r' }

// positionAt is where a byte offset is.
func positionAt(src []byte, offset int) position {
	var p position
	for i := 0; i < min(offset, len(src)); {
		i += p.step(src, i)
	}
	return p
}

// offsetAt is the byte offset of a position; one past the end of a line is the line's end.
func offsetAt(src []byte, want position) int {
	var p position
	for i := 0; i < len(src); {
		if p.Line > want.Line || p.Line == want.Line && (p.Character >= want.Character || lineEnds(rune(src[i]))) {
			return i
		}
		i += p.step(src, i)
	}
	return len(src)
}

func spanOf(src []byte, r hcl.Range) span {
	return span{positionAt(src, r.Start.Byte), positionAt(src, r.End.Byte)}
}
