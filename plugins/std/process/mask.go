// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"regexp"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// mask replaces what must not go on.
type mask struct {
	each
	re         *regexp.Regexp
	with       []byte
	body, all  bool
	attributes map[string]bool
}

// NewMask returns the processor "mask".
func NewMask() sdk.Processor { return new(mask) }

func (m *mask) Open(o *sdk.Open) (err error) {
	c := struct {
		Pattern, Replacement string
		Body                 *bool
		Attributes           []string
	}{}
	if err := o.Config(&c); err != nil {
		return err
	}
	if c.Pattern == "" {
		return sdk.ConfigError("pattern", "say what is replaced")
	}
	m.re, err = pattern("pattern", c.Pattern)
	m.with, m.body, m.attributes = []byte(c.Replacement), c.Body == nil || *c.Body, map[string]bool{}
	for _, name := range c.Attributes {
		m.attributes[name] = true
		m.all = m.all || name == "*"
	}
	return err
}

func (m *mask) Process(b event.Batch, out *sdk.Output) error {
	return m.run(b, out, func() error {
		e := m.copied()
		changed := false
		if m.body {
			e.Body, changed = m.replace(e.Body)
		}
		for i := range e.Attributes {
			if a := &e.Attributes[i]; m.all || m.attributes[a.Key] {
				value, found := m.replace(a.Value)
				a.Value, changed = value, changed || found
			}
		}
		if !changed {
			return m.keep()
		}
		return m.give()
	})
}

func (m *mask) replace(text []byte) ([]byte, bool) {
	if !m.re.Match(text) {
		return text, false
	}
	replaced := m.re.ReplaceAll(text, m.with)
	return replaced, !bytes.Equal(replaced, text)
}
