// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/event"
)

func newWhyCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "why CHANNEL OFFSET | why EVENT-ID",
		Short: "Say of one event where it came from, and what became of it",
		Long: `Say of one event in a channel from which source it came and where that stood then, through which processors it went, of which case of a
route it is, and for each sink what became of it: whether it is delivered, was left out, is a dead letter, or waits, and for what.

It is found in the log and in where the sinks stand, so that it costs nothing while all runs. An agent may run, which logs who looked, or not. Routes, filters
and processors are those of the pipeline files in this directory: they are asked anew, and what they said at the time is not kept.

An EVENT-ID is CHANNEL/OFFSET, or, as the attributes of dead letters have it, UUID/INCARNATION/OFFSET. Offsets are shown by "penstock channel peek",
"penstock channel export --format json", "penstock dead show" and "penstock sink resolve". An event that every sink is past may have left the log: then it is
said which is the oldest that is there, and its dead letters are looked for all the same.

` + oneChannelHelp,
		Example:           "  penstock why main 4294967301\n  penstock why main/4294967301 --json",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeChannel(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, o, opening, err := a.eventMeant(cmd, args, dataDir)
			if err != nil {
				return err
			}
			return a.why(cmd, target, o, opening)
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	return withJSON(cmd)
}

// eventMeant finds out which event the arguments mean; opening is the incarnation that it must be of, "" for any.
func (a *app) eventMeant(cmd *cobra.Command, args []string, dataDir string) (t channelTarget, o event.Offset, opening string, err error) {
	name, number := args[0], ""
	if len(args) == 2 {
		number = args[1]
	} else if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name, number = name[:i], name[i+1:]
	}
	n, perr := strconv.ParseUint(number, 10, 64)
	if perr != nil || name == "" {
		return t, 0, "", wrongUse("Such as: penstock why main 4294967301. Offsets are shown by: penstock channel peek",
			"%q is no event: it is CHANNEL OFFSET, CHANNEL/OFFSET or UUID/INCARNATION/OFFSET", strings.Join(args, " "))
	}
	uuid, of, _ := strings.Cut(name, "/")
	if isUUID(uuid) {
		t, err = a.channelOfUUID(uuid, dataDir)
		return t, event.Offset(n), of, err
	}
	if t, err = a.target(cmd.Context(), name, dataDir); err != nil {
		return t, 0, "", err
	}
	if t.Path == "" {
		return t, 0, "", &fault{err: fmt.Errorf("%s is in the memory of the agent: nothing is kept of what becomes of its events", t.Name), exit: exitUsage, code: "usage",
			hint: "A channel \"wal\" keeps that on the disk."}
	}
	return t, event.Offset(n), "", nil
}

// isUUID says whether s is the uuid of a channel, as dead letters and streams have it.
func isUUID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

// channelOfUUID finds the channel with that uuid.
func (a *app) channelOfUUID(uuid, dataDir string) (channelTarget, error) {
	dirs, err := a.findChannels(nil, dataDir)
	if err != nil {
		return channelTarget{}, err
	}
	for _, dir := range dirs {
		if info, err := wal.Inspect(dir.Path, a.pipelineKeys(dir)...); err == nil && info.UUID == uuid {
			return channelTarget{dir, dataDirOf(dir.Path)}, nil
		}
	}
	return channelTarget{}, wrongUse("See: penstock channel inspect", "there is no channel with the uuid %s here", uuid)
}

// inquiry is what is known while one event is looked into.
type inquiry struct {
	traced
	app    *app
	target channelTarget
	trail  wal.Trail
	config *config.Config // of the pipeline files here; nil: there are none of this agent
	live   *admin.Status  // nil: no agent runs
	near   map[string]neighbour
}

// neighbour is another channel of the agent.
type neighbour struct {
	name string
	info wal.Info
}

// why looks, and answers.
func (a *app) why(cmd *cobra.Command, target channelTarget, o event.Offset, opening string) error {
	keys, err := a.keys(cmd, target.channelDir)
	if err != nil {
		return err
	}
	if err := a.looks(cmd, target, ""); err != nil {
		return err
	}
	q := &inquiry{app: a, target: target, traced: traced{channelDir: target.channelDir, Offset: o, From: []tracedSource{}, Routes: []tracedRoute{}, Sinks: []tracedSink{}, Letters: []tracedLetter{}}}
	if q.trail, err = wal.Follow(target.Path, o, keys...); err != nil {
		return err
	}
	if err := q.given(opening); err != nil {
		return err
	}
	q.surroundings(cmd)
	if q.trail.Put != nil {
		q.origins()
		q.routes()
	}
	if err := q.letters(cmd); err != nil {
		return err
	}
	q.fates()
	q.unknown()
	summary := q.summary()
	return a.answer(cmd, summary, q.traced, func(t *terminal) { q.print(t, summary) })
}

