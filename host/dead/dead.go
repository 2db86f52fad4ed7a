// SPDX-License-Identifier: Apache-2.0

// Package dead decides dead letters: it delivers them again, or gives them up.
//
// Its invariants:
//
//  1. A letter that is replayed is put into the channel where its event was, for the one reader that gave it up, and only then taken from
//     those that are kept. The put and the note of which letters it is of are one transaction of that channel; the note is
//     the cursor of the source [Source], under the stream of the reader that holds the letters.
//  2. What a note says was put is taken out before anything else is done, and before another note takes its place. So a crash between the two
//     neither loses an event nor delivers it twice.
//  3. Letters of equal identity are one event: it is put once, and all of them are taken out with it.
//  4. An event is not replayed before its reader has committed the place where it was: until then it comes again by itself.
package dead

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// Reader holds what is in a channel of dead letters.
	Reader = "dead"
	// Source is the name under which letters are replayed: in their channel it is no source with a cursor of its own.
	Source = pipeline.DeadSource + "replay"
)

// Keeper is a channel of dead letters, of which nobody has the reader open.
type Keeper interface {
	Reader(spec channel.ReaderSpec) (channel.Reader, error)
	Drop(reader string, picked ...event.Range) (events uint64, err error)
}

// Target is a channel into which letters are replayed.
type Target struct {
	Address string
	Channel channel.Channel
	Stats   func() channel.Stats
	// Barred says why nothing may be put for a reader that the channel has; nil or "": it may.
	Barred func(reader string) string
}

// Desk is where the letters of one channel are decided. It belongs to one goroutine.
type Desk struct {
	Keeper  Keeper
	Address string // of the channel
	// Browse shows what is kept, in order, until visit answers false. The memory is the caller's until visit returns.
	Browse func(visit func(o event.Offset, e event.Event) bool) error
	// Open finds the channel with that uuid; an error says why there is none.
	Open func(uuid string) (*Target, error)
	// Step names what is done next ("dead-put", "dead-finish"): for tests that kill the process there.
	Step func(name string)

	stream  string // of Reader
	targets map[string]opened
}

type opened struct {
	*Target
	err error
}

// Order is what is asked for.
type Order struct {
	Filter Filter `json:"filter"`
	To     string `json:"to,omitempty"` // another reader than the one that gave the event up
	DryRun bool   `json:"-"`
}

// Outcome is what was done, or with DryRun what would be.
type Outcome struct {
	Events  uint64    `json:"events"`  // that were meant, and can be had
	Letters uint64    `json:"letters"` // in which they are kept
	Refused []Refusal `json:"refused"` // what stays, and why
	Before  uint64    `json:"before"`  // behind the last letter that was looked at
}

// Refusal is why letters stay where they are.
type Refusal struct {
	Component string `json:"component"`
	Why       string `json:"why"`
	Events    uint64 `json:"events"`
}

// refuse counts an event that stays.
func (o *Outcome) refuse(component, why string) {
	for i := range o.Refused {
		if r := &o.Refused[i]; r.Component == component && r.Why == why {
			r.Events++
			return
		}
	}
	o.Refused = append(o.Refused, Refusal{component, why, 1})
}

