// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
)

// channelTarget is a channel, and where an agent would be that has it.
type channelTarget struct {
	channelDir        // with no path, where it is in the memory of the agent
	dataDir    string // "" = its directory is in no data directory
}

// target finds the one channel that arg means: on the disk, or else in the agent that runs.
func (a *app) target(ctx context.Context, arg, dataDir string) (channelTarget, error) {
	dir, err := a.oneChannel(arg, dataDir)
	if err == nil {
		return channelTarget{dir, dataDirOf(dir.Path)}, nil
	}
	if found, ferr := a.findDataDir(".", dataDir); ferr == nil && !strings.ContainsRune(arg, filepath.Separator) {
		t := channelTarget{channelDir{Name: "channel." + config.NameOfDir(strings.TrimPrefix(arg, "channel."))}, found}
		if _, ok := t.live(ctx); ok {
			return t, nil
		}
	}
	return channelTarget{}, err
}

// dataDirOf is the data directory in which a channel lies, "" when it lies in none.
func dataDirOf(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	dir := filepath.Dir(filepath.Dir(abs))
	if agent.ChannelDir(dir, filepath.Base(abs)) != abs {
		return ""
	}
	return dir
}

// live is what the running agent says of the channel, if one runs.
func (t channelTarget) live(ctx context.Context) (admin.Channel, bool) {
	if t.dataDir == "" {
		return admin.Channel{}, false
	}
	status, err := admin.Ask(ctx, t.dataDir)
	if err != nil {
		return admin.Channel{}, false
	}
	return channelOf(status, t.Name)
}

func channelOf(s admin.Status, address string) (admin.Channel, bool) {
	i := slices.IndexFunc(s.Channels, func(c admin.Channel) bool { return c.Address == address })
	if i < 0 {
		return admin.Channel{}, false
	}
	return s.Channels[i], true
}

// act has the running agent do something to a channel. ErrNoAgent when none runs, or it has not that one.
func (t channelTarget) act(ctx context.Context, act admin.Action) (admin.Outcome, error) {
	if t.dataDir == "" {
		return admin.Outcome{}, admin.ErrNoAgent
	}
	act.Channel = t.Name
	out, err := admin.Act(ctx, t.dataDir, act)
	if r, ok := errors.AsType[*admin.Refusal](err); ok {
		if r.Code == admin.CodeAbsent && t.Path != "" { // a channel of an earlier pipeline, which nobody has open
			return out, admin.ErrNoAgent
		}
		exit := exitFailed
		if r.Code != admin.CodeRefused && r.Code != "failed" {
			exit = exitUsage
		}
		err = &fault{err: err, exit: exit, code: r.Code, hint: r.Hint}
	}
	return out, err
}

// looks tells the agent that events of the channel are read past it, so that its log says who did. Where none runs, there is nobody to tell.
func (a *app) looks(cmd *cobra.Command, t channelTarget, reader string) error {
	_, err := t.act(cmd.Context(), admin.Action{Verb: admin.Look, Reader: reader, With: commandName(cmd)})
	if errors.Is(err, admin.ErrNoAgent) {
		return nil
	}
	return err
}

// moving does something to readers of a channel, in the agent or, where none runs, in its directory.
func (a *app) moving(cmd *cobra.Command, t channelTarget, act admin.Action) (admin.Outcome, error) {
	out, err := t.act(cmd.Context(), act)
	if !errors.Is(err, admin.ErrNoAgent) {
		return out, err
	}
	keys, err := a.keys(cmd, t.channelDir)
	if err != nil {
		return out, err
	}
	m := offline{dir: t.channelDir, act: act, keys: keys}
	if err := m.forecast(); err != nil || act.DryRun {
		return m.out, err
	}
	return m.out, wal.Change(t.Path, m.do, keys...)
}

// offline is an action on a directory.
type offline struct {
	dir  channelDir
	act  admin.Action
	keys []wal.Key
	out  admin.Outcome
}

