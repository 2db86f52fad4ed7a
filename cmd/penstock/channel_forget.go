// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
)

// forgottenReader is what forget answers.
type forgottenReader struct {
	channelDir
	Reader  string `json:"reader"`
	Waiting uint64 `json:"waiting"` // events that it had not committed
}

func newChannelForgetCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "forget CHANNEL READER",
		Short: "Drop the reader of a sink that is gone, so that it holds no space",
		Long: `Drop the reader of a sink that was removed from the pipeline. Until then the channel keeps all that this sink has not
delivered. READER is the sink's address, such as sink.archive; "penstock channel inspect" lists them.

It says how many events wait for it, and asks. It is refused while an agent has the channel open (exit code 3). If a
sink of that name comes back, it is a new one, with a new stream of events.

` + channelArgHelp,
		Example:           "  penstock channel forget main sink.archive\n  penstock channel forget /var/lib/penstock/channels/main sink.archive --yes",
		Args:              needs("CHANNEL", "READER"),
		ValidArgsFunction: completeChannel(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.oneChannel(args[0], dataDir)
			if err != nil {
				return err
			}
			return a.forget(cmd, dir, args[1])
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	yesFlag(cmd)
	return withJSON(cmd)
}

func (a *app) forget(cmd *cobra.Command, dir channelDir, reader string) error {
	keys, err := a.keys(cmd, dir)
	if err != nil {
		return err
	}
	info, err := wal.Inspect(dir.Path, keys...)
	if err != nil {
		return err
	}
	if info.UsedBy != "" {
		return &fault{
			err:  fmt.Errorf("%s: %w, pid %s", dir.Path, channel.ErrLocked, info.UsedBy),
			hint: "Stop that agent first; when the sink is out of its pipeline, forget its reader, and start it again.",
		}
	}
	i := slices.IndexFunc(info.Readers, func(r wal.ReaderInfo) bool { return r.Name == reader })
	if i < 0 {
		names := make([]string, 0, len(info.Readers))
		for _, r := range info.Readers {
			names = append(names, r.Name)
		}
		return wrongUse("There are: "+strings.Join(names, ", "), "%s has no reader %q", dir.Name, reader)
	}
	f := forgottenReader{channelDir: dir, Reader: reader, Waiting: info.Readers[i].Waiting}
	if err := a.confirm(cmd, fmt.Sprintf("%s has %s waiting in %s, and will not get them. Forget it?", reader, plural(f.Waiting, "event"), dir.Name)); err != nil {
		return err
	}
	if err := wal.Forget(dir.Path, reader, keys...); err != nil {
		return err
	}
	summary := fmt.Sprintf("%s is forgotten; it had %s waiting", reader, plural(f.Waiting, "event"))
	return a.answer(cmd, summary, f, func(t *terminal) { t.printf("%s  %s\n", t.paint(bold, dir.Name), summary) })
}