// Recover takes out what is replayed already, into any of these channels, where a crash came between.
func (d *Desk) Recover(ctx context.Context, targets ...*Target) error {
	stream, err := d.hold(func(channel.Reader) error { return nil })
	if err != nil {
		return err
	}
	d.stream = stream
	for _, t := range targets {
		if err := d.recover(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) recover(ctx context.Context, t *Target) error {
	at, err := t.Channel.Cursor(ctx, Source)
	if err != nil {
		return fmt.Errorf("find out what was replayed into %s: %w", t.Address, err)
	}
	note, ok := at.Cursor[d.stream]
	if !ok {
		return nil
	}
	ranges, err := parseNote(note)
	if err != nil {
		return fmt.Errorf("find out what was replayed into %s: %w", t.Address, err)
	}
	return d.finish(ranges)
}

// hold does something to the reader that holds the letters. What it changes is durable afterwards.
func (d *Desk) hold(do func(channel.Reader) error) (stream string, err error) {
	r, err := d.Keeper.Reader(channel.ReaderSpec{Name: Reader, Start: channel.Oldest, Order: channel.AnyOrder})
	if err != nil {
		return "", fmt.Errorf("hold the dead letters in %s: %w", d.Address, err)
	}
	stream = r.Info().Stream
	return stream, errors.Join(do(r), r.Close())
}

// finish takes letters out that are replayed.
func (d *Desk) finish(ranges []event.Range) error {
	d.step("dead-finish")
	if _, err := d.hold(func(r channel.Reader) error { return r.Finish(ranges...) }); err != nil {
		return fmt.Errorf("take out of %s what is replayed: %w", d.Address, err)
	}
	return nil
}

func (d *Desk) step(name string) {
	if d.Step != nil {
		d.Step(name)
	}
}

// target finds the channel with that uuid, and takes out what was replayed into it before.
func (d *Desk) target(ctx context.Context, uuid string) (*Target, error) {
	if o, ok := d.targets[uuid]; ok {
		return o.Target, o.err
	}
	var o opened
	if o.Target, o.err = d.Open(uuid); o.err == nil {
		if err := d.recover(ctx, o.Target); err != nil {
			return nil, fmt.Errorf("%w: %w", errDesk, err)
		}
	}
	if d.targets == nil {
		d.targets = map[string]opened{}
	}
	d.targets[uuid] = o
	return o.Target, o.err
}

// errDesk is wrapped when nothing more can be done, as opposed to one letter.
var errDesk = errors.New("cannot decide dead letters")

// readerFor names the reader of t that is to see an event, of a sink or a group; "" with why not.
func readerFor(t *Target, whose string, l *Letter, e *event.Event) (reader, why string) {
	there := false
	for name, info := range t.Stats().Readers {
		if o, _ := l.offset(); of(name, l.reader()) && info.Lane.Has(e) && (info.End == 0 || o < info.End) && o >= info.Low {
			return "", "it may still come to its sink by itself: try again when that has gone on"
		}
		if !of(name, whose) {
			continue
		}
		there = true
		if info.End > 0 {
			return "", "its lanes change just now: try again when the old ones are drained"
		}
		if !info.Lane.Has(e) {
			continue
		}
		if t.Barred != nil {
			if why := t.Barred(name); why != "" {
				return "", why
			}
		}
		reader = name
	}
	switch {
	case !there:
		return "", fmt.Sprintf("%s has no reader %s any more: name another one with --to", t.Address, whose)
	case reader == "":
		return "", "no lane of its sink is for it"
	}
	return reader, ""
}

// of says whether a reader is that of a component, or one of its lanes.
func of(reader, component string) bool {
	return reader == component || strings.HasPrefix(reader, component+"/")
}

// note says which letters a put is of: pairs of first and length, each first counted from the end before.
func note(ranges []event.Range) []byte {
	var b []byte
	at := event.Offset(0)
	for _, r := range ranges {
		b = binary.AppendUvarint(b, uint64(r.First-at))
		b = binary.AppendUvarint(b, r.Len())
		at = r.Next
	}
	return b
}

// Replayed reads the entry that a put of the source [Source] has under the stream of a reader that holds letters: where those are that it is of.
func Replayed(note []byte) ([]event.Range, error) { return parseNote(note) }

func parseNote(b []byte) (ranges []event.Range, err error) {
	at := event.Offset(0)
	for len(b) > 0 {
		skip, n := binary.Uvarint(b)
		length, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, errors.New("the note of it cannot be read")
		}
		r := event.Range{First: at + event.Offset(skip), Next: at + event.Offset(skip) + event.Offset(length)}
		ranges, at, b = append(ranges, r), r.Next, b[n+m:]
	}
	return ranges, nil
}
