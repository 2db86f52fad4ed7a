// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/spec/event"
)

// letter is a dead letter: an event, and what is known of its end.
type letter struct {
	Keeper    string        `json:"channel"` // the channel that keeps it
	Offset    event.Offset  `json:"offset"`  // in that channel
	Copies    int           `json:"copies"`  // how often it is kept, as far as was looked
	Component string        `json:"component"`
	Group     string        `json:"group,omitempty"` // that it is a member of
	Processor string        `json:"processor,omitempty"`
	Plugin    string        `json:"plugin,omitempty"`
	Reason    string        `json:"reason"` // "rejected", "too_big", "broke"
	Class     string        `json:"class"`
	Code      string        `json:"code,omitempty"`
	Said      string        `json:"said"` // in the words of the plugin or its destination
	Attempts  int           `json:"attempts,omitempty"`
	GivenUp   time.Time     `json:"given_up,omitzero"`
	From      origin        `json:"from"`
	Event     shownEvent    `json:"event"` // as it was, without what was added here
	identity  dead.Identity // equal for letters of one event
}

// origin is where the event was, or else what tells it from others.
type origin struct {
	Channel     string `json:"channel,omitempty"` // its name where it is known
	UUID        string `json:"uuid,omitempty"`    // of the channel
	Incarnation string `json:"incarnation,omitempty"`
	Offset      string `json:"offset,omitempty"`
	Digest      string `json:"digest,omitempty"`
}

// readLetter takes the attributes of a dead letter apart. What is missing stays empty.
func readLetter(e event.Event) letter {
	d := dead.Read(&e)
	return letter{
		Component: d.Component, Group: d.Group, Processor: d.Processor, Plugin: d.Plugin, Reason: d.Reason, Class: d.Class, Code: d.Code, Said: d.Said,
		Attempts: d.Attempts, GivenUp: d.GivenUp, From: origin{UUID: d.UUID, Incarnation: d.Incarnation, Offset: d.Offset, Digest: d.Digest},
		Copies: 1, identity: d.Identity(),
	}
}

// showLetter is readLetter with the event as it was.
func showLetter(keeper string, o event.Offset, e event.Event) letter {
	l := readLetter(e)
	l.Keeper, l.Offset = keeper, o
	l.Event = showEvent(o, dead.Strip(e))
	return l
}

const (
	// maxSaid is how much of a reason a line of a table shows, in characters.
	maxSaid = 60
	// maxShownText is how much of a value, and maxShownBody how much of a body, is printed to a person; --json has all of it.
	maxShownText, maxShownBody = 256, 2048
)

// print shows the letter to a person.
func (l *letter) print(t *terminal) {
	t.printf("%s\n", t.paint(bold, fmt.Sprintf("%s %d", l.Keeper, l.Offset)))
	row := func(name, format string, args ...any) {
		t.printf("  %s  %s\n", t.paint(dim, fmt.Sprintf("%-10s", name)), fmt.Sprintf(format, args...))
	}
	by := l.Component
	if l.Processor != "" {
		by += ", " + l.Processor
	}
	if l.Plugin != "" {
		by += " (" + printable(l.Plugin) + ")"
	}
	row("given up", "%s by %s", moment(l.GivenUp), by)
	why := l.Reason
	if l.Code != "" {
		why += " (" + printable(l.Code) + ")"
	}
	if l.Attempts > 0 {
		why += ", after " + plural(l.Attempts, "attempt")
	}
	row("reason", "%s: %s", why, printable(l.Said))
	switch {
	case l.From.Offset != "":
		row("from", "offset %s of %s", l.From.Offset, l.From.place())
	case l.From.Digest != "":
		row("from", "its source, before any channel; digest %s", l.From.Digest)
	}
	if l.Copies > 1 {
		row("copies", "%d, as the agent was killed in between: one event all the same", l.Copies)
	}
	row("event time", "%s", l.Event.Time.Local().Format(time.RFC3339Nano))
	l.printContent(row)
}

func (o origin) place() string {
	if o.Channel != "" {
		return o.Channel
	}
	return "the channel with the uuid " + printable(o.UUID)
}

func (l *letter) printContent(row func(name, format string, args ...any)) {
	names := make([]string, 0, len(l.Event.Attributes)+len(l.Event.Binary))
	for k := range l.Event.Attributes {
		names = append(names, k)
	}
	for k := range l.Event.Binary {
		names = append(names, k)
	}
	slices.Sort(names)
	for i, k := range names {
		head := ""
		if i == 0 {
			head = "attributes"
		}
		value := []byte(l.Event.Attributes[k])
		if b, ok := l.Event.Binary[k]; ok {
			value = b
		}
		row(head, "%s = %s", printable(k), escape(value, maxShownText))
	}
	body := l.Event.BinaryBody
	if l.Event.Body != nil {
		body = []byte(*l.Event.Body)
	}
	row("body", "%s, %s", plural(len(body), "byte"), escape(body, maxShownBody))
}

// escape writes b in quotes, with what cannot be seen as \n, \x00, \u202e; and how much more there is than most bytes.
func escape(b []byte, most int) string {
	more := ""
	if len(b) > most {
		cut := most
		for cut > most-utf8.UTFMax && !utf8.RuneStart(b[cut]) { // not within a character
			cut--
		}
		more = fmt.Sprintf(" … and %s (all of it: --json)", plural(len(b)-cut, "more byte"))
		b = b[:cut]
	}
	return strconv.Quote(string(b)) + more
}

// shorten cuts s to so many characters, and drops what would break a line.
func shorten(s string, most int) string {
	r := []rune(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, s))
	if len(r) <= most {
		return string(r)
	}
	return string(r[:most-1]) + "…"
}
