// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// inspectedChannel is what inspect answers for one channel.
type inspectedChannel struct {
	channelDir
	UUID         string              `json:"uuid"`
	Version      int                 `json:"version"`
	Created      time.Time           `json:"created"`
	UsedBy       string              `json:"used_by,omitempty"`
	Segments     int                 `json:"segments"`
	Bytes        int64               `json:"bytes"`
	Events       uint64              `json:"events"`
	First        event.Offset        `json:"first"`
	Next         event.Offset        `json:"next"`
	Incarnations int                 `json:"incarnations"`
	Quarantine   int64               `json:"quarantine_bytes"`
	Readers      []inspectedReader   `json:"readers"`
	Sources      []inspectedPosition `json:"sources"`
	Dropped      []droppedEvents     `json:"dropped"` // as far as the end of the log has it on record
	Torn         *damage             `json:"torn,omitempty"`
	Live         *admin.Channel      `json:"live,omitempty"` // what the agent that has it says
}

// inspectedReader is where a sink stands.
type inspectedReader struct {
	Name    string       `json:"name"`
	Stream  string       `json:"stream"`
	Low     event.Offset `json:"low"`
	Waiting uint64       `json:"waiting"`
	Damaged bool         `json:"damaged"`
}

// inspectedPosition is where a source stands. What the entries mean is the plugin's own.
type inspectedPosition struct {
	Name    string            `json:"name"`
	Version uint32            `json:"version"`
	Entries map[string][]byte `json:"entries"`
}

func newChannelInspectCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "inspect [CHANNEL…]",
		Short: "Show what channels hold: how much, and who has read to where",
		Long: `Show what channels hold: how much waits, where each sink stands, and up to where each source has read. It reads the
end of the log only; "penstock channel verify" reads all of it.

` + channelArgHelp,
		Example: "  penstock channel inspect\n  penstock channel inspect main --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			dirs, err := a.findChannels(args, dataDir)
			if err != nil {
				return err
			}
			list := make([]inspectedChannel, 0, len(dirs))
			for _, dir := range dirs {
				c, err := a.inspectChannel(cmd, dir)
				if err != nil {
					return err
				}
				if live, ok := (channelTarget{dir, dataDirOf(dir.Path)}).live(cmd.Context()); ok {
					c.Live = &live
				}
				list = append(list, c)
			}
			return a.answer(cmd, plural(len(list), "channel"), list, func(t *terminal) {
				for _, c := range list {
					c.print(t)
				}
			})
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	return withJSON(cmd)
}

func (a *app) inspectChannel(cmd *cobra.Command, dir channelDir) (inspectedChannel, error) {
	keys, err := a.keys(cmd, dir)
	if err != nil {
		return inspectedChannel{}, err
	}
	info, err := wal.Inspect(dir.Path, keys...)
	if err != nil {
		return inspectedChannel{}, err
	}
	c := inspectedChannel{
		channelDir: dir, UUID: info.UUID, Version: info.Version, Created: info.Created, UsedBy: info.UsedBy,
		Segments: info.Segments, Bytes: info.Bytes, Events: info.Events, First: info.First, Next: info.Next,
		Incarnations: len(info.Incarnations), Quarantine: info.Quarantine,
		Readers: []inspectedReader{}, Sources: []inspectedPosition{}, Dropped: droppedOf(info.Dropped),
	}
	for _, r := range info.Readers {
		c.Readers = append(c.Readers, inspectedReader{r.Name, r.Stream, r.Low, r.Waiting, r.Damaged})
	}
	for _, s := range info.Sources {
		c.Sources = append(c.Sources, inspectedPosition{s.Name, s.Version, s.Cursor})
	}
	if d := info.Torn; d != nil {
		c.Torn = &damage{d.File, d.Offset, d.Length, d.Torn, d.Cause.Error()}
	}
	return c, nil
}

func (c inspectedChannel) print(t *terminal) {
	t.printf("%s  wal, format %d, %s, %s\n", t.paint(bold, c.Name), c.Version, plural(c.Segments, "segment"), size(uint64(c.Bytes)))
	rows := [][]string{
		{"  events", number(c.Events) + " in the log", fmt.Sprintf("offsets from %d, next is %d", c.First, c.Next)},
		{"  created", c.Created.Local().Format(time.DateTime), fmt.Sprintf("uuid %s, opened %s", c.UUID, plural(c.Incarnations, "time"))},
	}
	if c.Live != nil {
		c.Readers = nil // the agent knows better
	}
	for _, r := range c.Readers {
		note := fmt.Sprintf("delivered below offset %d", r.Low)
		if r.Damaged {
			note = "its position cannot be read: the next start delivers again"
		}
		rows = append(rows, []string{"  " + r.Name, number(r.Waiting) + " waiting", note})
	}
	for _, s := range c.Sources {
		entries := number(len(s.Entries)) + " cursor entries"
		if len(s.Entries) == 1 {
			entries = "1 cursor entry"
		}
		rows = append(rows, []string{"  " + s.Name, entries, fmt.Sprintf("form %d", s.Version)})
	}
	t.table(rows)
	if c.Live != nil {
		printLive(t, *c.Live)
	}
	printDropped(t, c.Dropped, " (in the last segment)")
	if c.UsedBy != "" {
		t.printf("  in use by the agent with pid %s: the figures are those of a moment\n", c.UsedBy)
	}
	if c.Quarantine > 0 {
		t.printf("  %s that repair cut off are in %s/quarantine\n", size(uint64(c.Quarantine)), c.Path)
	}
	if c.Torn != nil {
		t.printf("  %s\n", c.Torn.text(t, c.Path))
	}
}
