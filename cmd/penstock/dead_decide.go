// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// decideFlags are which letters are meant, and what is done to them.
type decideFlags struct {
	dataDir, since, until string
	offsets               []uint
	order                 dead.Order
}

// decidedDead is what replay and drop answer.
type decidedDead struct {
	channelDir
	dead.Outcome
	DryRun bool `json:"dry_run"`
}

const deadFilterHelp = `Without a filter all are meant. Letters of equal identity are one event: what is done to one is done to all. It says how many
events that are, and asks.`

func newDeadReplayCommand(a *app) *cobra.Command {
	f := &decideFlags{}
	cmd := &cobra.Command{
		Use:   "replay CHANNEL",
		Short: "Deliver dead letters again, after their cause is mended",
		Long: `Put the events of dead letters back into the channel where they were, behind what is there, for the sink alone that gave them up: other
sinks of that channel pass over them. They come as they were, without what was added here, each once, also when the agent is killed meanwhile; then they
are no dead letters any more. What is rejected again is kept again.

CHANNEL is the one that keeps them ("rejected"). ` + deadFilterHelp + `

What stays, and is said: an event whose sink is gone (--to names another one of that channel), one that may still come to its sink by itself, and one
that a processor gave up on its way into a channel, which has no place to go back to: see "channel export".

` + onlineHelp,
		Example: "  penstock dead replay rejected --dry-run\n  penstock dead replay rejected --component sink.archive --since 2h --yes",
	}
	cmd.Flags().StringVar(&f.order.To, "to", "", "deliver to this sink of the channel instead, such as sink.archive")
	return a.decideCommand(cmd, f, admin.DeadReplay)
}

func newDeadDropCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop CHANNEL",
		Short: "Give up dead letters for good",
		Long: `Give up dead letters that nobody wants any more. CHANNEL is the one that keeps them ("rejected"). ` + deadFilterHelp + `

The channel has it on record and counts the events (penstock_channel_dropped_events_total with the reason "picked"). The other way out is "penstock
channel export CHANNEL --reader dead", before.

` + onlineHelp,
		Example: "  penstock dead drop rejected --component sink.archive --reason too_big\n  penstock dead drop rejected --offset 4294967301 --yes --json",
	}
	return a.decideCommand(cmd, &decideFlags{}, admin.DeadDrop)
}

func (a *app) decideCommand(cmd *cobra.Command, f *decideFlags, verb admin.Verb) *cobra.Command {
	cmd.Args = needs("CHANNEL")
	cmd.ValidArgsFunction = a.completeDead
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.check(time.Now()); err != nil {
			return err
		}
		t, err := a.target(cmd.Context(), args[0], f.dataDir)
		if err != nil {
			return err
		}
		f.order.Filter.Component = asTyped(f.order.Filter.Component)
		return a.decide(cmd, t, admin.Action{Verb: verb, Dead: f.order})
	}
	filter := &f.order.Filter
	dataDirFlag(cmd, &f.dataDir)
	keyFlag(cmd)
	yesFlag(cmd)
	flags := cmd.Flags()
	flags.Bool("dry-run", false, "say what it would do, and do nothing")
	flags.StringVar(&filter.Component, "component", "", "only what this one gave up, such as sink.archive, sink_group.web, source.shop or processor.parse")
	flags.StringVar(&filter.Reason, "reason", "", `only what was given up for this: "`+strings.Join(pipeline.DeadReasons(), `", "`)+`"`)
	flags.StringVar(&filter.Class, "class", "", `only what was given up as this: "reject", "fatal"`)
	flags.StringVar(&f.since, "since", "", "only what was given up then or later: a time, or 90m for so long ago")
	flags.StringVar(&f.until, "until", "", "only what was given up before: likewise")
	flags.UintSliceVar(&f.offsets, "offset", nil, "only the letters with these offsets, as \"dead show\" has them")
	flags.StringVar(&filter.Digest, "digest", "", "only the event with this digest")
	flags.IntVar(&filter.Limit, "limit", 0, "so many events at most, the oldest first; 0 = all")
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(pipeline.DeadReasons(), cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("class", cobra.FixedCompletions([]cobra.Completion{"reject", "fatal"}, cobra.ShellCompDirectiveNoFileComp))
	return withJSON(cmd)
}

// check looks at what was given, and makes a filter of it.
func (f *decideFlags) check(now time.Time) (err error) {
	filter := &f.order.Filter
	switch {
	case filter.Reason != "" && !slices.Contains(pipeline.DeadReasons(), filter.Reason):
		return wrongUse("", `--reason %q: it is "%s"`, filter.Reason, strings.Join(pipeline.DeadReasons(), `", "`))
	case filter.Class != "" && filter.Class != "reject" && filter.Class != "fatal":
		return wrongUse("", `--class %q: it is "reject" or "fatal"`, filter.Class)
	case filter.Limit < 0:
		return wrongUse("", "--limit %d: it is 1 or more, or 0 for all", filter.Limit)
	case len(f.offsets) > dead.MaxOffsets:
		return wrongUse("Say it by --component, --since or --until.", "%d offsets, the most is %d", len(f.offsets), dead.MaxOffsets)
	}
	for _, o := range f.offsets {
		filter.Offsets = append(filter.Offsets, event.Offset(o))
	}
	if filter.Since, err = momentOf("since", f.since, now); err == nil {
		filter.Until, err = momentOf("until", f.until, now)
	}
	return err
}

