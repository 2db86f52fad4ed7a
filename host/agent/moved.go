// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// A source may fill another channel than it did when the agent ran last. Its cursor is then in that one, which may be
// one that the configuration does not name any more. Before its first instance is opened, its cursor is committed to its
// own channel with a move number that is one higher, flushed, and then removed from all others. A crash between the two
// leaves it in both: the higher number counts.

// place is where cursors may be.
type place struct {
	name    string       // the address of a channel, or a directory
	channel *openChannel // nil: the configuration does not name it
	moves   map[string]uint32
	unread  error // why it is not known what is in it
}

// lasts says whether what is in it is there after a restart.
func (p *place) lasts() bool { return p.channel == nil || p.channel.kind == "wal" }

// moveWait bounds how long a channel may keep a cursor waiting, as one that is full does. The source is tried again then.
const moveWait = 2 * time.Second

var errNoRoom = errors.New("that channel is full: its sinks must make room first")

// moves are all places, and what is in them.
type moves struct {
	mu     sync.Mutex // held while a cursor moves: two sources may be in one directory
	places []*place
}

// survey looks at what all channels have of sources, and at what is left of channels that are not named any more.
func (a *Agent) survey() error {
	a.resurvey(a.channels())
	left, err := a.leftovers()
	for _, dir := range left {
		if !a.moves.knows(dir) {
			a.moves.add(a.lookInto(dir))
		}
	}
	a.warnOrphans()
	return err
}

// resurvey makes places of the channels that are open, of each once; directories stay what they were unless one of them is open.
func (a *Agent) resurvey(open []*openChannel) {
	m := &a.moves
	m.mu.Lock()
	defer m.mu.Unlock()
	var places []*place
	for _, c := range open {
		if !slices.ContainsFunc(places, func(p *place) bool { return p.channel == c }) {
			p := &place{name: c.address, channel: c}
			p.look()
			places = append(places, p)
		}
	}
	for _, p := range m.places {
		if p.channel == nil && !slices.ContainsFunc(open, func(c *openChannel) bool { return c.kind == "wal" && ChannelDir(a.dir, bare(c.address)) == p.name }) {
			places = append(places, p)
		}
	}
	m.places = places
}

// look notes what an open channel has of sources.
func (p *place) look() {
	p.moves = map[string]uint32{}
	for source, info := range p.channel.Stats().Sources {
		p.moves[source] = info.Move
	}
}

func (m *moves) knows(dir string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.places, func(p *place) bool { return p.name == dir })
}

func (m *moves) add(p *place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.places = append(m.places, p)
}

