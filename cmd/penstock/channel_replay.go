// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/spec/event"
)

func newChannelReplayCommand(a *app) *cobra.Command {
	var dataDir, from string
	cmd := &cobra.Command{
		Use:   "replay CHANNEL READER --from OFFSET|TIME|oldest|here",
		Short: "Deliver to a sink again what the channel still has",
		Long: `Set the sink READER, such as sink.archive, to an earlier place in the channel: it gets all events again from there on. Or to a
later one: it never gets those in between.

What these events did at the destination, they do again. To it they are a new stream, so that a sink which delivers exactly
once does not take them for what it holds: for the events that come again, exactly once is over. It says how many
these are, and asks. The sink is stopped for a moment, when it has ended what it is doing; the others go on.

--from is an offset (see "peek" and "inspect"), "oldest", or a time: the first event that was committed then or later is the first to come.
"here" is where the sink stands: nothing comes again that was delivered, but what comes is a new stream. So a sink goes on that is held
because its destination has events of the old one that this channel does not know (diverged).
A time is 2026-11-26T03:00:00Z, "2026-11-26 03:00" by this machine's clock, or 90m for so long ago. A channel keeps events that
every sink has delivered only until their segment is unlinked; what is gone is refused, with the oldest offset that there is.

` + onlineHelp + "\n\n" + oneChannelHelp,
		Example:           "  penstock channel replay main sink.archive --from \"2026-11-26 03:00\"\n  penstock channel replay main sink.archive --from oldest --yes",
		Args:              needs("CHANNEL", "READER"),
		ValidArgsFunction: a.completeChannel(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			place, err := parsePlace(from, time.Now())
			if err != nil {
				return err
			}
			t, err := a.target(cmd.Context(), args[0], dataDir)
			if err != nil {
				return err
			}
			return a.move(cmd, t, admin.Action{Verb: admin.Replay, Reader: asTyped(args[1]), From: place}, askReplay, doneReplay)
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().StringVar(&from, "from", "", `where to begin: an offset, a time, "oldest" or "here"`)
	_ = cmd.MarkFlagRequired("from") // it fails only for a flag that is not there
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]cobra.Completion{"oldest", "here"}, cobra.ShellCompDirectiveNoFileComp))
	keyFlag(cmd)
	yesFlag(cmd)
	return withJSON(cmd)
}

// parsePlace reads the value of --from.
func parsePlace(from string, now time.Time) (*admin.Place, error) {
	switch from {
	case "oldest":
		return &admin.Place{}, nil
	case "here":
		return &admin.Place{Stay: true}, nil
	}
	if n, err := strconv.ParseUint(from, 10, 64); err == nil {
		o := event.Offset(n)
		return &admin.Place{Offset: &o}, nil
	}
	if ago, err := time.ParseDuration(from); err == nil && ago >= 0 {
		return &admin.Place{Since: now.Add(-ago)}, nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, from, now.Location()); err == nil {
			return &admin.Place{Since: t}, nil
		}
	}
	return nil, wrongUse(`Such as: --from oldest, --from 4294967296, --from "2026-11-26 03:00", --from 90m`, "--from %q is neither an offset, nor a time, nor \"oldest\" or \"here\"", from)
}

func askReplay(r []admin.Moved) string {
	m := together(r)
	text := fmt.Sprintf("From offset %d on, %s gets %s again, and then the %s that wait.", m.From, m.Name, plural(m.Again, "event"), number(m.Waiting-m.GivenUp))
	if m.Again > 0 {
		text += " What they did at the destination, they do again" + forfeits(m.Effects) + "."
	}
	if m.GivenUp > 0 {
		text += fmt.Sprintf(" %s that wait are never delivered to it.", plural(m.GivenUp, "event"))
	}
	return text + " Replay?"
}

// together adds up the lanes of a sink.
func together(readers []admin.Moved) admin.Moved {
	all := readers[0]
	for _, m := range readers[1:] {
		all.Waiting, all.Again, all.GivenUp = all.Waiting+m.Waiting, all.Again+m.Again, all.GivenUp+m.GivenUp
	}
	return all
}

// forfeits says which guarantee is gone, by what the sink says of its effects.
func forfeits(effects string) string {
	switch effects {
	case "transactional":
		return ": for them, exactly once is over"
	case "idempotent":
		return ", unless it knows them by a key of their own: for them, exactly once is over"
	}
	return ""
}

func doneReplay(r []admin.Moved) string {
	m := together(r)
	text := fmt.Sprintf("%s begins again at offset %d: %s come again", m.Name, m.From, plural(m.Again, "event"))
	if m.GivenUp > 0 {
		text += fmt.Sprintf(", %s given up", plural(m.GivenUp, "event"))
	}
	return text
}
