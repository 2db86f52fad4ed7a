// SPDX-License-Identifier: Apache-2.0

package channeltest

import (
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	day        = 24 * time.Hour
	month      = 30 * day
	untilSwept = 2 * time.Hour
)

// forgets opens a channel that forgets entries after a month, with source.a in use.
func (e *env) forgets() {
	e.Helper()
	e.options.ForgetAfter = month
	e.open()
	e.cursorIs("source.a", nil)
}

// sweeps lets the channel look for what was not set for long. It may do so when it has something to do.
func (e *env) sweeps() {
	e.Helper()
	time.Sleep(untilSwept)
	e.must(e.submit(channel.Put{Source: "source.other", Batch: e.batch("1")})())
}

func set(keys ...string) event.Cursor {
	c := event.Cursor{}
	for _, k := range keys {
		c[k] = []byte("1")
	}
	return c
}

var forgetCases = []scenario{
	{"an entry that its source left alone for long is forgotten and counted, one that was set again is not", func(e *env) {
		e.forgets()
		e.move(set("left", "also left", "kept"))
		time.Sleep(month / 2)
		e.move(set("kept"))
		time.Sleep(month/2 + day)
		e.sweeps()
		e.cursorIs("source.a", set("left", "also left", "kept")) // it sets nothing: it may be unable to
		e.move(set("new"))
		e.sweeps()
		e.cursorIs("source.a", set("kept", "new"))
		if n := e.operator().Stats().Forgotten; n != 2 {
			e.Errorf("%d are counted, want 2", n)
		}
	}},
	{"a source that is in use and sets nothing keeps all that it has", func(e *env) {
		e.forgets()
		e.move(set("a", "b"))
		time.Sleep(10 * month)
		e.sweeps()
		e.cursorIs("source.a", set("a", "b"))
	}},
	{"what nobody uses is forgotten as a whole, but for how often it moved", func(e *env) {
		e.forgets()
		e.must(e.submit(channel.Put{Source: "source.gone", Changed: set("a")})())
		e.must(e.submit(channel.Put{Source: "source.moved", Changed: set("a"), Move: 3})())
		time.Sleep(month - day)
		e.sweeps()
		if n := len(e.operator().Stats().Sources); n != 3 {
			e.Errorf("%d sources after a month less a day, want 3", n)
		}
		time.Sleep(2 * day)
		e.sweeps()
		got := e.operator().Stats().Sources
		if _, there := got["source.gone"]; there || got["source.moved"] != (channel.SourceInfo{Move: 3}) {
			e.Errorf("sources are %v", got)
		}
	}},
	{"nothing is forgotten where nobody asked for it", func(e *env) {
		e.open()
		e.move(set("a"))
		time.Sleep(10 * month)
		e.move(set("b"))
		e.sweeps()
		e.cursorIs("source.a", set("a", "b"))
	}},
}

var durableForgetCases = []scenario{
	{"when an entry was set is known after close and open, and so is what is forgotten", func(e *env) {
		e.forgets()
		e.move(set("left"))
		time.Sleep(month / 2)
		e.reopen()
		e.cursorIs("source.a", set("left"))
		time.Sleep(month/2 + day)
		e.move(set("new"))
		e.sweeps()
		e.cursorIs("source.a", set("new"))
		e.reopen()
		e.cursorIs("source.a", set("new"))
	}},
	{"a source that could not run for long has an hour to set again what it needs", func(e *env) {
		e.forgets()
		e.move(set("needed", "not needed"))
		e.close()
		time.Sleep(2 * month)
		e.open()
		e.cursorIs("source.a", set("needed", "not needed"))
		e.move(set("grows"))
		time.Sleep(30 * time.Minute)
		e.move(set("needed"))
		e.sweeps()
		e.cursorIs("source.a", set("grows", "needed"))
	}},
}
