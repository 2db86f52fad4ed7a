// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// origins says who put the event.
func (q *inquiry) origins() {
	for _, c := range q.trail.Put.Sources {
		s := tracedSource{Source: c.Source, Kind: "source", Version: c.Version, Cursor: c.Changed, Through: []tracedStep{}}
		switch {
		case c.Source == dead.Source:
			s.Kind = "replay"
			for stream, note := range c.Changed {
				ranges, err := dead.Replayed(note)
				if err != nil {
					continue // its entry of another form: the put is known all the same
				}
				s.Channel = q.channelOf(stream)
				for _, r := range ranges {
					s.Letters = append(s.Letters, admin.Span{First: r.First, Next: r.Next})
				}
			}
		case strings.HasPrefix(c.Source, pipeline.DeadSource):
			l := showLetter(q.Name, q.Offset, q.trail.Put.Event)
			l.From.Channel = q.near[l.From.UUID].name
			s.Source, s.Kind, s.Letter = strings.TrimPrefix(c.Source, pipeline.DeadSource), "dead_letters", &l
		case strings.HasPrefix(c.Source, "sink."):
			s.Kind = "relay"
			for stream, mark := range c.Changed {
				if _, next, ok := pipeline.ParseMark(mark); ok {
					s.Channel, s.Before = q.channelOf(stream), next
				}
			}
		default:
			s.Through = q.steps(q.throughOf(c.Source), nil)
		}
		q.From = append(q.From, s)
	}
}

// channelOf is the name of the channel that a stream is of, or its uuid.
func (q *inquiry) channelOf(stream string) string {
	uuid, _, _ := strings.Cut(stream, "/")
	if n, ok := q.near[uuid]; ok {
		return n.name
	}
	return uuid
}

// throughOf names the processors of a source.
func (q *inquiry) throughOf(source string) []string {
	if q.config == nil {
		return nil
	}
	for _, s := range q.config.Sources {
		if s.Address() == source {
			return s.Through
		}
	}
	return nil
}

// steps are processors. Whether the first is for the event can be said where it is given it as it is in the log: e; what comes after it is given
// what that has made, which nobody keeps.
func (q *inquiry) steps(through []string, e *event.Event) []tracedStep {
	steps := []tracedStep{}
	for _, name := range through {
		i := slices.IndexFunc(q.config.Processors, func(p config.Processor) bool { return p.Name == name })
		if i < 0 {
			continue // switched off
		}
		p := q.config.Processors[i]
		step := tracedStep{Processor: p.Address(), OnError: p.OnError, For: "yes"}
		switch {
		case p.When != nil && e == nil:
			step.For = "unknown"
		case p.When != nil:
			if yes, err := p.When.Evaluator().Bool(e); !yes || err != nil { // as at the take: what it cannot say passes by
				step.For = "no"
			}
		}
		if step.For != "no" {
			e = nil
		}
		steps = append(steps, step)
	}
	return steps
}

// routes asks the routes of the channel.
func (q *inquiry) routes() {
	if q.config == nil {
		return
	}
	for _, r := range q.config.Routes {
		if "channel."+r.From == q.Name {
			q.Routes = append(q.Routes, casesOf(r, &q.trail.Put.Event))
		}
	}
}

// casesOf asks a route, as it is asked at the take: a case of which it cannot be said does not have the event.
func casesOf(r config.Route, e *event.Event) tracedRoute {
	t := tracedRoute{Route: r.Address(), Cases: []string{}}
	for _, option := range r.Cases {
		yes := !option.Default || len(t.Cases) == 0
		if option.When != nil {
			var err error
			if yes, err = option.When.Evaluator().Bool(e); err != nil && t.Undecided == "" {
				t.Undecided = err.Error()
			}
		}
		if !yes {
			continue
		}
		if t.Cases = append(t.Cases, option.Name); !r.All {
			break
		}
	}
	return t
}

// leftOut says why an event is not for who reads a feed; "" when it is.
func (q *inquiry) leftOut(f config.Feed) string {
	if i := slices.IndexFunc(q.Routes, func(r tracedRoute) bool { return f.Route != "" && r.Route == "route."+f.Route }); i >= 0 && !slices.Contains(q.Routes[i].Cases, f.Case) {
		return fmt.Sprintf("it is not of the case %s", f.Reads())
	}
	if f.Where == nil {
		return ""
	}
	yes, err := f.Where.Evaluator().Bool(&q.trail.Put.Event)
	switch {
	case err != nil:
		return fmt.Sprintf("its where fails: %v", err)
	case !yes:
		return fmt.Sprintf("its where does not hold: %s", f.Where.Text)
	}
	return ""
}

