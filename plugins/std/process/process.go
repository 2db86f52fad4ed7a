// SPDX-License-Identifier: Apache-2.0

// Package process holds the processors that come with an agent: filter, set, regex, json and mask.
//
// Each is a pure function of one event, so that a batch may be cut anywhere and comes out the same. An event that needs no change is
// copied as it is. What cannot be processed is rejected by its place, and the pipeline's on_error decides what becomes of it.
package process

import (
	"errors"
	"regexp"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// each calls f for each event of a batch. An error of f that says reject is that event's alone.
type each struct {
	in    *event.Keeper
	out   *sdk.Output
	event event.Event // scratch, of which attributes may be changed
}

// rejected is why one event cannot be processed.
type rejected struct{ reason error }

func (r rejected) Error() string { return r.reason.Error() }

// run calls f with each event of b in turn.
func (p *each) run(b event.Batch, out *sdk.Output, f func() error) error {
	p.in, p.out = out.Each(b), out
	for index := 0; p.in.Next(); index++ {
		err := f()
		if r, ok := err.(rejected); ok { //nolint:errorlint // never wrapped, and asked of each event
			err = out.Reject(index, r.reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keep hands the event on as it is.
func (p *each) keep() error {
	p.in.Keep()
	return nil
}

// copied is the event with attributes that may be changed; its body may be set to another.
func (p *each) copied() *event.Event {
	p.event.Time, p.event.Body = p.in.Time(), p.in.Body()
	p.event.Attributes = append(p.event.Attributes[:0], p.in.Attributes()...)
	return &p.event
}

// give hands on what copied answered, after it was changed.
func (p *each) give() error {
	err := p.out.AppendEvent(p.in.Offset(), &p.event)
	if errors.Is(err, event.ErrEvent) || errors.Is(err, event.ErrTooBig) { // it is about the event, and not the batch
		return rejected{err}
	}
	return err
}

// set gives the attribute of that name a value: the first that has it, or a new one at the end.
func set(e *event.Event, key string, value []byte) {
	for i := range e.Attributes {
		if e.Attributes[i].Key == key {
			e.Attributes[i].Value = value
			return
		}
	}
	e.Attributes = append(e.Attributes, event.Attribute{Key: key, Value: value})
}

// text is what a processor looks at: the attribute of that name, or the body where there is no name.
func (p *each) text(attribute string) ([]byte, bool) {
	if attribute == "" {
		return p.in.Body(), true
	}
	return p.in.Attribute(attribute)
}

// pattern compiles the argument of that name.
func pattern(argument, expr string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, sdk.ConfigError(argument, "%v", err)
	}
	return re, nil
}

// attributeName says whether a plugin may set an attribute of that name.
func attributeName(argument, name string) error {
	switch {
	case name == "":
		return sdk.ConfigError(argument, "the name of an attribute is empty")
	case len(name) >= len(event.ReservedPrefix) && name[:len(event.ReservedPrefix)] == event.ReservedPrefix:
		return sdk.ConfigError(argument, "%q: names that begin with %s are the host's", name, event.ReservedPrefix)
	}
	return nil
}