// given refuses an offset that no event has.
func (q *inquiry) given(opening string) error {
	t := q.trail
	q.UUID, q.Oldest, q.Next = t.UUID, t.First, t.Info.Next
	if t.Opening != nil {
		q.Incarnation = strconv.FormatUint(t.Opening.ID, 16)
	}
	there := fmt.Sprintf("Its offsets go from %d to before %d. See: penstock channel export %s --format json", q.Oldest, q.Next, q.bare())
	switch {
	case t.Put == nil && t.Damage == nil && q.Offset >= q.Oldest:
		return wrongUse(there, "%s has no event with the offset %d, and never had", q.Name, q.Offset)
	case opening != "" && t.Opening != nil && opening != q.Incarnation:
		return wrongUse(there, "the offset %d of %s is of the incarnation %s, and not of %s", q.Offset, q.Name, q.Incarnation, opening)
	}
	q.State = stateThere
	switch {
	case t.Damage != nil:
		q.State, q.Damage = stateDamaged, &damage{t.Damage.File, t.Damage.Offset, t.Damage.Length, t.Damage.Torn, t.Damage.Cause.Error()}
	case t.Put == nil:
		q.State = stateGone
	default:
		shown := showEvent(q.Offset, t.Put.Event)
		q.Event, q.Put = &shown, &tracedPut{First: t.Put.Range.First, Next: t.Put.Range.Next, Committed: t.Put.Committed.UTC(), Only: t.Put.Only, File: t.Put.File, At: t.Put.At}
	}
	return nil
}

// bare is the channel's name as commands take it.
func (q *inquiry) bare() string { return strings.TrimPrefix(q.Name, "channel.") }

// surroundings finds the agent, its pipeline files, and its other channels.
func (q *inquiry) surroundings(cmd *cobra.Command) {
	q.near = map[string]neighbour{}
	if q.target.dataDir == "" {
		return
	}
	if s, err := admin.Ask(cmd.Context(), q.target.dataDir); err == nil {
		q.live, q.Running = &s, true
	}
	if l, err := q.app.here(); err == nil && sameDir(l.config.Agent.DataDir, q.target.dataDir) {
		q.config = l.config
	}
	there, err := channelsIn(q.target.dataDir)
	if err != nil {
		return
	}
	for _, c := range there {
		if info, err := wal.Inspect(c.Path, q.app.pipelineKeys(c)...); err == nil {
			q.near[info.UUID] = neighbour{c.Name, info}
		}
	}
}

func sameDir(a, b string) bool {
	x, errX := filepath.EvalSymlinks(a)
	y, errY := filepath.EvalSymlinks(b)
	return errX == nil && errY == nil && x == y
}

// unknown says what is not kept, as far as it matters for this event.
func (q *inquiry) unknown() {
	q.Unknown = []string{}
	say := func(format string, args ...any) { q.Unknown = append(q.Unknown, fmt.Sprintf(format, args...)) }
	if q.State != stateThere {
		return
	}
	switch {
	case q.config == nil:
		say("routes, filters and processors: there are no pipeline files of this agent here, so that what counts as delivered may have been left out")
	case q.live != nil && q.live.Revision != q.config.Revision:
		say("routes, filters and processors are said by the pipeline files here, and the agent runs others: see penstock plan")
	case len(q.Routes) > 0 || slices.ContainsFunc(q.Sinks, func(s tracedSink) bool { return s.State == sinkLeftOut }):
		say("routes and filters are asked now; they may have been others when it was handed out")
	}
	if slices.ContainsFunc(q.From, func(s tracedSource) bool { return len(s.Through) > 0 }) {
		say("what the event was before the processors of its source: the log has what they made of it")
	}
	if slices.ContainsFunc(q.Sinks, func(s tracedSink) bool { return s.State == sinkDelivered || s.State == sinkProcessed }) {
		if lost := q.lettersLost(); lost != "" {
			say("%s", lost)
		}
		say("when it was delivered, and after how many attempts: that is in the log of the agent alone, where it had to be tried again")
	}
}

// lettersLost says why a letter of the event may not be found any more, so that what counts as delivered may have been rejected; "" when none can be missed.
func (q *inquiry) lettersLost() string {
	if q.config == nil {
		return ""
	}
	i := slices.IndexFunc(q.config.Channels, func(c config.Channel) bool { return c.Address() == q.Name })
	if i < 0 || q.config.Channels[i].DeadLetter == "" {
		return ""
	}
	keeper := "channel." + q.config.Channels[i].DeadLetter
	i = slices.IndexFunc(q.config.Channels, func(c config.Channel) bool { return c.Address() == keeper })
	if i >= 0 && q.config.Channels[i].Kind == "memory" {
		return "letters: " + keeper + " is in the memory of the agent, so that what says delivered may have been rejected"
	}
	for _, n := range q.near {
		switch {
		case n.name == keeper && n.info.First == 0:
			return ""
		case n.name == keeper:
			return "letters that were replayed or dropped and have left the log of " + keeper + ": what says delivered may have been one of them"
		}
	}
	return "" // it is not there yet: nothing was given to it
}

// summary is the answer in a sentence.
func (q *inquiry) summary() string {
	switch q.State {
	case stateGone:
		return fmt.Sprintf("the event %d of %s has left the log, since all its sinks are past it; the oldest that is there is %d", q.Offset, q.Name, q.Oldest)
	case stateDamaged:
		return fmt.Sprintf("the event %d of %s cannot be read: %s", q.Offset, q.Name, q.Damage.Cause)
	}
	count := map[string]int{}
	var parts []string
	for _, s := range q.Sinks {
		count[s.State]++
	}
	for _, state := range sinkStates {
		if n := count[state.name]; n > 0 {
			parts = append(parts, fmt.Sprintf(state.says, plural(n, "sink")))
		}
	}
	if len(parts) == 0 {
		parts = []string{"no sink has it"}
	}
	return fmt.Sprintf("the event %d of %s: %s", q.Offset, q.Name, strings.Join(parts, ", "))
}

// moments of a day are enough to find it in a log.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000") }
