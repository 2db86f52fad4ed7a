// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
)

// code is what a diagnostic carries in its Extra.
type code string

// CodeOf returns the stable code of a diagnostic of this package, or "".
func CodeOf(d *hcl.Diagnostic) string {
	c, _ := hcl.DiagnosticExtra[code](d)
	return string(c)
}

func severity(c code) hcl.DiagnosticSeverity {
	if strings.HasPrefix(string(c), "W") {
		return hcl.DiagWarning
	}
	return hcl.DiagError
}

// faults gathers diagnostics, of what is read in a scope.
type faults struct {
	diags hcl.Diagnostics
	scope *scope
}

// add reports a mistake. Its summary and severity are those of the code.
func (f *faults) add(c code, at hcl.Range, format string, args ...any) {
	entry, ok := codes[c]
	if !ok {
		panic("BUG: no such code: " + string(c))
	}
	f.diags = append(f.diags, &hcl.Diagnostic{
		Severity: severity(c),
		Summary:  entry.title,
		Detail:   fmt.Sprintf(format, args...),
		Subject:  &at,
		Extra:    c,
	})
}

// adopt takes over diagnostics of the HCL library, under a code of ours. What has no place gets the one given.
func (f *faults) adopt(c code, diags hcl.Diagnostics, at hcl.Range) {
	for _, d := range diags {
		if d.Subject != nil && d.Subject.Filename != "" {
			f.add(c, *d.Subject, "%s", sentence(d))
			continue
		}
		f.add(c, at, "%s", sentence(d))
	}
}

// sentence joins the library's summary and detail, which often says what the summary is about.
func sentence(d *hcl.Diagnostic) string {
	if d.Detail == "" {
		return d.Summary + "."
	}
	return placed(strings.ReplaceAll(d.Summary+": "+d.Detail, "seperator", "separator")) // as the library has it
}

// rangeInText is a place as the library writes it into a text: pipeline.hcl:3,35-53.
var rangeInText = regexp.MustCompile(`(\S):(\d+),\d+-(?:\d+,)?\d+\b`)

// placed has places in a text as all others are written.
func placed(text string) string { return rangeInText.ReplaceAllString(text, "$1 line $2") }

// failed says whether an error is among what was found.
func (f *faults) failed() bool { return f.diags.HasErrors() }

// sorted returns what was found in the order of the files, each mistake once.
func (f *faults) sorted() hcl.Diagnostics {
	slices.SortStableFunc(f.diags, func(a, b *hcl.Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.Subject.Filename, b.Subject.Filename),
			cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte),
			cmp.Compare(CodeOf(a), CodeOf(b)),
			cmp.Compare(a.Detail, b.Detail),
		)
	})
	f.diags = slices.CompactFunc(f.diags, func(a, b *hcl.Diagnostic) bool {
		return *a.Subject == *b.Subject && CodeOf(a) == CodeOf(b) && a.Detail == b.Detail
	})
	if more := f.diags[min(len(f.diags), MaxDiagnostics):]; len(more) > 0 {
		f.diags = f.diags[:MaxDiagnostics]
		f.add("E1003", *more[0].Subject, "There are %d more mistakes from here on, which are not shown.", len(more))
	}
	return f.diags
}

// didYouMean ends a sentence with the candidate nearest to what was written, or with nothing.
func didYouMean(wrote string, candidates []string) string {
	if best := nearest(wrote, candidates); best != "" {
		return fmt.Sprintf(" Did you mean %q?", best)
	}
	return ""
}

// nearest returns the candidate that is a few slips of the finger away, or "".
func nearest(wrote string, candidates []string) string {
	best, least := "", 2*max(1, len(wrote)/3)+2
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		d := 2 * slips(strings.ToLower(wrote), strings.ToLower(c)) // case counts where nothing else does
		if d < least && slips(wrote, c) > d/2 {
			d++
		}
		if d < least {
			best, least = c, d
		}
	}
	return best
}

// slips is the distance of two words, with two letters in the wrong order counted as one slip.
func slips(a, b string) int {
	d := levenshtein.Distance(a, b, nil)
	if d == 2 && len(a) == len(b) && slices.Equal(letters(a), letters(b)) {
		return 1
	}
	return d
}

func letters(s string) []byte { return slices.Sorted(slices.Values([]byte(s))) }

// thereIs ends a sentence with the nearest candidate, or else with all of them.
func thereIs(wrote string, candidates []string) string {
	candidates = slices.Compact(slices.Sorted(slices.Values(candidates)))
	switch hint := didYouMean(wrote, candidates); {
	case hint != "", len(candidates) == 0:
		return hint
	case len(candidates) == 1:
		return fmt.Sprintf(" There is %q.", candidates[0])
	}
	return " There are " + list(candidates, "and") + "."
}

// oneOf writes choices as a person would: "a", "b" or "c".
func oneOf(choices []string) string { return list(choices, "or") }

func list(choices []string, last string) string {
	quoted := make([]string, len(choices))
	for i, c := range choices {
		quoted[i] = fmt.Sprintf("%q", c)
	}
	if len(quoted) < 2 {
		return strings.Join(quoted, "")
	}
	n := len(quoted) - 1
	return strings.Join(quoted[:n], ", ") + " " + last + " " + quoted[n]
}
