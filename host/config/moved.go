// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Move says that something has another name than it had, and is the same.
type Move struct {
	From, To string // addresses, e.g. "source.shop", "source.shop[\"eu\"]"
	At       hcl.Range
}

// movable is what keeps something under its name: a cursor, a position, events.
var movable = []string{"source", "sink", "channel"}

// movedBlock says what was called otherwise.
var movedBlock = block{
	name: "moved", doc: "Something has another name than it had, and keeps all that it has: a source its cursor, a sink its position, a channel its events. It may stay there for ever.",
	args: arguments(
		arg{name: "from", typ: "expression", required: true, doc: "The name that it had: `source.shop`, or `source.shop[\"eu\"]`."},
		arg{name: "to", typ: "expression", required: true, doc: "The name that it has."}),
}

// Formerly are the addresses that something had before, the newest first. An instance of a block that has moved as a whole has moved with it.
func (c *Config) Formerly(address string) (before []string) {
	for {
		from := c.before(address)
		if from == "" || slices.Contains(before, from) { // the latter is refused, and would never end
			return before
		}
		address = from
		before = append(before, from)
	}
}

func (c *Config) before(address string) string {
	base, key := splitName(address)
	for _, m := range c.Moved {
		switch _, fromKey := splitName(m.From); {
		case m.To == address:
			return m.From
		case m.To == base && key != "" && fromKey == "":
			return instanceName(m.From, key)
		}
	}
	return ""
}

// moved is a block that was read.
type moved struct {
	from, to string // addresses as they are written
	*values
}

// declareMoves reads all moved blocks.
func (l *loader) declareMoves(c *Config) {
	var all []moved
	for _, v := range l.blocks["moved"] {
		if v.broken {
			continue
		}
		from, ok := l.movable(v, "from")
		to, ok2 := l.movable(v, "to")
		switch {
		case !ok || !ok2:
		case kindOf(from) != kindOf(to):
			l.add("E1505", v.where("to"), "A %s stays one: it cannot become a %s.", kindOf(from), kindOf(to))
		default:
			all = append(all, moved{from, to, v})
		}
	}
	for _, m := range all {
		for _, one := range l.expandMove(m) {
			l.addMove(c, one)
		}
	}
	l.moveCircles(c)
}

func kindOf(address string) string {
	kind, _, _ := strings.Cut(address, ".")
	return kind
}

// movable is the address that an argument of a moved block names. What it names need not be there.
func (l *loader) movable(v *values, arg string) (address string, ok bool) {
	expr := v.args[arg].expr
	t, key, ok := l.split(expr)
	if !ok || len(t) != 2 || !slices.Contains(movable, t.RootName()) {
		l.add("E1502", expr.Range(), "What has moved is a source, a sink or a channel, written bare: source.NAME.")
		return "", false
	}
	name, _, ok := second(t)
	if !ok {
		l.add("E1502", expr.Range(), "What has moved is written %s.NAME, with a dot.", t.RootName())
		return "", false
	}
	address = t.RootName() + "." + name
	if key == nil {
		return address, true
	}
	value, ok := l.evaluate(key)
	if !ok {
		return "", false
	}
	text := stringOf(value)
	if !instanceKey.MatchString(text) {
		l.add("E1502", expr.Range(), "The key of an instance is a string in brackets: %s[\"KEY\"].", address)
		return "", false
	}
	return instanceName(address, text), true
}

// expandMove makes of the move of a block with for_each one of each instance.
func (l *loader) expandMove(m moved) []Move {
	keys, repeated := l.each[m.to]
	if !repeated || len(keys) == 0 {
		return []Move{{m.from, m.to, m.at}}
	}
	if strings.HasSuffix(m.from, "]") {
		l.add("E1505", m.where("to"), "%s has a for_each: say which of its instances, %s.", m.to, instanceName(m.to, keys[0]))
		return nil
	}
	var all []Move
	for _, key := range keys {
		all = append(all, Move{instanceName(m.from, key), instanceName(m.to, key), m.at})
	}
	return all
}

// addMove takes in a move, unless it contradicts what there is.
func (l *loader) addMove(c *Config, m Move) {
	switch first := slices.IndexFunc(c.Moved, func(o Move) bool { return o.From == m.From || o.To == m.To }); {
	case m.From == m.To:
		l.add("E1505", m.At, "%s has not moved: from and to are the same.", m.From)
	case l.isThere(m.From):
		l.add("E1505", m.At, "%s is still there, so it has not moved. What was split in two keeps its name in one of them.", m.From)
	case first >= 0 && c.Moved[first].From == m.From:
		l.add("E1505", m.At, "%s has moved to %s already, at %s. One thing cannot become two.", m.From, c.Moved[first].To, place(c.Moved[first].At))
	case first >= 0:
		l.add("E1505", m.At, "%s has come from %s already, at %s. Two things cannot become one.", m.To, c.Moved[first].From, place(c.Moved[first].At))
	default:
		c.Moved = append(c.Moved, m)
	}
}

// isThere says whether a block, or an instance of one, has that address.
func (l *loader) isThere(address string) bool {
	kind, name, _ := strings.Cut(address, ".")
	return slices.ContainsFunc(l.blocks[kind], func(v *values) bool { return v.name() == name })
}

// moveCircles reports moves that lead back to where they began.
func (l *loader) moveCircles(c *Config) {
	next := make(map[string]Move)
	for _, m := range c.Moved {
		next[m.From] = m
	}
	for _, start := range slices.Sorted(maps.Keys(next)) {
		way := []string{start}
		for m, ok := next[start]; ok; m, ok = next[m.To] {
			way = append(way, m.To)
			if m.To == start {
				l.add("E1505", next[start].At, "Moves lead in a circle, so that nobody knows which name is the last: %s.", strings.Join(way, " → "))
				for _, name := range way {
					delete(next, name)
				}
				break
			}
			if slices.Contains(way[:len(way)-1], m.To) {
				break // the circle is further on, and reported there
			}
		}
	}
}