// letters looks for those of the event, in every channel of the agent that keeps some.
func (q *inquiry) letters(cmd *cobra.Command) error {
	if q.target.dataDir == "" || q.trail.Opening == nil {
		return nil
	}
	for _, n := range q.near {
		if !slices.ContainsFunc(n.info.Readers, func(r wal.ReaderInfo) bool { return r.Name == agent.DeadReader }) {
			continue
		}
		dir := channelDir{n.name, agent.ChannelDir(q.target.dataDir, config.NameOfDir(strings.TrimPrefix(n.name, "channel.")))}
		keys, err := q.app.keys(cmd, dir)
		if err != nil {
			return err
		}
		if err := q.lettersIn(dir, keys); err != nil {
			return err
		}
	}
	slices.SortFunc(q.Letters, func(x, y tracedLetter) int { return strings.Compare(x.Component+x.Processor, y.Component+y.Processor) })
	return nil
}

// lettersIn looks into one of them, at those that are decided too, as long as they are in the log.
func (q *inquiry) lettersIn(dir channelDir, keys []wal.Key) error {
	at := map[dead.Identity]int{}
	look := func(reader string, found func(l *letter, o event.Offset, e event.Event)) error {
		_, err := wal.Browse(dir.Path, reader, nil, func(o event.Offset, e event.Event) bool {
			if l := readLetter(e); l.From.UUID == q.UUID && l.From.Offset == fmt.Sprint(uint64(q.Offset)) && l.From.Incarnation == q.Incarnation {
				found(&l, o, e)
			}
			return true
		}, keys...)
		return err
	}
	err := look("", func(l *letter, o event.Offset, e event.Event) {
		id := l.identity
		if i, ok := at[id]; ok {
			q.Letters[i].Copies++
			return
		}
		at[id] = len(q.Letters)
		shown := showLetter(dir.Name, o, e)
		shown.From.Channel = q.Name
		q.Letters = append(q.Letters, tracedLetter{letter: shown})
	})
	if err != nil || len(at) == 0 {
		return err
	}
	err = look(agent.DeadReader, func(l *letter, _ event.Offset, _ event.Event) {
		if i, ok := at[l.identity]; ok { // else it came this moment
			q.Letters[i].Kept = true
		}
	})
	if errors.Is(err, channel.ErrNoReader) { // purged and forgotten since
		return nil
	}
	return err
}

// fates says what became of the event at each reader.
func (q *inquiry) fates() {
	for _, s := range q.trail.Standings {
		lane := strings.Contains(s.Reader, "/") || q.trail.Put.Only != ""
		if s.Fate == wal.ForOther && lane && s.Reader != q.trail.Put.Only {
			continue // another lane has it, or it is replayed for one sink
		}
		q.Sinks = append(q.Sinks, q.fate(s))
	}
}

// fate says what became of it at one.
func (q *inquiry) fate(s wal.Standing) tracedSink {
	t := tracedSink{Reader: s.Reader, Low: s.Low, Before: s.Before, Through: []tracedStep{}}
	base, _, _ := strings.Cut(s.Reader, "/")
	feed, members, through, known := q.readerOf(base)
	notFor := ""
	if known {
		notFor = q.leftOut(feed)
		t.Through = q.steps(through, &q.trail.Put.Event)
	}
	if q.passed(s.Reader) { // the agent knows more than its positions on the disk
		s.Fate = wal.Done
	}
	switch s.Fate {
	case wal.Earlier, wal.ForOther:
		t.State, t.Why = sinkEarlier, "the sink began behind it"
		if s.Fate == wal.ForOther {
			t.Why = "it is past where the sink's lanes changed: the new ones have it"
		}
		if base == agent.DeadReader {
			t.State, t.Why = sinkLetter, "it lay here, and is decided"
		}
	case wal.Waits:
		q.waits(&t, s, base, members, notFor)
	default:
		q.done(&t, s, base, notFor, known)
	}
	return t
}

// readerOf finds what reads under a name: a sink, or a group and its members.
func (q *inquiry) readerOf(base string) (feed config.Feed, members, through []string, known bool) {
	if q.config == nil || base == agent.DeadReader {
		return feed, []string{base}, nil, false
	}
	for _, s := range q.config.Sinks {
		switch {
		case s.Address() == base:
			return s.Feed, []string{base}, s.Through, true
		case s.Group != "" && "sink_group."+s.Group == base:
			feed, members, known = s.Feed, append(members, s.Address()), true
		}
	}
	if !known {
		members = []string{base}
	}
	return feed, members, nil, known
}

// passed says whether the agent that runs has committed everything up to behind the event.
func (q *inquiry) passed(reader string) bool {
	if q.live == nil {
		return false
	}
	c, ok := channelOf(*q.live, q.Name)
	i := slices.IndexFunc(c.Readers, func(r admin.Reader) bool { return r.Name == reader })
	return ok && i >= 0 && q.Offset < c.Readers[i].Low
}

