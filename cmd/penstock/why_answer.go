// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/spec/event"
)

// What an event can be.
const (
	stateThere   = "there"
	stateGone    = "gone"
	stateDamaged = "damaged"
)

// What became of it at a sink.
const (
	sinkDelivered = "delivered"
	sinkProcessed = "processed" // its processors left nothing of it, or it is delivered
	sinkRelayed   = "relayed"
	sinkLeftOut   = "left_out"
	sinkLetter    = "dead_letter"
	sinkGivenUp   = "given_up"
	sinkCommitted = "committed" // delivered or left out: nothing says which
	sinkWaits     = "waiting"
	sinkDoubt     = "in_doubt"
	sinkEarlier   = "not_offered"
)

// sinkStates are those of a sink in the order of a summary, and how it says so.
var sinkStates = []struct{ name, says string }{
	{sinkDelivered, "%s delivered it"}, {sinkRelayed, "%s put it into another channel"}, {sinkProcessed, "%s processed it"}, {sinkCommitted, "%s committed it"},
	{sinkLeftOut, "%s left it out"}, {sinkLetter, "%s gave it to the dead letters"}, {sinkGivenUp, "for %s it was given up"},
	{sinkWaits, "for %s it waits"}, {sinkDoubt, "for %s it is in doubt"}, {sinkEarlier, "to %s it is not offered"},
}

// traced is what why answers.
type traced struct {
	channelDir
	UUID        string         `json:"uuid"`
	Incarnation string         `json:"incarnation,omitempty"` // with uuid and offset, what tells it from all others
	Offset      event.Offset   `json:"offset"`
	State       string         `json:"state"`  // "there", "gone", "damaged"
	Oldest      event.Offset   `json:"oldest"` // that is in the log
	Next        event.Offset   `json:"next"`
	Running     bool           `json:"running"` // an agent runs
	Event       *shownEvent    `json:"event,omitempty"`
	Put         *tracedPut     `json:"put,omitempty"`
	From        []tracedSource `json:"from"`
	Routes      []tracedRoute  `json:"routes"`
	Sinks       []tracedSink   `json:"sinks"`
	Letters     []tracedLetter `json:"dead_letters"` // of it
	Damage      *damage        `json:"damage,omitempty"`
	Unknown     []string       `json:"unknown"` // what cannot be said any more
}

// tracedPut is the put that holds it.
type tracedPut struct {
	First     event.Offset `json:"first"`
	Next      event.Offset `json:"next"`
	Committed time.Time    `json:"committed"`
	Only      string       `json:"only,omitempty"` // the one sink that gets it
	File      string       `json:"file"`
	At        int64        `json:"at"`
}

// tracedSource is who put it.
type tracedSource struct {
	Source  string            `json:"source"`
	Kind    string            `json:"kind"`    // "source", "relay", "replay" of dead letters, "dead_letters"
	Version uint32            `json:"version"` // of the form of the cursor
	Cursor  map[string][]byte `json:"cursor"`  // the entries that changed with it
	Through []tracedStep      `json:"through"` // processors, as the files have them
	// Of a relay or a replay: where it was before.
	Channel string       `json:"channel,omitempty"`
	Before  event.Offset `json:"before,omitempty"` // a relay: with this put all up to there is in this channel
	Letters []admin.Span `json:"letters,omitempty"`
	Letter  *letter      `json:"letter,omitempty"` // it is a dead letter itself
}

// tracedStep is a processor on its way.
type tracedStep struct {
	Processor string `json:"processor"`
	OnError   string `json:"on_error"`
	For       string `json:"for"` // "yes", "no", "unknown": whether its when is for the event
}

// tracedRoute is what a route says of it.
type tracedRoute struct {
	Route     string   `json:"route"`
	Cases     []string `json:"cases"` // none: it is given up
	Undecided string   `json:"undecided,omitempty"`
}

// tracedSink is what became of it at a reader.
type tracedSink struct {
	Reader  string       `json:"reader"`
	State   string       `json:"state"`
	Why     string       `json:"why,omitempty"`
	Low     event.Offset `json:"low"`              // of the reader
	Before  uint64       `json:"before,omitempty"` // that wait too
	Member  string       `json:"member,omitempty"` // of a group, that may have been given it
	Into    string       `json:"into,omitempty"`   // a relay
	Through []tracedStep `json:"through"`
	Live    string       `json:"live,omitempty"` // how its sinks stand
	Todo    string       `json:"todo,omitempty"` // a command
}

// tracedLetter is a dead letter of it.
type tracedLetter struct {
	letter
	Kept bool `json:"kept"` // else it is decided: replayed, or dropped
}

const (
	// maxShownEntries is how much of a cursor, and maxShownValue how much of an entry a person is shown; --json has all.
	maxShownEntries, maxShownValue = 4, 48
)

// letterDecided is said of a dead letter that is none any more.
const letterDecided = "it was replayed or dropped since"

