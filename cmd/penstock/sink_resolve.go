// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

func newResolveCommand(a *app) *cobra.Command {
	var dataDir string
	var delivered, notDelivered bool
	cmd := &cobra.Command{
		Use:   "resolve GROUP[.MEMBER]",
		Short: "Say whether what is in doubt in a sink group has arrived",
		Long: `Show what is in doubt in a sink group with delivery = "exactly_once", or say what became of it. In doubt is what a member was given while it failed: nobody
knows whether its destination holds it, so it waits for that member, which knows when it works again. When it will not work again, somebody has to
look at its destination, and say:

  --delivered      it holds these events. They count as delivered, and go nowhere. If it does not hold them, they are LOST.
  --not-delivered  it does not hold them. They go to whichever member is next. If it does hold them, they are there TWICE.

With neither, it only shows them: the member, since when, and the ranges of offsets, as "penstock channel peek" shows them too, and by which a
transactional destination names what it holds. Otherwise it shows them, asks, and does it for exactly those: the member is stopped for a moment, and what came
into doubt meanwhile, or arrived after all, is left alone. It is durable before the command returns, and the log says who said so. Without MEMBER it is of all members.`,
		Example: "  penstock sink resolve orders\n  penstock sink resolve orders.first --not-delivered\n  penstock sink resolve orders.first --delivered --yes --json",
		Args:    needs("GROUP[.MEMBER]"), ValidArgsFunction: a.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.findDataDir(".", dataDir)
			if err != nil {
				return err
			}
			status, err := admin.Ask(cmd.Context(), dir)
			if err != nil {
				return refused(err, dir)
			}
			r, err := inDoubt(status, asTyped(args[0]))
			if err != nil {
				return err
			}
			if r.Events == 0 || !delivered && !notDelivered {
				return a.answer(cmd, r.summary(), r, func(t *terminal) { r.print(t, time.Now()) })
			}
			return a.resolve(cmd, dir, r, delivered)
		},
	}
	cmd.Flags().BoolVar(&delivered, "delivered", false, "the destination holds it")
	cmd.Flags().BoolVar(&notDelivered, "not-delivered", false, "the destination does not hold it")
	cmd.MarkFlagsMutuallyExclusive("delivered", "not-delivered")
	dataDirFlag(cmd, &dataDir)
	yesFlag(cmd)
	return withJSON(cmd)
}

// doubtful is what sink resolve answers: what is in doubt, and what came of what was said of it.
type doubtful struct {
	Group    string           `json:"group"`
	Delivery string           `json:"delivery"`
	Events   uint64           `json:"events"` // in doubt, before
	Members  []admin.Member   `json:"members"`
	Resolved []admin.Resolved `json:"resolved"`
}

// inDoubt finds what an argument means: a group, or one member of it.
func inDoubt(s admin.Status, arg string) (doubtful, error) {
	var groups []string
	arg = strings.TrimPrefix(arg, "sink_group.")
	for _, g := range s.Groups {
		name := strings.TrimPrefix(g.Address, "sink_group.")
		groups = append(groups, name)
		member, within := strings.CutPrefix(arg, name+".")
		if name != arg && !within {
			continue
		}
		r := doubtful{Group: g.Address, Delivery: g.Delivery, Members: []admin.Member{}, Resolved: []admin.Resolved{}}
		known := !within
		var members []string
		for _, m := range g.Members {
			members = append(members, strings.TrimPrefix(m.Address, "sink."))
			if within && members[len(members)-1] != strings.TrimPrefix(member, "sink.") {
				continue
			}
			if known = true; m.Doubt != nil {
				r.Members = append(r.Members, m)
				r.Events += m.Doubt.Events
			}
		}
		if !known {
			return r, wrongUse("There are: "+strings.Join(members, ", "), "%s has no member %s", g.Address, member)
		}
		return r, nil
	}
	hint := "The pipeline that runs has no sink_group at all."
	if len(groups) > 0 {
		hint = "There are: " + strings.Join(groups, ", ")
	}
	return doubtful{}, wrongUse(hint, "the agent has no sink_group %s", arg)
}

func (r doubtful) summary() string {
	switch {
	case r.Events == 0 && r.Delivery != "exactly_once":
		return fmt.Sprintf("nothing of %s is in doubt, nor ever will be: with delivery = %q, what may not have arrived goes to the next member", r.Group, r.Delivery)
	case r.Events == 0:
		return fmt.Sprintf("nothing of %s is in doubt", r.Group)
	case r.Events == 1:
		return fmt.Sprintf("1 event of %s is in doubt", r.Group)
	}
	return fmt.Sprintf("%s events of %s are in doubt", number(r.Events), r.Group)
}

// shownRanges is how many ranges of a member people are shown; --json has all.
const shownRanges = 8

