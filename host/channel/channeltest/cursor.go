// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// cursorIs checks a source's cursor.
func (e *env) cursorIs(source string, want event.Cursor) {
	e.Helper()
	e.positionIs(source, want, 0, 0)
}

func (e *env) positionIs(source string, want event.Cursor, version, move uint32) {
	e.Helper()
	p, err := e.ch.Cursor(e.Context(), source)
	e.must(err)
	if !maps.EqualFunc(p.Cursor, want, slices.Equal) || p.Version != version || p.Move != move {
		e.Fatalf("%s stands at %.200q version %d move %d, want %.200q version %d move %d",
			source, p.Cursor, p.Version, p.Move, want, version, move)
	}
}

// move commits a change of source.a's cursor, with no events.
func (e *env) move(changed event.Cursor) {
	e.Helper()
	e.must(e.submit(channel.Put{Source: "source.a", Changed: changed})())
}

func at(value string) event.Cursor { return event.Cursor{"k": []byte(value)} }

var cursorCases = []scenario{
	{"an unknown source stands nowhere", func(e *env) {
		e.open()
		e.cursorIs("source.never", nil)
	}},
	{"the cursor is the sum of the changes, and an empty value deletes", func(e *env) {
		e.open()
		e.move(event.Cursor{"a": []byte("1"), "b": []byte("1")})
		e.move(event.Cursor{"b": []byte("2"), "c": []byte("1")})
		e.cursorIs("source.a", event.Cursor{"a": []byte("1"), "b": []byte("2"), "c": []byte("1")})
		e.move(event.Cursor{"a": nil, "never": {}})
		e.cursorIs("source.a", event.Cursor{"b": []byte("2"), "c": []byte("1")})
	}},
	{"a batch without changes leaves the cursor as it is", func(e *env) {
		e.open()
		e.move(at("1"))
		e.put("event")
		e.cursorIs("source.a", at("1"))
	}},
	{"sources do not see each other's cursors", func(e *env) {
		e.open()
		e.move(at("1"))
		e.must(e.submit(channel.Put{Source: "source.b", Changed: at("2")})())
		e.cursorIs("source.a", at("1"))
		e.cursorIs("source.b", at("2"))
	}},
	{"what Cursor returned is the caller's own, and so is what was put once it is durable", func(e *env) {
		e.open()
		changed := at("1")
		e.move(changed)
		changed["k"][0], changed["other"] = 'X', []byte("X")
		p, err := e.ch.Cursor(e.Context(), "source.a")
		e.must(err)
		p.Cursor["k"][0], p.Cursor["other"] = 'Y', []byte("Y")
		e.cursorIs("source.a", at("1"))
	}},
	{"version and move number are kept", func(e *env) {
		e.open()
		e.must(e.submit(channel.Put{Source: "source.a", Changed: at("1"), Version: 3, Move: 2})())
		e.positionIs("source.a", at("1"), 3, 2)
		e.must(e.submit(channel.Put{Source: "source.a", Changed: at("2"), Version: 4, Move: 5})())
		e.positionIs("source.a", at("2"), 4, 5)
	}},
	{"the cursor of a source that has moved away is gone, and can begin anew", func(e *env) {
		e.open()
		e.must(e.submit(channel.Put{Source: "source.a", Changed: at("1"), Version: 3, Move: 2})())
		e.must(e.submit(channel.Put{Source: "source.a", Removed: true})())
		e.cursorIs("source.a", nil)
		e.must(e.submit(channel.Put{Source: "source.a", Changed: event.Cursor{"new": []byte("1")}, Move: 4})())
		e.positionIs("source.a", event.Cursor{"new": []byte("1")}, 0, 4)
	}},
	{"Cursor waits for what is in flight", func(e *env) {
		e.open()
		wait := e.submit(channel.Put{Source: "source.a", Batch: e.batch("1"), Changed: at("1")})
		var p channel.Position
		asked := e.later(func() (err error) {
			p, err = e.ch.Cursor(e.Context(), "source.a")
			return err
		})
		e.must(wait())
		e.must(asked.ends("Cursor"))
		if string(p.Cursor["k"]) != "1" {
			e.Fatalf("Cursor answered %q while the change was in flight", p.Cursor)
		}
	}},
	{"a cursor change alone is durable within a second, and before what follows it", func(e *env) {
		e.open()
		alone := e.later(e.submit(channel.Put{Source: "source.a", Changed: at("1")}))
		with := e.later(e.submit(channel.Put{Source: "source.a", Changed: at("2"), Batch: e.batch("1")}))
		e.must(alone.ends("a change alone"))
		e.must(with.ends("the change with a batch"))
		e.cursorIs("source.a", at("2"))
	}},
	{"many entries are kept", func(e *env) {
		e.open()
		want := event.Cursor{}
		for i := range 40 {
			changed := event.Cursor{}
			for j := range 50 {
				k := fmt.Sprintf("file-%d-%d", i, j)
				changed[k] = fmt.Appendf(nil, "offset %d", j)
				want[k] = changed[k]
			}
			e.move(changed)
		}
		e.cursorIs("source.a", want)
	}},
	{"a cursor over its limit is refused with its name and the limit, and nothing of it is kept", func(e *env) {
		e.open()
		e.move(many(15_000))
		err := e.submit(channel.Put{Source: "source.a", Changed: many(22_000), Batch: e.batch("refused")})()
		e.is(err, channel.ErrLimit)
		for _, word := range []string{"source.a", fmt.Sprint(channel.MaxCursor)} {
			if !strings.Contains(err.Error(), word) {
				e.Errorf("%q is not in: %v", word, err)
			}
		}
		e.is(e.submit(channel.Put{Source: "source.a", Changed: at("1")})(), channel.ErrPrior)
		e.cursorIs("source.a", many(15_000))
		e.move(many(20_000)) // most of it again
		e.cursorIs("source.a", many(20_000))
	}},
	{"all cursors together have a limit too, and it is said which source met it", func(e *env) {
		e.open()
		for _, name := range []string{"source.a", "source.b"} {
			e.must(e.submit(channel.Put{Source: name, Changed: many(21_000)})())
		}
		err := e.submit(channel.Put{Source: "source.c", Changed: many(3000)})()
		e.is(err, channel.ErrLimit)
		for _, word := range []string{"source.c", fmt.Sprint(channel.MaxCursors), "another channel"} {
			if !strings.Contains(err.Error(), word) {
				e.Errorf("%q is not in: %v", word, err)
			}
		}
		e.cursorIs("source.c", nil)
		e.must(e.submit(channel.Put{Source: "source.b", Removed: true})())
		e.must(e.submit(channel.Put{Source: "source.c", Changed: many(3000)})())
	}},
	{"an operator sees how much is kept of each source", func(e *env) {
		e.open()
		e.must(e.submit(channel.Put{Source: "source.a", Changed: many(10), Version: 2, Move: 3})())
		if got, want := e.operator().Stats().Sources["source.a"], (channel.SourceInfo{Entries: 10, Bytes: 960, Version: 2, Move: 3}); got != want {
			e.Errorf("%+v, want %+v", got, want)
		}
	}},
}

// many is a cursor of n entries, with keys of 80 bytes and values of 16.
func many(n int) event.Cursor {
	c := event.Cursor{}
	for i := range n {
		c[fmt.Sprintf("%080d", i)] = fmt.Appendf(nil, "%016d", i)
	}
	return c
}