// momentOf reads the value of a flag that is a time; zero when it is not given.
func momentOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	place, err := parsePlace(text, now)
	if err != nil || place.Offset != nil || place.Since.IsZero() {
		return time.Time{}, wrongUse(`Such as: 2026-11-26T03:00:00Z, "2026-11-26 03:00", 90m`, "--%s %q is no time", flag, text)
	}
	return place.Since, nil
}

// decide says what it would do, asks, and does it.
func (a *app) decide(cmd *cobra.Command, t channelTarget, act admin.Action) error {
	dry, _ := cmd.Flags().GetBool("dry-run")
	act.DryRun = true
	plan, err := a.deciding(cmd, t, act)
	if err != nil {
		return err
	}
	verb, done := "give up", "given up"
	if act.Verb == admin.DeadReplay {
		verb, done = "replay", "replayed"
	}
	if dry || plan.Events == 0 {
		return a.sayDecided(cmd, t, decidedDead{t.channelDir, plan, dry}, "to "+verb)
	}
	question := fmt.Sprintf("%s in %s.", plural(plan.Events, "event"), t.Name)
	if act.Verb == admin.DeadDrop {
		question += " They are never delivered. Give them up?"
	} else {
		question += " They are delivered again, and are no dead letters then. Replay?"
	}
	if err := a.confirm(cmd, question); err != nil {
		return err
	}
	act.DryRun, act.Dead.Filter.Before = false, event.Offset(plan.Before) // what was asked about, not what has come since
	out, err := a.deciding(cmd, t, act)
	if err != nil {
		return err
	}
	return a.sayDecided(cmd, t, decidedDead{t.channelDir, out, false}, done)
}

func (a *app) sayDecided(cmd *cobra.Command, t channelTarget, out decidedDead, done string) error {
	summary := fmt.Sprintf("%s %s", plural(out.Events, "event"), done)
	return a.answer(cmd, summary, out, func(to *terminal) {
		twice := ""
		if out.Letters > out.Events {
			twice = fmt.Sprintf(", kept as %s", plural(out.Letters, "letter"))
		}
		to.printf("%s  %s%s\n", to.paint(bold, t.Name), summary, twice)
		for _, r := range out.Refused {
			to.printf("  %s of %s stay: %s\n", plural(r.Events, "event"), cmp.Or(printable(r.Component), "an unknown component"), printable(r.Why))
		}
	})
}

// deciding does it in the agent or, where none runs, in the directories.
func (a *app) deciding(cmd *cobra.Command, t channelTarget, act admin.Action) (dead.Outcome, error) {
	out, err := t.act(cmd.Context(), act)
	if !errors.Is(err, admin.ErrNoAgent) {
		if out.Dead == nil {
			out.Dead = &dead.Outcome{}
		}
		return *out.Dead, err
	}
	return a.decideOffline(cmd, t, act)
}

// decideOffline opens the channels that it takes: an agent that starts meanwhile finds them in use.
func (a *app) decideOffline(cmd *cobra.Command, t channelTarget, act admin.Action) (out dead.Outcome, err error) {
	m := offline{dir: t.channelDir, act: admin.Action{Verb: admin.Purge, Reader: dead.Reader}}
	if m.keys, err = a.keys(cmd, t.channelDir); err != nil {
		return out, err
	}
	if err := m.forecast(); err != nil {
		return out, err
	}
	others := openChannels{app: a, cmd: cmd, beside: t.channelDir}
	act.Dead.DryRun = act.DryRun
	err = wal.Change(t.Path, func(keeper *wal.Channel) error {
		desk := dead.Desk{
			Keeper: keeper, Address: t.Name, Open: others.open,
			Browse: func(visit func(event.Offset, event.Event) bool) error {
				_, err := wal.Browse(t.Path, dead.Reader, nil, visit, m.keys...)
				return err
			},
		}
		if act.Verb == admin.DeadDrop {
			out, err = desk.Drop(cmd.Context(), act.Dead)
		} else {
			out, err = desk.Replay(cmd.Context(), act.Dead)
		}
		return errors.Join(err, others.close())
	}, m.keys...)
	return out, err
}

// openChannels are those into which letters go, of an agent that does not run.
type openChannels struct {
	app    *app
	cmd    *cobra.Command
	beside channelDir
	list   []*wal.Channel
}

// open finds a channel by its uuid.
func (o *openChannels) open(uuid string) (*dead.Target, error) {
	name := o.app.channelNames(o.beside)[uuid]
	if name == "" {
		return nil, errors.New("the channel that it was in is not in this data directory")
	}
	there, err := channelsIn(dataDirOf(o.beside.Path))
	if err != nil {
		return nil, err
	}
	dir := there[slices.IndexFunc(there, func(c channelDir) bool { return c.Name == name })]
	keys, err := o.app.keys(o.cmd, dir)
	if err != nil {
		return nil, err
	}
	options := wal.Options{Dir: dir.Path, OldKeys: keys}
	if len(keys) > 0 {
		options.Key = &keys[0]
	}
	c, err := wal.Open(options)
	if err != nil {
		return nil, err
	}
	o.list = append(o.list, c)
	return &dead.Target{Address: name, Channel: c, Stats: c.Stats}, nil
}

func (o *openChannels) close() (err error) {
	for _, c := range o.list {
		err = errors.Join(err, c.Close())
	}
	return err
}