// print shows what is in doubt, and what there is to say.
func (r doubtful) print(t *terminal, now time.Time) {
	t.printf("%s\n", r.summary())
	if r.Events == 0 {
		return
	}
	rows := [][]string{{"MEMBER", "STATE", "EVENTS", "SINCE", "OFFSETS"}}
	for _, m := range r.Members {
		rows = append(rows, []string{m.Address, stateOf(m, now), number(m.Doubt.Events), m.Doubt.Since.Local().Format(time.DateTime), offsets(m.Doubt.Ranges)})
	}
	t.printf("\n")
	t.table(rows)
	name := strings.TrimPrefix(r.Group, "sink_group.")
	if len(r.Members) == 1 {
		name += "." + strings.TrimPrefix(r.Members[0].Address, "sink.")
	}
	t.printf("\nA member that works again delivers them by itself. Where it will not, look into its destination:\n"+
		"  it holds them:          penstock sink resolve %s --delivered      (where it does not, they are lost)\n"+
		"  it does not hold them:  penstock sink resolve %s --not-delivered  (where it does, they are there twice)\n", name, name)
}

// offsets are ranges, the first and the last of each.
func offsets(spans []admin.Span) string {
	var all []string
	for i, s := range spans {
		if i == shownRanges {
			all = append(all, fmt.Sprintf("and %d more ranges", len(spans)-i))
			break
		}
		if s.Next-s.First == 1 {
			all = append(all, fmt.Sprint(s.First))
		} else {
			all = append(all, fmt.Sprintf("%d-%d", s.First, s.Next-1))
		}
	}
	return strings.Join(all, ", ")
}

// resolve asks, and says it to the agent, member by member.
func (a *app) resolve(cmd *cobra.Command, dir string, r doubtful, held bool) error {
	if !wantsJSON(cmd) {
		r.print(a.err, time.Now())
		a.err.printf("\n")
	}
	question := fmt.Sprintf("%s count as delivered: where the destination does not hold them, they are lost. Is that so?", plural(r.Events, "event"))
	if !held {
		question = fmt.Sprintf("%s go to whichever member is next: where the destination holds them, they are there twice. Is that so?", plural(r.Events, "event"))
	}
	if err := a.confirm(cmd, question); err != nil {
		return err
	}
	n := uint64(0)
	for _, m := range r.Members {
		done, err := admin.SettleDoubt(cmd.Context(), dir, admin.Resolve{Group: r.Group, Member: m.Address, Ranges: m.Doubt.Ranges, Held: held})
		if err != nil {
			return refused(err, dir)
		}
		n += done.Events
		r.Resolved = append(r.Resolved, done)
	}
	verb := "go to whichever member is next"
	if held {
		verb = "count as delivered"
	}
	summary := fmt.Sprintf("%s of %s %s", plural(n, "event"), r.Group, verb)
	if n < r.Events {
		summary += fmt.Sprintf("; %s arrived meanwhile", number(r.Events-n))
	}
	return a.answer(cmd, summary, r, func(t *terminal) { t.printf("%s\n", summary) })
}

// completeGroup lets the shell complete the name of a group, or of a member of which something is in doubt.
func (a *app) completeGroup(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
	dataDir, _ := cmd.Flags().GetString("data-dir")
	dir, err := a.findDataDir(".", dataDir)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	status, err := admin.Ask(cmd.Context(), dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, g := range status.Groups {
		name := strings.TrimPrefix(g.Address, "sink_group.")
		names = append(names, name)
		for _, m := range g.Members {
			if m.Doubt != nil {
				names = append(names, name+"."+strings.TrimPrefix(m.Address, "sink."))
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// printGroups says how the members of sink groups stand.
func printGroups(t *terminal, groups []admin.Group, now time.Time) {
	rows := [][]string{{"GROUP", "MEMBER", "STATE", "FAILURES", "IN DOUBT", "POLICY"}}
	for _, g := range groups {
		policy := fmt.Sprintf("%s, %s, %s", g.Policy, g.Delivery, plural(g.Failovers, "failover"))
		for i, m := range g.Members {
			row := []string{"", m.Address, stateOf(m, now), number(m.Failures), "-", ""}
			if i == 0 {
				row[0], row[5] = g.Address, policy
			}
			if m.Doubt != nil {
				row[4] = number(m.Doubt.Events)
			}
			rows = append(rows, row)
		}
	}
	if len(rows) > 1 {
		t.printf("\n")
		t.table(rows)
	}
}

// stateOf is how a member stands, and for how long that goes on by itself.
func stateOf(m admin.Member, now time.Time) string {
	if left := m.Until.Sub(now); left > 0 {
		return m.State + " for " + span(left)
	}
	return m.State
}

// printDoubts says what waits for whom, and what can be done.
func printDoubts(t *terminal, groups []admin.Group, now time.Time) {
	for _, g := range groups {
		for _, m := range g.Members {
			if m.Doubt != nil {
				t.printf("\n%s %s may hold %s since %s: they wait for it. If it does not come back:\n  penstock sink resolve %s.%s\n", t.paint(bold, g.Address), m.Address,
					plural(m.Doubt.Events, "event"), span(now.Sub(m.Doubt.Since)), strings.TrimPrefix(g.Address, "sink_group."), strings.TrimPrefix(m.Address, "sink."))
			}
		}
	}
}