// waits says why it is not delivered yet.
func (q *inquiry) waits(t *tracedSink, s wal.Standing, base string, members []string, notFor string) {
	t.State, t.Member = sinkWaits, s.Member
	t.Why = plural(s.Before, "event") + " before it"
	switch {
	case base == agent.DeadReader:
		t.Why, t.Todo = "it lies here until somebody decides", "penstock dead show "+q.bare()
		return
	case notFor != "":
		t.Why += "; it will be left out: " + notFor
	case s.Damaged:
		t.Why += "; where the sink stands cannot be read: the next start delivers again"
	}
	t.Live = q.standOf(members)
	if q.live == nil {
		t.Live = "no agent runs"
	} else {
		t.Todo = "penstock logs " + members[0]
	}
	if s.Member == "" {
		return
	}
	t.Why += "; it is for " + s.Member + ", which may have been given it"
	if doubt := q.doubtOf(base, s.Member); doubt != nil || q.live == nil {
		t.State, t.Todo = sinkDoubt, "penstock sink resolve "+strings.TrimPrefix(base, "sink_group.")+"."+strings.TrimPrefix(s.Member, "sink.")
		if doubt != nil {
			t.Why = fmt.Sprintf("%s was given it, and may have it, since %s", s.Member, moment(doubt.Since))
		}
	}
}

// doubtOf is what the running agent says of a member, if the event is among it.
func (q *inquiry) doubtOf(group, member string) *admin.Doubt {
	if q.live == nil {
		return nil
	}
	for _, g := range q.live.Groups {
		for _, m := range g.Members {
			if g.Address == group && m.Address == member && m.Doubt != nil &&
				slices.ContainsFunc(m.Doubt.Ranges, func(r admin.Span) bool { return r.First <= q.Offset && q.Offset < r.Next }) {
				return m.Doubt
			}
		}
	}
	return nil
}

// standOf is how sinks stand that do not simply run.
func (q *inquiry) standOf(members []string) string {
	if q.live == nil {
		return ""
	}
	var all []string
	for _, m := range members {
		i := slices.IndexFunc(q.live.Components, func(c admin.Component) bool { return c.Address == m })
		switch {
		case i < 0:
			all = append(all, m+" is not in the pipeline that runs")
		case q.live.Components[i].State != admin.Running:
			c := q.live.Components[i]
			all = append(all, strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", m, c.State, c.Reason), ": "))
		}
	}
	return strings.Join(all, "; ")
}

// done says what it is that the reader has committed.
func (q *inquiry) done(t *tracedSink, s wal.Standing, base, notFor string, known bool) {
	i := slices.IndexFunc(q.Letters, func(l tracedLetter) bool { return cmp.Or(l.Group, l.Component) == base })
	drop := slices.IndexFunc(q.trail.Drops, func(d channel.Drop) bool { return d.Reader == s.Reader || d.Reader == "" })
	into, relayed := q.relayed(base, s.Stream)
	switch {
	case base == agent.DeadReader:
		t.State, t.Why = sinkLetter, "it lay here, and was replayed or dropped"
	case i >= 0:
		l := q.Letters[i]
		t.State, t.Why = sinkLetter, fmt.Sprintf("%s %d: %s", l.Keeper, l.Offset, l.Reason)
		if !l.Kept {
			t.Why += "; " + letterDecided
			break
		}
		t.Todo = fmt.Sprintf("penstock dead show %s --component %s", strings.TrimPrefix(l.Keeper, "channel."), l.Component)
	case drop >= 0:
		d := q.trail.Drops[drop]
		t.State, t.Why = sinkGivenUp, fmt.Sprintf("%s, offsets %d to %d", d.Loss, d.Range.First, d.Range.Next-1)
		if d.Events < d.Range.Len() {
			t.Why += ", unless it was delivered before"
		}
	case notFor != "":
		t.State, t.Why = sinkLeftOut, notFor
	case relayed:
		t.State, t.Into, t.Why = sinkRelayed, into, "it is in "+into+", unless the relay's processors left nothing of it"
		if len(t.Through) == 0 {
			t.Why = "it is in " + into
		}
	case !known:
		t.State = sinkCommitted
		t.Why = "delivered, or left out"
	case slices.ContainsFunc(t.Through, func(p tracedStep) bool { return p.For != "no" }):
		t.State, t.Why = sinkProcessed, "delivered, unless its processors left nothing of it: "+names(t.Through)
	default:
		t.State = sinkDelivered
	}
}

func names(steps []tracedStep) string {
	var all []string
	for _, p := range steps {
		all = append(all, p.Processor)
	}
	return strings.Join(all, ", ")
}

// relayed finds the channel into which a relay has put what it has committed up to the event.
func (q *inquiry) relayed(base, stream string) (into string, ok bool) {
	for _, n := range q.near {
		for _, s := range n.info.Sources {
			mark, found := s.Cursor[stream]
			if _, next, ok := pipeline.ParseMark(mark); s.Name == base && found && ok && next > q.Offset {
				return n.name, true
			}
		}
	}
	return "", false
}
