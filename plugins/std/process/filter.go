// SPDX-License-Identifier: Apache-2.0

package process

import (
	"regexp"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// filter keeps or drops the events that match.
type filter struct {
	each
	attribute string
	equals    map[string]bool
	matches   *regexp.Regexp // nil: equals alone
	keeps     bool
}

// NewFilter returns the processor "filter".
func NewFilter() sdk.Processor { return new(filter) }

func (f *filter) Open(o *sdk.Open) (err error) {
	var c struct {
		Action, Attribute, Matches string
		Equals                     []string
	}
	if err := o.Config(&c); err != nil {
		return err
	}
	if (c.Matches == "") == (len(c.Equals) == 0) {
		return sdk.ConfigError("matches", "say what is looked for, with either matches or equals")
	}
	if c.Matches != "" {
		if f.matches, err = pattern("matches", c.Matches); err != nil {
			return err
		}
	}
	f.attribute, f.keeps, f.equals = c.Attribute, c.Action != "drop", map[string]bool{}
	for _, value := range c.Equals {
		f.equals[value] = true
	}
	return nil
}

func (f *filter) Process(b event.Batch, out *sdk.Output) error {
	return f.run(b, out, func() error {
		if f.matching() == f.keeps {
			return f.keep()
		}
		return nil
	})
}

// matching says whether the event matches: not if it lacks the attribute.
func (f *filter) matching() bool {
	value, ok := f.text(f.attribute)
	if !ok || f.matches == nil {
		return ok && f.equals[string(value)]
	}
	return f.matches.Match(value)
}
