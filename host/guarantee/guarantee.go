// SPDX-License-Identifier: Apache-2.0

// Package guarantee says what holds for an event on its way from a source to a destination: whether it may be lost, and whether
// it may come twice, when anything on the way is killed, cut off, full or without power.
//
// It is pure: a [Path] describes the links, and [Path.Faults] is what each of them can do, in the order of the links. A path holds
// what its weakest link does. spec/delivery.md has the table, and the test of this package is that table.
//
// What somebody asks for by a command, knowing it (purge, replay, forget), is no part of it, and neither is a disk that loses what it said to have.
package guarantee

import "strings"

// Level is what holds: two answers, a bit each. The two levels in the middle do not compare: see [Level.Covers].
type Level uint8

// The levels. The bit of AtMostOnce is set where nothing comes twice, that of AtLeastOnce where nothing is lost.
const (
	BestEffort  Level = iota // an event may be lost, and may come twice
	AtMostOnce               // it may be lost
	AtLeastOnce              // it may come twice
	ExactlyOnce
)

var names = [...]string{"best effort", "at most once", "at least once", "exactly once"}

// String is how people are told.
func (l Level) String() string { return names[l] }

// Parse reads what String wrote, or what a pipeline file says: "at_least_once".
func Parse(s string) (Level, bool) {
	for i, name := range names {
		if strings.ReplaceAll(s, "_", " ") == name {
			return Level(i), true
		}
	}
	return BestEffort, false
}

// Covers says whether who was promised less is content with l.
func (l Level) Covers(less Level) bool { return l&less == less }

func (l Level) mayLose() bool   { return l&AtLeastOnce == 0 }
func (l Level) mayRepeat() bool { return l&AtMostOnce == 0 }

// Source is where a path begins.
type Source struct {
	Address string
	Replay  string // what its plugin claims: "cursor", "ack", or anything else
}

// Processor is on the way into a channel, or out of one.
type Processor struct {
	Address string
	OnError string // "drop" gives events up
}

// Channel keeps events.
type Channel struct {
	Address    string
	Memory     bool   // nothing of it is on disk
	Durability string // "fsync", or less
	OnFull     string // "drop_oldest" and "drop_newest" give events up
}

// Sink takes events out of a channel: the last of a path, or a relay into the next channel.
type Sink struct {
	Address string
	Effects string // what its plugin claims: "transactional", "idempotent", or anything else
	OnLag   string // "skip" and "detach" give events up
	Member  string // address of the group that it is a member of; "" = of none
	Group   string // the same of a group that gives another member what this one may hold; "" = none does
}

// Stage is a channel, and who takes events out of it.
type Stage struct {
	Channel Channel
	Case    string   // of a route, which deals the channel's events; "" = none does. What is not for the sink is not on the path
	Dead    *Channel // keeps what the sink rejects; nil: such a sink is held
	// Processors are on the way out of the channel. What they make of an event keeps its offset, so that they are nothing to the destination's knowing it.
	Processors []Processor
	Sink       Sink
}

// Path is a way from a source to a destination.
type Path struct {
	Source     Source
	Processors []Processor
	Stages     []Stage // one, but where channels are joined by relays
}

// Fault is what a link can do to an event.
type Fault struct {
	Address  string `json:"address"`            // of the link
	Argument string `json:"argument,omitempty"` // that makes it so; "" = its plugin
	Loses    bool   `json:"loses"`
	Repeats  bool   `json:"repeats"`
	Why      string `json:"why"`    // a clause
	Remedy   string `json:"remedy"` // a clause: what would mend it
}

// Faults are what the links can do, each in their order; none: exactly once.
func (p Path) Faults() (list []Fault) {
	list = append(list, p.Source.faults()...)
	for _, proc := range p.Processors {
		list = append(list, proc.faults()...)
	}
	replay := p.Source.Replay
	for _, s := range p.Stages {
		list = append(list, s.Channel.faults(replay)...)
		list = append(list, s.Channel.deadFaults(s.Dead)...)
		for _, proc := range s.Processors {
			list = append(list, proc.faults()...)
		}
		list = append(list, s.Sink.faults()...)
		replay = "cursor" // a relay goes on from what the next channel holds
	}
	return list
}

// Level is what holds when these are the faults.
func levelOf(faults []Fault) Level {
	l := ExactlyOnce
	for _, f := range faults {
		if f.Loses {
			l &^= AtLeastOnce
		}
		if f.Repeats {
			l &^= AtMostOnce
		}
	}
	return l
}

// Breaks says whether the fault is in the way of that level.
func (f Fault) Breaks(l Level) bool { return f.Loses && !l.mayLose() || f.Repeats && !l.mayRepeat() }

// Level is what holds on the path.
func (p Path) Level() Level { return levelOf(p.Faults()) }

// Why says what makes the path what it is: the weakest links, or what holds it.
func (p Path) Why() string {
	faults := p.Faults()
	level := levelOf(faults)
	var why []string
	say := func(does func(Fault) bool) {
		for _, f := range faults {
			if does(f) {
				if len(why) == 0 || why[0] != f.Why {
					why = append(why, f.Why)
				}
				return
			}
		}
	}
	if level.mayLose() {
		say(func(f Fault) bool { return f.Loses })
	}
	if level.mayRepeat() {
		say(func(f Fault) bool { return f.Repeats })
	}
	if level == ExactlyOnce {
		why = append(why, "cursor in the record")
		if p.last().Effects == "idempotent" {
			why = append(why, "the destination knows what it holds by its key")
		} else {
			why = append(why, "transactional sink")
		}
	}
	return strings.Join(why, "; ")
}

// last is the sink at the end.
func (p Path) last() Sink {
	if len(p.Stages) == 0 {
		return Sink{}
	}
	return p.Stages[len(p.Stages)-1].Sink
}

func (s Source) faults() []Fault {
	switch s.Replay {
	case "cursor":
		return nil
	case "ack":
		return []Fault{{
			Address: s.Address, Repeats: true,
			Why:    "a sender that missed the answer may send again",
			Remedy: "take the events from a source that resumes from its cursor",
		}}
	}
	return []Fault{{
		Address: s.Address, Loses: true,
		Why:    "what the source had taken and not yet stored is lost at a crash",
		Remedy: "take the events from a source that can ask for them again",
	}}
}

func (p Processor) faults() []Fault {
	if p.OnError != "drop" {
		return nil
	}
	return []Fault{{
		Address: p.Address, Argument: "on_error", Loses: true,
		Why:    p.Address + " gives up what it rejects",
		Remedy: `set on_error = "dead_letter", which keeps it`,
	}}
}