func (q *inquiry) print(t *terminal, summary string) {
	t.printf("%s\n", t.paint(bold, fmt.Sprintf("%s %d", q.Name, q.Offset)))
	row := func(name, format string, args ...any) {
		t.printf("  %s  %s\n", t.paint(dim, fmt.Sprintf("%-8s", name)), fmt.Sprintf(format, args...))
	}
	if q.State != stateThere {
		row("event", "%s", summary)
	} else {
		body := fmt.Sprintf("%d bytes", len(q.Event.BinaryBody))
		if q.Event.Body != nil {
			body = shorten(printable(*q.Event.Body), maxShownText)
		}
		row("event", "%s  %s", clock(q.Event.Time), body)
		with := fmt.Sprintf("with offsets %d to %d", q.Put.First, q.Put.Next-1)
		if q.Put.Next-q.Put.First == 1 {
			with = "alone"
		}
		row("put", "%s, %s", clock(q.Put.Committed), with)
	}
	for _, s := range q.From {
		s.print(row)
	}
	for _, r := range q.Routes {
		row("route", "%s", r.text())
	}
	for _, l := range q.Letters {
		fate := "it is kept"
		if !l.Kept {
			fate = letterDecided
		}
		row("letter", "%s %d, by %s: %s; %s", l.Keeper, l.Offset, l.Component, l.reasonText(), fate)
	}
	q.printSinks(t)
	if len(q.Unknown) > 0 {
		t.printf("\nWhat is not known any more:\n")
	}
	for _, u := range q.Unknown {
		t.printf("  - %s\n", u)
	}
}

// reasonText is why it was given up, on one line.
func (l letter) reasonText() string {
	return fmt.Sprintf("%s (%s) after %s: %s", l.Reason, printable(l.Code), plural(l.Attempts, "attempt"), shorten(printable(l.Said), maxShownText))
}

func (q *inquiry) printSinks(t *terminal) {
	if len(q.Sinks) == 0 {
		return
	}
	t.printf("\n")
	rows := [][]string{{"SINK", "STATE", "WHY"}}
	var todo []string
	for _, s := range q.Sinks {
		why := s.Why
		if s.Live != "" {
			why = strings.TrimPrefix(why+"; "+printable(s.Live), "; ")
		}
		rows = append(rows, []string{s.Reader, strings.ReplaceAll(s.State, "_", " "), why})
		if s.Todo != "" && !slices.Contains(todo, s.Todo) {
			todo = append(todo, s.Todo)
		}
	}
	t.table(rows)
	if len(todo) > 0 {
		t.printf("\nSee further:\n")
	}
	for _, command := range todo {
		t.printf("  %s\n", command)
	}
}

func (s *tracedSource) print(row func(name, format string, args ...any)) {
	switch s.Kind {
	case "replay":
		row("from", "the dead letters %s of %s, replayed", offsets(s.Letters), s.Channel)
	case "relay":
		row("from", "%s, a relay: with this put all events of %s before offset %d are here that are for it", s.Source, s.Channel, s.Before)
	case "dead_letters":
		row("from", "it is a dead letter of %s: %s", s.Source, s.Letter.reasonText())
		if s.Letter.From.Offset != "" {
			row("", "of the event %s of %s", s.Letter.From.Offset, s.Letter.From.place())
		}
	default:
		row("from", "%s, and its cursor with that put: %s", s.Source, s.cursorText())
	}
	for _, step := range s.Through {
		row("through", "%s", step.text())
	}
}

// cursorText is what changed in the cursor.
func (s *tracedSource) cursorText() string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(s.Cursor)) {
		if len(parts) == maxShownEntries {
			parts = append(parts, fmt.Sprintf("and %d more", len(s.Cursor)-len(parts)))
			break
		}
		value := s.Cursor[key]
		text := hex.EncodeToString(value)
		switch shown := printable(string(value)); {
		case len(value) == 0:
			text = "(removed)"
		case shown == string(value) && strings.ToValidUTF8(shown, "") == shown:
			text = shown
		}
		parts = append(parts, fmt.Sprintf("%s = %s", shorten(printable(strings.ToValidUTF8(key, "·")), maxShownValue), shorten(text, maxShownValue)))
	}
	if len(parts) == 0 {
		return "unchanged"
	}
	return strings.Join(parts, ", ")
}

func (p tracedStep) text() string {
	switch p.For {
	case "no":
		return p.Processor + ", which it passes by: when does not hold"
	case "unknown":
		return p.Processor + ", if its when held for it"
	}
	return p.Processor
}

func (r tracedRoute) text() string {
	text := r.Route + ": no case, so that it is given up"
	if len(r.Cases) > 0 {
		text = r.Route + ": " + strings.Join(r.Cases, ", ")
	}
	if r.Undecided != "" {
		text += " (of some case it cannot be said: " + printable(r.Undecided) + ")"
	}
	return text
}
