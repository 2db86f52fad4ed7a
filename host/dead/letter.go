// SPDX-License-Identifier: Apache-2.0

package dead

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// Letter is what a dead letter says of itself. What is missing stays empty.
type Letter struct {
	Component, Processor, Plugin string
	Group                        string // of which the component is a member; "": of none
	Reason                       string // "rejected", "too_big", "broke"
	Class, Code                  string
	Said                         string // in the words of the plugin or its destination
	Attempts                     int    // 0: not known
	GivenUp                      time.Time
	UUID, Incarnation, Offset    string // where the event was
	Digest                       string // instead of that, of one on its way into a channel
}

// Read takes the attributes of a dead letter apart.
func Read(e *event.Event) Letter {
	var l Letter
	for _, a := range e.Attributes {
		if !strings.HasPrefix(a.Key, event.DeadPrefix) {
			continue
		}
		if to := l.text(a.Key); to != nil {
			*to = string(a.Value)
		}
		switch a.Key {
		case event.DeadAttempts:
			l.Attempts, _ = strconv.Atoi(string(a.Value))
		case event.DeadTime:
			l.GivenUp, _ = time.Parse(time.RFC3339Nano, string(a.Value))
		}
	}
	l.Reason = pipeline.DeadReason(l.Class, l.Code)
	return l
}

// text is where the value of an attribute belongs, if that is a text.
func (l *Letter) text(key string) *string {
	switch key {
	case event.DeadComponent:
		return &l.Component
	case event.DeadGroup:
		return &l.Group
	case event.DeadProcessor:
		return &l.Processor
	case event.DeadPlugin:
		return &l.Plugin
	case event.DeadReason:
		return &l.Said
	case event.DeadClass:
		return &l.Class
	case event.DeadCode:
		return &l.Code
	case event.DeadChannel:
		return &l.UUID
	case event.DeadIncarnation:
		return &l.Incarnation
	case event.DeadOffset:
		return &l.Offset
	case event.DeadDigest:
		return &l.Digest
	}
	return nil
}

// Identity is equal for letters of one event.
type Identity [sha256.Size / 2]byte

// reader is whose the event was: the component's, or that of its group, of which any member may be given it.
func (l *Letter) reader() string { return cmp.Or(l.Group, l.Component) }

// Identity tells the event from others.
func (l *Letter) Identity() Identity {
	sum := sha256.Sum256([]byte(strings.Join([]string{l.reader(), l.Processor, l.UUID, l.Incarnation, l.Offset, l.Digest}, "\x00")))
	return Identity(sum[:len(Identity{})])
}

// offset is where the event was; false: it was in no channel.
func (l *Letter) offset() (event.Offset, bool) {
	n, err := strconv.ParseUint(l.Offset, 10, 64)
	return event.Offset(n), err == nil && l.UUID != ""
}

// Strip returns the event as it was, in new memory for its list of attributes.
func Strip(e event.Event) event.Event {
	e.Attributes = slices.DeleteFunc(slices.Clone(e.Attributes), func(a event.Attribute) bool { return strings.HasPrefix(a.Key, event.DeadPrefix) })
	return e
}

// Filter says which letters are meant. What is empty holds for all.
type Filter struct {
	Component string         `json:"component,omitempty"` // that gave the event up, or its group, or the processor
	Reason    string         `json:"reason,omitempty"`
	Class     string         `json:"class,omitempty"` // "reject", "fatal"
	Since     time.Time      `json:"since,omitzero"`  // given up then or later
	Until     time.Time      `json:"until,omitzero"`  // given up before
	Offsets   []event.Offset `json:"offsets,omitempty"`
	Digest    string         `json:"digest,omitempty"`
	Limit     int            `json:"limit,omitempty"`  // events; 0: all
	Before    event.Offset   `json:"before,omitempty"` // in the channel that keeps them; 0: all
}

// MaxOffsets bounds the offsets that a filter names: more are better said by a time or a component.
const MaxOffsets = 1000

// Wants says whether the letter at an offset of its keeper is meant.
func (f *Filter) Wants(o event.Offset, l *Letter) bool {
	switch {
	case f.Before > 0 && o >= f.Before,
		f.Component != "" && f.Component != l.Component && f.Component != l.Group && f.Component != l.Processor,
		f.Reason != "" && f.Reason != l.Reason,
		f.Class != "" && f.Class != l.Class,
		f.Digest != "" && f.Digest != l.Digest,
		!f.Since.IsZero() && l.GivenUp.Before(f.Since),
		!f.Until.IsZero() && !l.GivenUp.Before(f.Until),
		len(f.Offsets) > 0 && !slices.Contains(f.Offsets, o):
		return false
	}
	return true
}
