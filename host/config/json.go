// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// JSONDiagnostic is a diagnostic for programs, in the form that Terraform gives its own, with a code.
type JSONDiagnostic struct {
	Code     string       `json:"code"`
	Severity string       `json:"severity"` // "error", "warning"
	Summary  string       `json:"summary"`
	Detail   string       `json:"detail"`
	Block    string       `json:"block,omitempty"` // e.g. sink "postgres" "orders"
	Range    JSONRange    `json:"range"`
	Snippet  *JSONSnippet `json:"snippet,omitempty"` // of the file, where it is about a line of one
}

// JSONSnippet is the first line of what a diagnostic is about.
type JSONSnippet struct {
	Context   string `json:"context"` // the block, as in Block
	Code      string `json:"code"`    // the line, cut where it is long
	StartLine int    `json:"start_line"`
	// Which part of code is meant, in bytes; the end is exclusive.
	HighlightStart int      `json:"highlight_start_offset"`
	HighlightEnd   int      `json:"highlight_end_offset"`
	Values         []string `json:"values"` // always empty: values are not shown
}

// JSONRange is where. End is exclusive.
type JSONRange struct {
	Filename string       `json:"filename"`
	Start    JSONPosition `json:"start"`
	End      JSONPosition `json:"end"`
}

// JSONPosition counts lines and columns (grapheme clusters) from 1, bytes from 0.
type JSONPosition struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// DiagnosticsJSON returns diagnostics for programs, never nil. s may be nil.
func DiagnosticsJSON(diags hcl.Diagnostics, s *Sources) []JSONDiagnostic {
	out := make([]JSONDiagnostic, 0, len(diags))
	for _, d := range diags {
		j := JSONDiagnostic{Code: CodeOf(d), Severity: "error", Summary: d.Summary, Detail: d.Detail}
		if d.Severity == hcl.DiagWarning {
			j.Severity = "warning"
		}
		if d.Subject != nil {
			j.Range = RangeJSON(*d.Subject)
			if s.Bytes(d.Subject.Filename) != nil {
				j.Block = s.blockAt(*d.Subject)
				j.Snippet = s.snippet(*d.Subject)
			}
		}
		out = append(out, j)
	}
	return out
}

// snippet is the first line of a range; nil where there is nothing to show.
func (s *Sources) snippet(r hcl.Range) *JSONSnippet {
	before, within, after, ok := s.line(r)
	if !ok {
		return nil
	}
	return &JSONSnippet{
		Context: s.blockAt(r), Code: before + within + after, StartLine: r.Start.Line,
		HighlightStart: len(before), HighlightEnd: len(before) + len(within), Values: []string{},
	}
}

// line cuts the first line of a range in three: what is before it, the range, and what is after it.
func (s *Sources) line(r hcl.Range) (before, within, after string, ok bool) {
	src := s.Bytes(r.Filename)
	start := min(r.Start.Byte, len(src))
	if len(src) == 0 || start < 0 {
		return "", "", "", false
	}
	first := bytes.LastIndexByte(src[:start], '\n') + 1
	last := len(src)
	if i := bytes.IndexByte(src[start:], '\n'); i >= 0 {
		last = start + i
	}
	end := max(start, min(r.End.Byte, last))
	before, within, after = window(string(src[first:start]), string(src[start:end]), strings.TrimRight(string(src[end:last]), "\r"))
	return before, within, after, before+within+after != "" // a file's end has nothing to show
}

// RangeJSON is a place as JSON has it.
func RangeJSON(r hcl.Range) JSONRange {
	return JSONRange{r.Filename, jsonPosition(r.Start), jsonPosition(r.End)}
}

func jsonPosition(p hcl.Pos) JSONPosition { return JSONPosition{p.Line, p.Column, p.Byte} }
