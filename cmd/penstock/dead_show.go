// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// deadQuery is which letters are shown.
type deadQuery struct {
	dataDir, component, reason string
	limit                      int
	more                       bool // there are others
}

// shownLetters is what show answers.
type shownLetters struct {
	Letters []letter `json:"letters"`
	More    bool     `json:"more"`   // there are others, beyond --limit
	Damage  []damage `json:"damage"` // what was passed over
}

func newDeadShowCommand(a *app) *cobra.Command {
	q := deadQuery{}
	cmd := &cobra.Command{
		Use:   "show [CHANNEL...]",
		Short: "Show dead letters: which event, why, and what can be done",
		Long: `Show the oldest dead letters that are kept: which component gave the event up, when and why, where it came from, and the event as it
was. An event that is kept twice, because the agent was killed in between, is shown once. Nothing is taken out, and an agent may have the channel
open; it logs then who looked.

` + deadArgHelp,
		Example: "  penstock dead show\n  penstock dead show rejected --component sink.archive --limit 3\n  penstock dead show --reason broke --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.limit < 1 || q.limit > maxPeek {
				return wrongUse("For more: penstock channel export", "--limit %d: it is from 1 to %d", q.limit, maxPeek)
			}
			if q.reason != "" && !slices.Contains(pipeline.DeadReasons(), q.reason) {
				return wrongUse("", `--reason %q: it is "%s"`, q.reason, strings.Join(pipeline.DeadReasons(), `", "`))
			}
			q.component = asTyped(q.component)
			return a.showDead(cmd, args, q)
		},
		ValidArgsFunction: a.completeDead,
	}
	dataDirFlag(cmd, &q.dataDir)
	keyFlag(cmd)
	cmd.Flags().StringVar(&q.component, "component", "", "only what this one gave up, such as sink.archive, source.shop or processor.parse")
	cmd.Flags().StringVar(&q.reason, "reason", "", `only what was given up for this: "`+strings.Join(pipeline.DeadReasons(), `", "`)+`"`)
	cmd.Flags().IntVar(&q.limit, "limit", 10, "how many events")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(pipeline.DeadReasons(), cobra.ShellCompDirectiveNoFileComp))
	return withJSON(cmd)
}

func (a *app) showDead(cmd *cobra.Command, args []string, q deadQuery) error {
	channels, err := a.deadChannels(cmd, args, q.dataDir)
	if err != nil {
		return err
	}
	shown := shownLetters{Letters: []letter{}, Damage: []damage{}}
	for i := range channels {
		if c := &channels[i]; c.Problem == "" {
			if err := a.collect(cmd, c, &q, &shown); err != nil {
				return err
			}
		}
	}
	shown.More = q.more
	return a.answer(cmd, plural(len(shown.Letters), "dead letter"), shown, func(t *terminal) {
		for i := range shown.Letters {
			if i > 0 {
				t.printf("\n")
			}
			shown.Letters[i].print(t)
		}
		q.conclude(t, channels, shown.Letters)
		for _, c := range channels {
			for _, d := range c.Damage {
				a.err.printf("passed over: %s\n", d.text(a.err, c.Path))
			}
		}
	})
}

// collect takes the letters of one channel that are asked for, each event once.
func (a *app) collect(cmd *cobra.Command, c *deadChannel, q *deadQuery, shown *shownLetters) error {
	keys, err := a.keys(cmd, c.channelDir)
	if err != nil {
		return err
	}
	if err := a.looks(cmd, channelTarget{c.channelDir, dataDirOf(c.Path)}, agent.DeadReader); err != nil {
		return err
	}
	names := a.channelNames(c.channelDir)
	at := map[dead.Identity]int{} // of identities in shown
	passed, err := wal.Browse(c.Path, agent.DeadReader, nil, func(o event.Offset, e event.Event) bool {
		l := readLetter(e)
		if !q.wants(&l) {
			return true
		}
		id := l.identity
		if i, ok := at[id]; ok {
			shown.Letters[i].Copies++
			return true
		}
		if len(shown.Letters) >= q.limit {
			q.more = true
			return false
		}
		at[id] = len(shown.Letters)
		l = showLetter(c.Name, o, e)
		l.From.Channel = names[l.From.UUID]
		shown.Letters = append(shown.Letters, l)
		return true
	}, keys...)
	if err != nil && !errors.Is(err, channel.ErrNoReader) {
		return err
	}
	c.Damage = damages(passed)
	shown.Damage = append(shown.Damage, c.Damage...)
	return nil
}

func (q *deadQuery) wants(l *letter) bool {
	return (q.component == "" || q.component == l.Component || q.component == l.Processor) && (q.reason == "" || q.reason == l.Reason)
}

// channelNames are the names of the channels beside this one, by their uuids.
func (a *app) channelNames(dir channelDir) map[string]string {
	names := map[string]string{}
	dataDir := dataDirOf(dir.Path)
	if dataDir == "" {
		return names // it lies alone: uuids are shown
	}
	there, err := channelsIn(dataDir)
	if err != nil {
		return names
	}
	for _, c := range there {
		if info, err := wal.Inspect(c.Path, a.pipelineKeys(c)...); err == nil {
			names[info.UUID] = c.Name
		}
	}
	return names
}

// conclude says what can be done.
func (q *deadQuery) conclude(t *terminal, channels []deadChannel, shown []letter) {
	if len(shown) == 0 {
		t.printf("no dead letters")
		if q.component != "" || q.reason != "" {
			t.printf(" of that kind; all of them: penstock dead ls")
		}
		t.printf("\n")
	}
	for _, c := range channels {
		if c.Problem != "" {
			t.printf("%s: %s\n", c.Name, c.Problem)
		}
	}
	if len(shown) == 0 {
		return
	}
	if q.more {
		t.printf("\nThere are more: --limit\n")
	}
	name := "CHANNEL"
	if len(channels) == 1 {
		name = strings.TrimPrefix(channels[0].Name, "channel.")
	}
	if slices.ContainsFunc(shown, func(l letter) bool { return l.From.Offset != "" }) { // else they were in no channel, and have no place to go back to
		t.printf("\nWhat to do: put right what the reason says, and have them delivered again:\n  penstock dead replay %s --dry-run", name)
	}
	t.printf(`
To keep the events, or to send them again by another way:
  penstock channel export %[1]s --reader %[2]s --format json -o FILE
and then, or where nobody wants them, to give them up:
  penstock dead drop %[1]s
`, name, agent.DeadReader)
}
