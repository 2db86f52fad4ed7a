// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel/wal"
)

// listedChannel is one line of ls.
type listedChannel struct {
	channelDir
	Kind    string         `json:"kind"`
	Running bool           `json:"running"` // the agent that runs has it
	Waiting uint64         `json:"waiting"` // events that some reader has not committed
	Bytes   uint64         `json:"bytes"`
	Readers []listedReader `json:"readers"`
	Problem string         `json:"problem,omitempty"` // why it cannot be read, or takes nothing
}

// listedReader is how much waits for one reader.
type listedReader struct {
	Name    string `json:"reader"`
	Waiting uint64 `json:"waiting"`
}

func newChannelLsCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the channels of an agent",
		Long: `List the channels of the agent in this directory's pipeline files, or of --data-dir: those that it has open, and those that lie in the
data directory and that no pipeline uses any more.`,
		Example: "  penstock channel ls\n  penstock channel ls --data-dir /var/lib/penstock --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.findDataDir(".", dataDir)
			if err != nil {
				return err
			}
			list, err := a.list(cmd.Context(), cmd, dir)
			if err != nil {
				return err
			}
			return a.answer(cmd, plural(len(list), "channel"), list, func(t *terminal) { printList(t, list) })
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	return withJSON(cmd)
}

// list joins what the agent says, if one runs, to what lies in the directory.
func (a *app) list(ctx context.Context, cmd *cobra.Command, dataDir string) ([]listedChannel, error) {
	list := []listedChannel{}
	status, online := admin.Ask(ctx, dataDir)
	for _, c := range status.Channels {
		l := listedChannel{channelDir: channelDir{Name: c.Address}, Kind: c.Kind, Running: true, Waiting: c.Events, Bytes: c.Bytes, Problem: cmp.Or(c.Stopped, c.ShortOfDisk)}
		for _, r := range c.Readers {
			l.Readers = append(l.Readers, listedReader{r.Name, r.Waiting})
		}
		list = append(list, l)
	}
	there, err := channelsIn(dataDir)
	if err != nil && online != nil {
		return nil, err
	}
	for _, dir := range there {
		if i := slices.IndexFunc(list, func(l listedChannel) bool { return l.Name == dir.Name }); i >= 0 {
			list[i].Path = dir.Path
			continue
		}
		keys, err := a.keys(cmd, dir)
		if err != nil {
			return nil, err
		}
		list = append(list, listDir(dir, keys))
	}
	return list, nil
}

func listDir(dir channelDir, keys []wal.Key) listedChannel {
	l := listedChannel{channelDir: dir, Kind: "wal", Readers: []listedReader{}}
	info, err := wal.Inspect(dir.Path, keys...)
	if err != nil {
		l.Problem = err.Error()
	}
	l.Bytes = uint64(info.Bytes)
	for _, r := range info.Readers {
		l.Readers = append(l.Readers, listedReader{r.Name, r.Waiting})
		l.Waiting = max(l.Waiting, r.Waiting)
	}
	return l
}

func printList(t *terminal, list []listedChannel) {
	rows := [][]string{{"CHANNEL", "KIND", "AGENT", "WAITING", "SIZE", "READERS"}}
	for _, l := range list {
		state := "stopped"
		if l.Running {
			state = "runs"
		}
		readers := make([]string, 0, len(l.Readers))
		for _, r := range l.Readers {
			readers = append(readers, fmt.Sprintf("%s (%s)", r.Name, number(r.Waiting)))
		}
		rows = append(rows, []string{l.Name, l.Kind, state, number(l.Waiting), size(l.Bytes), strings.Join(readers, ", ")})
	}
	t.table(rows)
	for _, l := range list {
		if l.Problem != "" {
			t.printf("\n%s %s\n", t.paint(bold, l.Name), l.Problem)
		}
	}
}

// printLive adds what only the agent knows to what inspect prints of a channel.
func printLive(t *terminal, c admin.Channel) {
	oldest := "nothing waits"
	if c.Events > 0 {
		oldest = "the oldest for " + span(time.Duration(c.OldestSeconds*float64(time.Second)))
	}
	rows := [][]string{{"  waiting", plural(c.Events, "event"), fill(c.Bytes, c.CapacityBytes) + ", " + oldest}}
	for _, r := range c.Readers {
		note := fmt.Sprintf("delivered below offset %d", r.Low)
		if r.Leased > 0 {
			note += fmt.Sprintf(", %s on the way", plural(r.Leased, "event"))
		}
		if !r.InUse {
			note += "; no sink uses it any more"
		}
		rows = append(rows, []string{"  " + r.Name, number(r.Waiting) + " waiting", note})
	}
	t.table(rows)
}
