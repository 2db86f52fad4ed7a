// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"regexp"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// What is done with an event that does not match, or is not JSON.
const (
	other       = "pass"
	otherDrop   = "drop"
	otherReject = "reject"
)

// otherwise is what a processor does with an event of another form.
type otherwise string

func (o otherwise) check() error {
	switch o {
	case "", other, otherDrop, otherReject:
		return nil
	}
	return sdk.ConfigError("otherwise", `is %q, wanted "pass", "drop" or "reject"`, string(o))
}

// of does it with the event at which p stands.
func (o otherwise) of(p *each, reason error) error {
	switch o {
	case otherDrop:
		return nil
	case otherReject:
		return rejected{reason}
	}
	return p.keep()
}

var errNoMatch = errors.New("it does not match the pattern")

// capture makes attributes of the named groups of a pattern.
type capture struct {
	each
	attribute string
	re        *regexp.Regexp
	names     []string // by group; "" is not kept
	otherwise otherwise
}

// NewRegex returns the processor "regex".
func NewRegex() sdk.Processor { return new(capture) }

func (c *capture) Open(o *sdk.Open) (err error) {
	var cfg struct {
		Pattern, Attribute, Prefix string
		Otherwise                  otherwise
	}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	if err := cfg.Otherwise.check(); err != nil {
		return err
	}
	if c.re, err = pattern("pattern", cfg.Pattern); err != nil {
		return err
	}
	named := false
	for _, name := range c.re.SubexpNames() {
		if name != "" {
			named = true
			name = cfg.Prefix + name
			if err := attributeName("prefix", name); err != nil {
				return err
			}
		}
		c.names = append(c.names, name)
	}
	if !named {
		return sdk.ConfigError("pattern", "it has no named group, such as (?P<level>[A-Z]+)")
	}
	c.attribute, c.otherwise = cfg.Attribute, cfg.Otherwise
	return nil
}

func (c *capture) Process(b event.Batch, out *sdk.Output) error {
	return c.run(b, out, func() error {
		value, _ := c.text(c.attribute)
		found := c.re.FindSubmatchIndex(value)
		if found == nil {
			return c.otherwise.of(&c.each, errNoMatch)
		}
		e := c.copied()
		for i, name := range c.names {
			if from, to := found[2*i], found[2*i+1]; name != "" && from >= 0 {
				set(e, name, value[from:to])
			}
		}
		return c.give()
	})
}
