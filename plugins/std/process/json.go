// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// maxJSONDepth bounds values within values that are walked through.
	maxJSONDepth = 64
	// maxJSONFields bounds the attributes that are made of one body when all of its fields are taken: the rest stays in the body.
	maxJSONFields = 256
)

// fields makes attributes of what is in a body of JSON. It walks through the text once and decodes nothing but what it is asked for.
type fields struct {
	each
	attribute string
	prefix    string
	wanted    map[string][]string // path → attributes; empty: all at the top
	inner     map[string]bool     // paths of objects that something is wanted of
	otherwise otherwise

	path  []byte // scratch
	found []found
}

// found is a value that is wanted.
type found struct {
	name  string
	value []byte
}

// NewJSON returns the processor "json".
func NewJSON() sdk.Processor { return new(fields) }

func (f *fields) Open(o *sdk.Open) error {
	var c struct {
		Attribute, Prefix string
		Fields            map[string]string
		Otherwise         otherwise
	}
	if err := o.Config(&c); err != nil {
		return err
	}
	if err := c.Otherwise.check(); err != nil {
		return err
	}
	if err := attributeName("prefix", c.Prefix+"x"); err != nil {
		return err
	}
	f.attribute, f.prefix, f.otherwise = c.Attribute, c.Prefix, c.Otherwise
	f.wanted, f.inner = map[string][]string{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Fields)) {
		path := c.Fields[name]
		if err := attributeName("fields", c.Prefix+name); err != nil {
			return err
		}
		f.wanted[path] = append(f.wanted[path], c.Prefix+name)
		for i := range path {
			if path[i] == '.' {
				f.inner[path[:i]] = true
			}
		}
	}
	return nil
}

func (f *fields) Process(b event.Batch, out *sdk.Output) error {
	return f.run(b, out, func() error {
		value, _ := f.text(f.attribute)
		f.path, f.found = f.path[:0], f.found[:0]
		s := scanner{rest: value}
		err := f.object(&s)
		if err == nil && len(s.space()) > 0 {
			err = errors.New("there is more after the object")
		}
		if err != nil {
			return f.otherwise.of(&f.each, fmt.Errorf("it is no object of JSON: %w", err))
		}
		if len(f.found) == 0 {
			return f.keep()
		}
		e := f.copied()
		for _, v := range f.found {
			set(e, v.name, v.value)
		}
		return f.give()
	})
}

// object walks through the object that comes next, whose path is f.path.
func (f *fields) object(s *scanner) error {
	outer := len(f.path)
	return s.object(func(key []byte) error {
		if outer > 0 {
			f.path = append(f.path[:outer], '.')
		}
		f.path = append(f.path, key...)
		path := string(f.path)
		defer func() { f.path = f.path[:outer] }()
		value, err := s.value(0)
		if err != nil {
			return err
		}
		if f.inner[path] && value[0] == '{' {
			if err := f.object(&scanner{rest: value}); err != nil {
				return err
			}
		}
		return f.take(path, value)
	})
}

// take notes a value, if it is wanted. null is as if it were not there; a string is what it says, all else is JSON.
func (f *fields) take(path string, value []byte) error {
	if string(value) == "null" || len(f.wanted) > 0 && len(f.wanted[path]) == 0 || len(f.wanted) == 0 && len(f.found) >= maxJSONFields {
		return nil
	}
	if value[0] == '"' {
		var err error
		if value, err = unquote(value); err != nil {
			return err
		}
	}
	if len(f.wanted) > 0 {
		for _, name := range f.wanted[path] {
			f.found = append(f.found, found{name, value})
		}
		return nil
	}
	if name := f.prefix + path; attributeName("", name) == nil {
		f.found = append(f.found, found{name, value})
	}
	return nil
}

// unquote is what a string says.
func unquote(quoted []byte) ([]byte, error) {
	inside := quoted[1 : len(quoted)-1]
	for _, c := range inside {
		if c == '\\' {
			var s string
			if err := json.Unmarshal(quoted, &s); err != nil {
				return nil, err
			}
			return []byte(s), nil
		}
	}
	return inside, nil
}

// scanner walks through JSON without decoding it.
type scanner struct{ rest []byte }

var errCut = errors.New("it is cut short")

// space passes over blanks and answers the rest.
func (s *scanner) space() []byte {
	for len(s.rest) > 0 && (s.rest[0] == ' ' || s.rest[0] == '\t' || s.rest[0] == '\n' || s.rest[0] == '\r') {
		s.rest = s.rest[1:]
	}
	return s.rest
}

// next is the next byte that is no blank, 0 at the end.
func (s *scanner) next() byte {
	if rest := s.space(); len(rest) > 0 {
		return rest[0]
	}
	return 0
}

// pass passes over the one byte that must come next.
func (s *scanner) pass(c byte) error {
	switch s.next() {
	case c:
		s.rest = s.rest[1:]
		return nil
	case 0:
		return errCut
	}
	return fmt.Errorf("%q where %q is wanted", s.rest[0], c)
}

// object calls member with each key of an object, to pass over its value.
func (s *scanner) object(member func(key []byte) error) error {
	return s.list('{', '}', func() error {
		if s.next() != '"' {
			return errors.New("a key is no string")
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		if key, err = unquote(key); err != nil {
			return err
		}
		if err := s.pass(':'); err != nil {
			return err
		}
		return member(key)
	})
}

// list passes over what stands between brackets, with commas between; item passes over one.
func (s *scanner) list(open, end byte, item func() error) error {
	if err := s.pass(open); err != nil {
		return err
	}
	if s.next() == end {
		return s.pass(end)
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if s.next() == end {
			return s.pass(end)
		}
		if err := s.pass(','); err != nil {
			return err
		}
	}
}

// value passes over any value and answers its text.
func (s *scanner) value(depth int) (text []byte, err error) {
	c := s.next()
	before := s.rest
	switch {
	case depth > maxJSONDepth:
		return nil, fmt.Errorf("values nest more than %d deep", maxJSONDepth)
	case c == 0:
		return nil, errCut
	case c == '"':
		return s.text()
	case c == '{':
		err = s.object(func([]byte) error { _, err := s.value(depth + 1); return err })
	case c == '[':
		err = s.list('[', ']', func() error { _, err := s.value(depth + 1); return err })
	default:
		return s.word()
	}
	return before[:len(before)-len(s.rest)], err
}

// text passes over a string, quotes included.
func (s *scanner) text() ([]byte, error) {
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '\\':
			i++
		case '"':
			text := s.rest[:i+1]
			s.rest = s.rest[i+1:]
			return text, nil
		}
	}
	return nil, errCut
}

// word passes over a number, true, false or null.
func (s *scanner) word() ([]byte, error) {
	n := 0
	for n < len(s.rest) && !strings.ContainsRune(" \t\r\n,]}", rune(s.rest[n])) {
		n++
	}
	word := s.rest[:n]
	if !json.Valid(word) {
		return nil, fmt.Errorf("%.20q is no value", word)
	}
	s.rest = s.rest[n:]
	return word, nil
}
