// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/spec/event"
)

const deadArgHelp = `A CHANNEL is the name of one that keeps dead letters ("rejected"), its directory, or a data directory. Without one, all of the agent in this
directory's pipeline files are meant.`

func newDeadCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look at dead letters, deliver them again, or give them up",
		Long: `Look at dead letters, deliver them again, or give them up: events that a sink rejects or breaks on, or a processor with
on_error = "dead_letter". They are kept, with the reason, in the channel that the pipeline names with dead_letter, until someone decides. To look, the
directories are read as they are; no agent needs to run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDeadLsCommand(a), newDeadShowCommand(a), newDeadReplayCommand(a), newDeadDropCommand(a))
	return cmd
}

const (
	// maxDeadGroups bounds what ls holds: components times reasons.
	maxDeadGroups = 10_000
	// maxDeadIdentities bounds how many letters are told from others of the same event; those beyond count as events of their own.
	maxDeadIdentities = 1 << 20
)

// deadChannel is what lies in one channel of dead letters.
type deadChannel struct {
	channelDir
	Letters uint64       `json:"letters"` // that are kept
	Events  uint64       `json:"events"`  // that they are of: one is kept twice when the agent was killed in between
	Bytes   uint64       `json:"bytes"`   // of them all, with their attributes
	Oldest  time.Time    `json:"oldest,omitzero"`
	Newest  time.Time    `json:"newest,omitzero"`
	Groups  []*deadGroup `json:"groups"`
	Damage  []damage     `json:"damage"`            // what was passed over
	Problem string       `json:"problem,omitempty"` // why there is no more to say

	seen map[dead.Identity]bool
}

// deadGroup is what one component gave up for one reason.
type deadGroup struct {
	Component string    `json:"component"`
	Processor string    `json:"processor,omitempty"`
	Reason    string    `json:"reason"` // "rejected", "too_big", "broke"
	Letters   uint64    `json:"letters"`
	Oldest    time.Time `json:"oldest"`
	Newest    time.Time `json:"newest"`
	Said      string    `json:"said"` // of the newest, in the words of the plugin
}

func newDeadLsCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:     "ls [CHANNEL...]",
		Aliases: []string{"list"},
		Short:   "Count what is kept, by component and reason",
		Long: `Count the dead letters that are kept in each channel for them: how many, of which component, for which reason, since when. The reason
is "rejected", "too_big", or "broke" where a plugin broke on the event.

