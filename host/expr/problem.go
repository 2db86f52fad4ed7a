// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Problem is the Extra of a diagnostic: what kind of mistake it is.
type Problem uint8

// The kinds.
const (
	Unavailable Problem = iota + 1 // it is HCL, and not available for events
	Unknown                        // a name that there is not, or something that never has a value
	Type                           // types do not fit
)

// String is a title for people.
func (p Problem) String() string {
	switch p {
	case Unavailable:
		return "Not available for events"
	case Type:
		return "Wrong type for events"
	}
	return "Cannot be evaluated"
}

// adopt takes over what HCL says of a part that is the same for all events.
func (c *compiler) adopt(x hclsyntax.Expression, diags hcl.Diagnostics) operand {
	for _, t := range x.Variables() {
		root := t.RootName()
		switch {
		case root == "secret":
			return c.wrong(Unavailable, t.SourceRange(), "Secrets, and what is sensitive, are not available for events.")
		case !slices.Contains(c.variables(), root):
			return c.wrong(Unknown, t.SourceRange(), "There is no %q here.%s", root, didYouMean(root, append(c.variables(), "event")))
		}
	}
	o := operand{}
	for _, d := range diags {
		at := x.Range()
		if d.Subject != nil {
			at = *d.Subject
		}
		o = c.wrong(Unknown, at, "%s: %s", d.Summary, d.Detail)
	}
	return o
}

// variables lists what the context has.
func (c *compiler) variables() (names []string) {
	for ctx := c.ctx; ctx != nil; ctx = ctx.Parent() {
		for name := range ctx.Variables {
			names = append(names, name)
		}
	}
	return names
}

// instead says what is written for functions that HCL users may look for here.
var instead = map[string]string{
	"timestamp": "What is read again must come out the same, so that nothing here depends on when it is: event.time is the time of the event, in nanoseconds since 1970.",
	"now":       "What is read again must come out the same, so that nothing here depends on when it is: event.time is the time of the event, in nanoseconds since 1970.",
	"uuid":      "What is read again must come out the same, so that nothing here is random.",
	"lookup":    "Write coalesce(event.attributes.NAME, \"…\").",
	"includes":  "Write strcontains(text, part), or contains(list, value).",
	"has":       "Write event.attributes.NAME != null.",
	"exists":    "Write event.attributes.NAME != null.",
	"match":     "Write matches(\"pattern\", text).",
	"regexall":  "Write matches(\"pattern\", text), or regex.",
}

func (c *compiler) unknownFunction(f *hclsyntax.FunctionCallExpr) operand {
	hint := ""
	switch {
	case instead[f.Name] != "":
		hint = " " + instead[f.Name]
	case didYouMean(f.Name, Functions()) != "":
		hint = didYouMean(f.Name, Functions())
	default:
		hint = " There are " + strings.Join(Functions(), ", ") + "."
	}
	if c.configTime(f.Name) {
		return c.wrong(Unavailable, f.NameRange, "The function %q is not available for events.%s", f.Name, hint)
	}
	return c.wrong(Unknown, f.NameRange, "There is no function %q.%s", f.Name, hint)
}

// didYouMean ends a sentence with the candidate that is a few slips of the finger away, or with nothing.
func didYouMean(wrote string, candidates []string) string {
	best, least := "", max(1, len(wrote)/3)+1
	slices.Sort(candidates)
	for _, c := range candidates {
		if d := levenshtein.Distance(strings.ToLower(wrote), strings.ToLower(c), nil); d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" Did you mean %q?", best)
}