// leftovers are the directories of channels that the configuration does not name any more.
func (a *Agent) leftovers() (dirs []string, err error) {
	entries, err := os.ReadDir(ChannelDir(a.dir, ""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for channels of earlier runs: %w", err)
	}
	for _, e := range entries {
		named := slices.ContainsFunc(a.channels(), func(c *openChannel) bool {
			return c.kind == "wal" && c.address == "channel."+config.NameOfDir(e.Name())
		})
		if dir := ChannelDir(a.dir, e.Name()); e.IsDir() && !named && !neverUsed(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// neverUsed says whether a directory has no log, as when a channel was being made when the agent ended.
func neverUsed(dir string) bool {
	segments, err := os.ReadDir(filepath.Join(dir, "log"))
	return len(segments) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist))
}

// lookInto reads what is in the directory of a channel, and says when it holds events that somebody should get.
func (a *Agent) lookInto(dir string) *place {
	p := &place{name: dir, moves: map[string]uint32{}}
	info, err := wal.Inspect(dir, a.keys()...)
	if err != nil {
		p.unread = err
		a.opts.Log.Warn("a channel that the configuration does not name cannot be read: mend it, or move its directory away when nothing in it is wanted",
			"dir", dir, "error", err)
		return p
	}
	for _, s := range info.Sources {
		p.moves[s.Name] = s.Move
	}
	waiting := uint64(0)
	for _, r := range info.Readers {
		waiting = max(waiting, r.Waiting)
	}
	if waiting > 0 {
		a.opts.Log.Warn("a channel that the configuration does not name holds events that were not delivered: name it again, with its sinks, to deliver "+
			"them; or export them, and remove the directory", "dir", dir, "events", waiting, "command", "penstock channel export "+dir)
	}
	return p
}

// keys are all that channels have: a directory may be of any.
func (a *Agent) keys() (keys []wal.Key) {
	for _, name := range slices.Sorted(maps.Keys(a.current().Keys)) {
		keys = append(keys, a.current().Keys[name])
	}
	return keys
}

// warnOrphans says which sources begin anew while cursors are left that no source has: one may have been given another name.
func (a *Agent) warnOrphans() {
	var fresh, orphans []string
	named := map[string]bool{}
	name := func(address string) (before []string) {
		before = a.current().formerly(address)
		for _, name := range append([]string{address}, before...) {
			named[name] = true
		}
		return before
	}
	for _, s := range a.current().Config.Sinks {
		if s.Relays() {
			name(s.Address())
		}
	}
	for _, s := range a.current().Config.Sources {
		before := name(s.Address())
		if _, from := a.moves.newest(s.Address(), before, nil); s.Plugin.Replay == "cursor" && from == nil {
			fresh = append(fresh, s.Address())
		}
	}
	for _, p := range a.moves.places {
		for source := range p.moves {
			if !named[source] && !strings.HasPrefix(source, pipeline.DeadSource) {
				orphans = append(orphans, source+" in "+p.name)
			}
		}
	}
	slices.Sort(orphans)
	if len(fresh) > 0 && len(orphans) > 0 {
		a.opts.Log.Warn("sources begin anew, while there are cursors that no source has: if one was given another name, stop the agent and give it the old "+
			"one back, or it reads again what it had", "sources", fresh, "cursors", orphans)
	}
}

// latest is the place with the newest cursor of a source: that in its own channel unless one has moved further; nil = there is none.
func (m *moves) latest(source string, own *place) (latest *place) {
	if own != nil {
		if _, ok := own.moves[source]; ok {
			latest = own
		}
	}
	for _, p := range m.places {
		if n, ok := p.moves[source]; ok && (latest == nil || n > latest.moves[source]) {
			latest = p
		}
	}
	return latest
}

// newest is the name under which a source has a cursor, and the place with the newest: its own name, or else the last that it had before.
func (m *moves) newest(source string, before []string, own *place) (name string, from *place) {
	for _, name := range append([]string{source}, before...) {
		if from := m.latest(name, own); from != nil {
			return name, from
		}
	}
	return source, nil
}

// fetch makes sure that the cursor of a source, or of a relay, is in the channel of that name, and in no other, and under no name that it had before.
func (a *Agent) fetch(ctx context.Context, source, into string, before []string) error {
	a.moves.mu.Lock()
	defer a.moves.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, moveWait, errNoRoom)
	defer cancel()
	a.lookAgain()
	i := slices.IndexFunc(a.moves.places, func(p *place) bool { return p.name == "channel."+into })
	if i < 0 {
		return fmt.Errorf("channel.%s was given up by a reload, and %s should have ended before", into, source)
	}
	own := a.moves.places[i]
	name, from := a.moves.newest(source, before, own)
	if from == nil {
		return a.nowhere(source)
	}
	if from != own || name != source {
		if err := a.move(ctx, name, source, from, own); err != nil {
			return fmt.Errorf("move the cursor of %s from %s to %s: %w", source, from.name, own.name, err)
		}
	}
	if !own.lasts() { // the next start begins with what is in the other again
		return nil
	}
	for _, name := range append([]string{source}, before...) {
		a.leave(ctx, name, source, own)
	}
	return nil
}

// lookAgain looks at what may have changed since the last look: sources have come and gone, and somebody has done what the log said about directories.
func (a *Agent) lookAgain() {
	for i, p := range a.moves.places {
		switch {
		case p.channel != nil:
			p.look()
		case neverUsed(p.name): // it was moved away
			p.moves, p.unread = nil, nil
		case p.unread != nil: // it may have been mended
			a.moves.places[i] = a.lookInto(p.name)
		}
	}
}

// leave removes the cursors that a source has elsewhere, or under a name that it had before.
func (a *Agent) leave(ctx context.Context, name, source string, own *place) {
	for _, p := range a.moves.places {
		if _, there := p.moves[name]; !there || p == own && name == source {
			continue
		}
		a.opts.Step("remove")
		err := p.with(a, func(c channel.Channel) error { return commit(ctx, c, channel.Put{Source: name, Removed: true}) })
		if err != nil { // it does no harm there, since its number is lower, or its name is not asked for
			a.opts.Log.Warn("the cursor of a source that has moved is not removed from where it was, will try again at the next start",
				"component", source, "from", p.name, "error", err)
		}
		delete(p.moves, name)
	}
}

// nowhere says whether a source that has no cursor may begin anew: not when it may be where nobody can look.
func (a *Agent) nowhere(source string) error {
	for _, p := range a.moves.places {
		if p.unread != nil {
			return &plugin.Error{Class: abi.Config, Message: fmt.Sprintf("%s has no cursor in the channels that there are, and it is not known whether it has one in %s", source, p.name),
				Hint: "mend that channel, or move its directory away to begin anew", Err: p.unread}
		}
	}
	return nil
}

// move commits a cursor to the source's own channel.
func (a *Agent) move(ctx context.Context, name, source string, from, to *place) error {
	var at channel.Position
	err := from.with(a, func(c channel.Channel) (err error) {
		at, err = c.Cursor(ctx, name)
		return err
	})
	if err != nil {
		return err
	}
	a.opts.Step("move")
	err = commit(ctx, to.channel, channel.Put{Source: source, Removed: true}, // what an earlier move left behind
		channel.Put{Source: source, Changed: at.Cursor, Version: at.Version, Move: at.Move + 1})
	if err != nil {
		return err
	}
	to.moves[source] = at.Move + 1
	if name != source {
		a.opts.Log.Info("a source has another name, and goes on where it was", "component", source, "before", name, "from", from.name, "to", to.name, "move", at.Move+1)
		return nil
	}
	a.opts.Log.Info("a source has moved to another channel, and goes on where it was", "component", source, "from", from.name, "to", to.name, "move", at.Move+1)
	return nil
}

// with lends the channel at a place, which is opened where it is not.
func (p *place) with(a *Agent, f func(channel.Channel) error) error {
	if p.channel != nil {
		return f(p.channel)
	}
	o := wal.Options{Dir: p.name, Log: a.opts.Log.With("dir", filepath.Base(p.name)), Observer: channel.Observer{Step: a.opts.Step}, OldKeys: a.keys()}
	if len(o.OldKeys) > 0 { // nothing that was encrypted gets plain
		o.Key = &o.OldKeys[0]
	}
	c, err := wal.Open(o)
	if err != nil {
		return err
	}
	return errors.Join(f(c), c.Close())
}

// commit makes puts durable in one transaction.
func commit(ctx context.Context, c channel.Channel, puts ...channel.Put) error {
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, p := range puts {
		if err := tx.Put(p); err != nil {
			return err
		}
	}
	return tx.Submit()()
}