// forecast says what it would do.
func (m *offline) forecast() error {
	info, err := wal.Inspect(m.dir.Path, m.keys...)
	if err != nil {
		return err
	}
	if info.UsedBy != "" {
		return &fault{
			err:  fmt.Errorf("%s: %w, pid %s, and no agent answers at the control socket of its data directory", m.dir.Path, channel.ErrLocked, info.UsedBy),
			hint: "Wait until that agent has started or stopped, and see: penstock status",
		}
	}
	names := make([]string, 0, len(info.Readers))
	for _, r := range info.Readers {
		names = append(names, r.Name)
		if r.Name == m.act.Reader || m.act.Reader == "" || strings.HasPrefix(r.Name, m.act.Reader+"/") { // one of its lanes
			m.out.Readers = append(m.out.Readers, admin.Moved{Name: r.Name, Waiting: r.Waiting, GivenUp: r.Waiting})
		}
	}
	if len(m.out.Readers) == 0 && m.act.Reader != "" {
		return wrongUse("There are: "+strings.Join(names, ", "), "%s has no reader %q", m.dir.Name, m.act.Reader)
	}
	if m.act.Verb != admin.Replay {
		return nil
	}
	for i := range m.out.Readers {
		if err := m.locate(&m.out.Readers[i], info); err != nil {
			return err
		}
	}
	return nil
}

// locate finds out from where a replay would be, and what it means.
func (m *offline) locate(r *admin.Moved, info wal.Info) (err error) {
	if m.act.From.Stay {
		i := slices.IndexFunc(info.Readers, func(at wal.ReaderInfo) bool { return at.Name == r.Name })
		r.From = info.Readers[i].Low
	} else if o := m.act.From.Offset; o != nil {
		if r.From = *o; r.From < info.First || r.From > info.Next {
			return wrongUse("From the oldest that there is: --from oldest", "offset %d is not in the log: the oldest there is is %d, the next will be %d", r.From, info.First, info.Next)
		}
	} else if r.From, err = wal.Since(m.dir.Path, m.act.From.Since, m.keys...); err != nil {
		return err
	}
	ahead, err := wal.Ahead(m.dir.Path, r.From, m.keys...)
	r.Again, r.GivenUp = ahead-min(ahead, r.Waiting), r.Waiting-min(ahead, r.Waiting)
	return err
}

// do does it to the open channel.
func (m *offline) do(c *wal.Channel) (err error) {
	for i := range m.out.Readers {
		r := &m.out.Readers[i]
		switch m.act.Verb {
		case admin.Forget:
			err = c.Forget(r.Name)
		case admin.Replay:
			err = c.Replay(r.Name, r.From)
		default:
			r.GivenUp, err = c.Purge(r.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// movedChannel is what forget, purge and replay answer.
type movedChannel struct {
	channelDir
	Readers []admin.Moved `json:"readers"`
}

// move says what an action would do, asks, and does it. ask and done put an outcome into words.
func (a *app) move(cmd *cobra.Command, t channelTarget, act admin.Action, ask, done func([]admin.Moved) string) error {
	act.DryRun = true
	plan, err := a.moving(cmd, t, act)
	if err != nil {
		return err
	}
	if err := a.confirm(cmd, ask(plan.Readers)); err != nil {
		return err
	}
	act.DryRun = false
	if act.Verb == admin.Replay && !act.From.Stay { // what was asked about, not what is there by now
		act.From = &admin.Place{Offset: &plan.Readers[0].From}
	}
	out, err := a.moving(cmd, t, act)
	if err != nil {
		return err
	}
	summary := done(out.Readers)
	return a.answer(cmd, summary, movedChannel{t.channelDir, out.Readers}, func(to *terminal) { to.printf("%s  %s\n", to.paint(bold, t.Name), summary) })
}

// completeChannel lets the shell complete the name of a channel or a directory, and behind it the names of readers, if they are wanted.
func (a *app) completeChannel(readers bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		dataDir, _ := cmd.Flags().GetString("data-dir")
		if len(args) == 0 {
			if strings.ContainsRune(begun, os.PathSeparator) || begun == "." {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			found, err := a.findChannels(nil, dataDir)
			if err != nil {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			for _, c := range found {
				names = append(names, strings.TrimPrefix(c.Name, "channel."))
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		}
		if len(args) == 1 && readers {
			names = a.readersOf(cmd.Context(), args[0], dataDir)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// readersOf names the readers of a channel. What cannot be read has none.
func (a *app) readersOf(ctx context.Context, arg, dataDir string) (names []string) {
	t, err := a.target(ctx, arg, dataDir)
	if err != nil {
		return nil
	}
	if live, ok := t.live(ctx); ok {
		for _, r := range live.Readers {
			names = append(names, r.Name)
		}
		return names
	}
	info, _ := wal.Inspect(t.Path, a.pipelineKeys(t.channelDir)...)
	for _, r := range info.Readers {
		names = append(names, r.Name)
	}
	return names
}
