// SPDX-License-Identifier: Apache-2.0

package process

import (
	"maps"
	"slices"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// setter adds, removes and renames attributes.
type setter struct {
	each
	remove map[string]bool
	rename []renaming        // by old name
	add    []event.Attribute // by name
	only   bool              // add leaves alone what is there
}

// renaming gives an attribute another name.
type renaming struct{ old, name string }

// NewSet returns the processor "set".
func NewSet() sdk.Processor { return new(setter) }

func (s *setter) Open(o *sdk.Open) error {
	var c struct {
		Add       map[string]string
		Rename    map[string]string
		Remove    []string
		Overwrite *bool
	}
	if err := o.Config(&c); err != nil {
		return err
	}
	if len(c.Add)+len(c.Rename)+len(c.Remove) == 0 {
		return sdk.ConfigError("add", "say what is to be done, with add, rename or remove")
	}
	s.remove, s.only = map[string]bool{}, c.Overwrite != nil && !*c.Overwrite
	for _, name := range c.Remove {
		s.remove[name] = true
	}
	for _, old := range slices.Sorted(maps.Keys(c.Rename)) {
		if err := attributeName("rename", c.Rename[old]); err != nil {
			return err
		}
		s.rename = append(s.rename, renaming{old, c.Rename[old]})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Add)) {
		if err := attributeName("add", name); err != nil {
			return err
		}
		s.add = append(s.add, event.Attribute{Key: name, Value: []byte(c.Add[name])})
	}
	return nil
}

func (s *setter) Process(b event.Batch, out *sdk.Output) error {
	return s.run(b, out, func() error {
		e := s.copied()
		e.Attributes = slices.DeleteFunc(e.Attributes, func(a event.Attribute) bool { return s.remove[a.Key] })
		for _, r := range s.rename {
			s.move(e, r.old, r.name)
		}
		for _, a := range s.add {
			if _, there := e.Attribute(a.Key); !there || !s.only {
				set(e, a.Key, a.Value)
			}
		}
		return s.give()
	})
}

// move renames attributes, as the event came: none that was renamed is renamed once more. One that has the new name already goes.
func (s *setter) move(e *event.Event, old, name string) {
	value, ok := s.in.Attribute(old)
	if !ok || s.remove[old] {
		return
	}
	e.Attributes = slices.DeleteFunc(e.Attributes, func(a event.Attribute) bool {
		return a.Key == name || a.Key == old && !s.given(old)
	})
	e.Attributes = append(e.Attributes, event.Attribute{Key: name, Value: value})
}

// given says whether another attribute gets that name.
func (s *setter) given(name string) bool {
	for _, r := range s.rename {
		if _, there := s.in.Attribute(r.old); r.name == name && there && !s.remove[r.old] {
			return true
		}
	}
	return false
}