` + deadArgHelp,
		Example:           "  penstock dead ls\n  penstock dead ls rejected --json",
		ValidArgsFunction: a.completeDead,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := a.deadChannels(cmd, args, dataDir)
			if err != nil {
				return err
			}
			letters := uint64(0)
			for i := range list {
				if err := a.countDead(cmd, &list[i]); err != nil {
					return err
				}
				letters += list[i].Letters
			}
			return a.answer(cmd, plural(letters, "dead letter"), list, func(t *terminal) { printDead(t, a.err, list) })
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	return withJSON(cmd)
}

// deadChannels finds those that keep dead letters. One that is named and keeps none is an error.
func (a *app) deadChannels(cmd *cobra.Command, args []string, dataDir string) ([]deadChannel, error) {
	list := a.deadInMemory(cmd.Context(), args, dataDir)
	dirs, err := a.findChannels(args, dataDir)
	if err != nil && len(list) == 0 {
		return nil, err
	}
	for _, dir := range dirs {
		keys, err := a.keys(cmd, dir)
		if err != nil {
			return nil, err
		}
		info, err := wal.Inspect(dir.Path, keys...)
		keeps := slices.ContainsFunc(info.Readers, func(r wal.ReaderInfo) bool { return r.Name == agent.DeadReader })
		named := len(args) > 0 && !isDataDir(args, dir)
		switch {
		case err != nil && named:
			return nil, err
		case err != nil:
			list = append(list, deadChannel{channelDir: dir, Problem: err.Error()})
		case keeps:
			list = append(list, deadChannel{channelDir: dir})
		case named:
			return nil, wrongUse("See what is in it with: penstock channel peek "+strings.TrimPrefix(dir.Name, "channel."),
				"%s keeps no dead letters: no channel names it as its dead_letter, or no agent has run since", dir.Name)
		}
	}
	for i := range list {
		list[i].Groups, list[i].Damage = []*deadGroup{}, []damage{}
	}
	return list, nil
}

// isDataDir says whether it is not dir itself that was named, but the data directory that it is in.
func isDataDir(args []string, dir channelDir) bool {
	return !slices.ContainsFunc(args, func(arg string) bool {
		return arg == dir.Path || "channel."+strings.TrimPrefix(arg, "channel.") == dir.Name
	})
}

// deadInMemory lists the channels of a running agent that keep dead letters in its memory: it tells how many there are, and no more.
func (a *app) deadInMemory(ctx context.Context, args []string, flag string) (list []deadChannel) {
	dataDir, err := a.findDataDir(".", flag)
	if err != nil {
		return nil
	}
	status, err := admin.Ask(ctx, dataDir)
	if err != nil {
		return nil
	}
	for _, c := range status.Channels {
		i := slices.IndexFunc(c.Readers, func(r admin.Reader) bool { return r.Name == agent.DeadReader })
		if c.Kind == "wal" || i < 0 || len(args) > 0 && isDataDir(args, channelDir{Name: c.Address}) {
			continue
		}
		list = append(list, deadChannel{
			channelDir: channelDir{Name: c.Address}, Letters: c.Readers[i].Waiting, Events: c.Readers[i].Waiting, Bytes: c.Bytes,
			Problem: "it is in the memory of the agent, where they cannot be looked at; a channel \"wal\" keeps them on the disk",
		})
	}
	return list
}

// countDead goes through the letters of one channel.
func (a *app) countDead(cmd *cobra.Command, c *deadChannel) error {
	if c.Problem != "" {
		return nil
	}
	keys, err := a.keys(cmd, c.channelDir)
	if err != nil {
		return err
	}
	c.seen = map[dead.Identity]bool{}
	bar := progressBar{to: a.err, what: "reading " + c.Name, quiet: wantsJSON(cmd)}
	passed, err := wal.Browse(c.Path, agent.DeadReader, bar.draw, func(_ event.Offset, e event.Event) bool {
		c.count(e)
		return true
	}, keys...)
	bar.clear()
	if err != nil && !errors.Is(err, channel.ErrNoReader) { // purged and forgotten since
		return err
	}
	c.Damage = damages(passed)
	slices.SortFunc(c.Groups, func(x, y *deadGroup) int {
		return cmp.Or(cmp.Compare(y.Letters, x.Letters), strings.Compare(x.Component, y.Component), strings.Compare(x.Processor, y.Processor))
	})
	return nil
}

func (c *deadChannel) count(e event.Event) {
	l := readLetter(e)
	c.Letters++
	c.Bytes += uint64(len(e.Body))
	for _, at := range e.Attributes {
		c.Bytes += uint64(len(at.Key) + len(at.Value))
	}
	if id := l.identity; !c.seen[id] {
		c.Events++
		if len(c.seen) < maxDeadIdentities {
			c.seen[id] = true
		}
	}
	c.Oldest, c.Newest = stretch(c.Oldest, c.Newest, l.GivenUp)
	i := slices.IndexFunc(c.Groups, func(g *deadGroup) bool {
		return g.Component == l.Component && g.Processor == l.Processor && g.Reason == l.Reason
	})
	if i < 0 {
		if len(c.Groups) >= maxDeadGroups {
			return
		}
		i = len(c.Groups)
		c.Groups = append(c.Groups, &deadGroup{Component: l.Component, Processor: l.Processor, Reason: l.Reason})
	}
	g := c.Groups[i]
	g.Letters++
	if g.Oldest, g.Newest = stretch(g.Oldest, g.Newest, l.GivenUp); g.Newest.Equal(l.GivenUp) {
		g.Said = l.Said
	}
}

// stretch takes a time into a span.
func stretch(oldest, newest, at time.Time) (time.Time, time.Time) {
	if oldest.IsZero() || at.Before(oldest) {
		oldest = at
	}
	if at.After(newest) {
		newest = at
	}
	return oldest, newest
}

func printDead(t, errs *terminal, list []deadChannel) {
	if len(list) == 0 {
		t.printf("no channel keeps dead letters; dead_letter = channel.NAME of a channel says where they go\n")
		return
	}
	for i, c := range list {
		if i > 0 {
			t.printf("\n")
		}
		switch {
		case c.Problem != "" && c.Letters > 0:
			t.printf("%s  %s: %s\n", t.paint(bold, c.Name), plural(c.Letters, "dead letter"), c.Problem)
		case c.Problem != "":
			t.printf("%s  %s\n", t.paint(bold, c.Name), c.Problem)
		case c.Letters == 0:
			t.printf("%s  no dead letters\n", t.paint(bold, c.Name))
		default:
			c.print(t)
		}
		for _, d := range c.Damage {
			errs.printf("passed over: %s\n", d.text(errs, c.Path))
		}
	}
}

func (c *deadChannel) print(t *terminal) {
	twice := ""
	if c.Letters > c.Events {
		twice = " of " + plural(c.Events, "event") // the others are kept twice
	}
	t.printf("%s  %s%s, %s, %s\n", t.paint(bold, c.Name), plural(c.Letters, "dead letter"), twice, size(c.Bytes), between(c.Oldest, c.Newest))
	rows := [][]string{{"  COMPONENT", "REASON", "LETTERS", "NEWEST", "WHY"}}
	for _, g := range c.Groups {
		who := g.Component
		if g.Processor != "" {
			who += " " + g.Processor
		}
		rows = append(rows, []string{"  " + who, g.Reason, number(g.Letters), moment(g.Newest), shorten(printable(g.Said), maxSaid)})
	}
	t.table(rows)
	name := strings.TrimPrefix(c.Name, "channel.")
	t.printf("  see them: penstock dead show %s\n", name)
}

// between says when letters were given up.
func between(oldest, newest time.Time) string {
	if moment(oldest) == moment(newest) {
		return "of " + moment(oldest)
	}
	return "from " + moment(oldest) + " to " + moment(newest)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.Local().Format(time.DateTime)
}

// completeDead lets the shell complete the names of channels on the disk that keep dead letters.
func (a *app) completeDead(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	dataDir, _ := cmd.Flags().GetString("data-dir")
	found, err := a.findChannels(nil, dataDir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	var names []cobra.Completion
	for _, dir := range found {
		info, _ := wal.Inspect(dir.Path, a.pipelineKeys(dir)...) // one that cannot be read has none
		name := strings.TrimPrefix(dir.Name, "channel.")
		if slices.ContainsFunc(info.Readers, func(r wal.ReaderInfo) bool { return r.Name == agent.DeadReader }) && !slices.Contains(args, name) && strings.HasPrefix(name, begun) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
