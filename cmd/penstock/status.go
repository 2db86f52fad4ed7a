// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
)

func newStatusCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "status [PATH]",
		Short: "Show what the running agent does",
		Long: `Show what the running agent does: its sources, channels and sinks, how much waits where, and why something stands still.

The agent is found by its data directory: the one in the pipeline files at PATH, or --data-dir. It answers on a
socket there, which only its own user and root can open. If no agent answers, the exit code is 3.`,
		Example: "  penstock status\n  penstock status --data-dir /var/lib/penstock --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.findDataDir(pathArg(args), dataDir)
			if err != nil {
				return err
			}
			status, err := admin.Ask(cmd.Context(), dir)
			if errors.Is(err, admin.ErrNoAgent) {
				return &fault{err: err, hint: fmt.Sprintf("Nobody answers at %s. Start one with: penstock run", dir)}
			}
			if err != nil {
				return err
			}
			return a.answer(cmd, summarize(status), status, func(t *terminal) { printStatus(t, status, time.Now()) })
		},
	}
	dataDirFlag(cmd, &dataDir)
	return withJSON(cmd)
}

func dataDirFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "data-dir", "", "the agent's data directory, in place of the one in the pipeline files")
	_ = cmd.MarkFlagDirname("data-dir") // it fails only for a flag that is not there
}

// findDataDir returns the flag's value if there is one, else what the pipeline files say. Mistakes in them are mentioned, and stop nobody who only
// looks for a running agent.
func (a *app) findDataDir(path, flag string) (string, error) {
	dir, mistakes, err := a.lookForDataDir(path, flag)
	if mistakes > 0 && !a.mentioned {
		a.mentioned = true
		validate := "penstock validate"
		if path != "." {
			validate += " " + path
		}
		a.err.printf("%s %s in the pipeline files; to see: %s\n\n", a.err.paint(yellow, "Warning:"), plural(mistakes, "mistake"), validate)
	}
	return dir, err
}

const withoutFiles = "An agent that runs is found without its files by --data-dir DIR."

// lookForDataDir does so, and leaves it to the caller to say that there are mistakes.
func (a *app) lookForDataDir(path, flag string) (dir string, mistakes int, err error) {
	if flag != "" {
		dir, err = filepath.Abs(flag)
		return dir, 0, err
	}
	l, err := a.load(path)
	if err == nil {
		return l.config.Agent.DataDir, 0, nil
	}
	if dir = l.sources.DataDir(); dir == "" {
		if f, ok := errors.AsType[*fault](err); ok {
			show := f.show
			f.hint += "\n" + withoutFiles
			f.show = func() { show(); a.err.printf("%s\n", withoutFiles) }
		}
		return "", 0, err
	}
	mistakes, _ = countDiagnostics(l.diags)
	return dir, mistakes, nil
}

// summarize says in a sentence how things stand.
func summarize(s admin.Status) string {
	var troubled []string
	for _, c := range s.Components {
		if c.State == admin.Held || c.State == admin.Retrying || c.State == admin.Starting || c.State == admin.Paused {
			troubled = append(troubled, c.Address+" is "+string(c.State))
		}
	}
	for _, c := range s.Channels {
		if c.Stopped != "" {
			troubled = append(troubled, c.Address+" has stopped")
		}
		if c.Damaged != "" {
			troubled = append(troubled, c.Address+" is damaged")
		}
		if c.ShortOfDisk != "" {
			troubled = append(troubled, c.Address+" is short of disk")
		}
		if isFull(c) {
			troubled = append(troubled, c.Address+" is full")
		}
		if slices.ContainsFunc(c.Readers, func(r admin.Reader) bool { return r.Unaccounted != 0 }) {
			troubled = append(troubled, c.Address+" does not add up")
		}
	}
	for _, t := range s.TLS {
		if t.Broken != "" {
			troubled = append(troubled, t.Block+" has broken files")
		}
		if len(t.Expiry) > 0 {
			troubled = append(troubled, t.Block+" needs a new certificate")
		}
	}
	for _, g := range s.Groups {
		if n := g.InDoubt(); n > 0 {
			troubled = append(troubled, fmt.Sprintf("%s has %s in doubt", g.Address, plural(n, "event")))
		}
	}
	if notTaken(s.Reload.Last) {
		troubled = append(troubled, "the last reload was "+s.Reload.Last.Result)
	}
	if len(troubled) > 0 {
		return strings.Join(troubled, ", ")
	}
	return "everything runs"
}

func printStatus(t *terminal, s admin.Status, now time.Time) {
	summary := t.paint(green, summarize(s))
	if summarize(s) != "everything runs" {
		summary = t.paint(yellow, summarize(s))
	}
	t.printf("%s  %s\n", t.paint(bold, s.Agent), summary)
	rows := [][]string{
		{"process", fmt.Sprintf("%d, up %s, penstock %s, configuration %.12s", s.PID, span(now.Sub(s.Started)), s.Version, s.Revision)},
		{"data", s.DataDir},
	}
	if len(s.Labels) > 0 {
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
			labels = append(labels, name+"="+s.Labels[name])
		}
		rows = append(rows, []string{"labels", strings.Join(labels, ", ")})
	}
	if s.HTTP != "" {
		scheme := "http://"
		if s.HTTPS {
			scheme = "https://"
		}
		rows = append(rows, []string{"metrics", scheme + s.HTTP + "/metrics"})
	}
	t.table(rows)
	printComponents(t, "source", s.Components)
	printListeners(t, s.Components)
	printChannels(t, s.Channels)
	printComponents(t, "sink", s.Components)
	printGroups(t, s.Groups, now)
	printPaths(t, s.Paths)
	printPermitted(t, permittedNow(s))
	printReasons(t, s, now)
}

// leftOut are the columns of events that come to no destination, behind those that do. Each is there only when there are any.
var leftOut = [...]struct {
	title string
	of    func(admin.Component) uint64
}{
	{"FILTERED", func(c admin.Component) uint64 { return c.Filtered }},
	{"CONSUMED", func(c admin.Component) uint64 { return c.Consumed }},
}

func printComponents(t *terminal, kind string, components []admin.Component) {
	waiting, joined := "IN FLIGHT", "INTO"
	if kind == "sink" {
		waiting, joined = "WAITING", "FROM"
	}
	head, columns := []string{strings.ToUpper(kind), "PLUGIN", "STATE", "EVENTS"}, leftOut[:0:0]
	for _, column := range leftOut {
		if slices.ContainsFunc(components, func(c admin.Component) bool { return c.Kind == kind && column.of(c) > 0 }) {
			head, columns = append(head, column.title), append(columns, column)
		}
	}
	rows := [][]string{append(head, waiting, "RETRIES", joined)}
	for _, c := range components {
		if c.Kind != kind {
			continue
		}
		row := []string{c.Address, c.Plugin, string(c.State), number(c.Events)}
		for _, column := range columns {
			row = append(row, number(column.of(c)))
		}
		rows = append(rows, append(row, number(c.Waiting), number(c.Retries), c.Channel))
	}
	if len(rows) > 1 {
		t.printf("\n")
		t.table(rows)
	}
}

// printListeners says what comes to the addresses that are listened on.
func printListeners(t *terminal, components []admin.Component) {
	rows := [][]string{{"LISTENER", "ADDRESS", "OPEN", "ACCEPTED", "REFUSED", "ENDED", "FAILED"}}
	for _, c := range components {
		for _, l := range c.Listeners {
			open := "-" // of datagrams
			if l.Limit > 0 {
				open = fmt.Sprintf("%d of %d", l.Connections, l.Limit)
			}
			rows = append(rows, []string{
				c.Address + " " + l.Handle, l.Address, open, number(l.Accepted), number(l.Refused), number(l.Ended), number(l.Failed),
			})
		}
	}
	if len(rows) > 1 {
		t.printf("\n")
		t.table(rows)
	}
}

func permittedNow(s admin.Status) (list []permitted) {
	for _, c := range s.Components {
		list = append(list, permitted{c.Address, c.May})
	}
	return list
}

func printChannels(t *terminal, channels []admin.Channel) {
	rows := [][]string{{"CHANNEL", "KIND", "WAITING", "SIZE", "OLDEST", "SEGMENTS"}}
	for _, c := range channels {
		oldest := "-"
		if c.Events > 0 {
			oldest = span(time.Duration(c.OldestSeconds * float64(time.Second)))
		}
		waiting := number(c.Events)
		if c.CapacityEvents > 0 {
			waiting += " of " + number(c.CapacityEvents)
		}
		rows = append(rows, []string{c.Address, c.Kind, waiting, fill(c.Bytes, c.CapacityBytes), oldest, number(c.Segments)})
	}
	t.printf("\n")
	t.table(rows)
}

// fill says how much of a capacity is used. 0 is no bound.
func fill(used, capacity uint64) string {
	const whole = 100
	if capacity == 0 {
		return size(used)
	}
	return fmt.Sprintf("%s of %s (%d %%)", size(used), size(capacity), int(float64(used)/float64(capacity)*whole))
}

// isFull says whether a channel holds as much as it may.
func isFull(c admin.Channel) bool {
	age := func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
	return channel.Capacity{Bytes: c.CapacityBytes, Events: c.CapacityEvents, Age: age(c.CapacityAge)}.
		Full(channel.Held{Bytes: c.Bytes, Events: c.Events, Age: age(c.OldestSeconds)})
}

// printFull says for whom a full channel holds events.
func printFull(t *terminal, c admin.Channel) {
	var who []string
	for _, r := range c.Readers {
		if r.Waiting > 0 {
			who = append(who, r.Name+" "+number(r.Waiting))
		}
	}
	t.printf("\n%s is full. Waiting: %s\n", t.paint(bold, c.Address), strings.Join(who, ", "))
}

// notTaken says whether what the files said at the last reload does not run.
func notTaken(last *admin.LastReload) bool { return last != nil && last.Result != admin.ReloadApplied }

func printReload(t *terminal, last *admin.LastReload, now time.Time) {
	if !notTaken(last) {
		return
	}
	t.printf("\n%s %s ago (%s) was %s: %s\n", t.paint(bold, "The last reload"), span(now.Sub(last.At)), last.Because, last.Result, last.Reason)
	if last.Result != admin.ReloadStuck {
		t.printf("  What ran before runs on. What the files would change: penstock plan\n")
	}
}

// inShell quotes the name of an instance, shop["eu"].
func inShell(name string) string {
	if strings.Contains(name, `"`) {
		return "'" + name + "'"
	}
	return name
}

// justNow is how long a failure is worth a word beside what waits: the receiver of a hop, which is full, is tried for seconds at a time.
const justNow = time.Minute

func printReasons(t *terminal, s admin.Status, now time.Time) {
	printReload(t, s.Reload.Last, now)
	for _, c := range s.Components {
		if c.Reason != "" {
			state := string(c.State)
			if c.State == admin.Paused {
				state += " for " + span(now.Sub(c.Since))
			}
			t.printf("\n%s %s: %s\n", t.paint(bold, c.Address), state, c.Reason)
			if kind, name, _ := strings.Cut(c.Address, "."); c.State == admin.Held && kind != "processor" {
				t.printf("  When that is mended: penstock %s resume %s\n", kind, inShell(name))
			}
		} else if ago := now.Sub(c.FailedAt); c.State == admin.Running && c.Waiting > 0 && ago < justNow {
			t.printf("\n%s tries again. %s ago it was retrying: %s\n", t.paint(bold, c.Address), span(ago), c.Failure)
		}
	}
	for _, c := range s.Components {
		if c.Dead > 0 {
			t.printf("\n%s has given %s to the dead letters since the agent started\n", t.paint(bold, c.Address), plural(c.Dead, "event"))
		}
	}
	printDoubts(t, s.Groups, now)
	for _, of := range s.TLS {
		if of.Broken != "" {
			t.printf("\n%s the files cannot be used as they are, so what they said before is used on: %s\n", t.paint(bold, of.Block), of.Broken)
		}
		for _, what := range of.Expiry {
			t.printf("\n%s %s\n", t.paint(bold, of.Block), what)
		}
	}
	for _, c := range s.Components {
		printDenied(t, c)
	}
	for _, c := range s.Channels {
		for _, r := range c.Readers {
			if !r.InUse {
				t.printf("\n%s no sink uses it any more; it has %s waiting in %s. To give them up:\n  penstock channel forget %s %s\n",
					t.paint(bold, r.Name), plural(r.Waiting, "event"), c.Address, agent.ChannelDir(s.DataDir, strings.TrimPrefix(c.Address, "channel.")), r.Name)
			}
		}
		printDrops(t, c)
		printUnaccounted(t, c)
		if isFull(c) {
			printFull(t, c)
		}
		if c.Stopped != "" {
			t.printf("\n%s stopped: %s\n", t.paint(bold, c.Address), c.Stopped)
		}
		if c.Damaged != "" {
			dir := agent.ChannelDir(s.DataDir, strings.TrimPrefix(c.Address, "channel."))
			t.printf("\n%s is damaged: %s\n  A sink that gets there will stop. Stop the agent, then:\n  penstock channel repair %s\n", t.paint(bold, c.Address), c.Damaged, dir)
		}
		if c.ShortOfDisk != "" {
			t.printf("\n%s is short of disk: %s\n  Its sources wait, its sinks go on. It ends by itself when there is room: free some, or set a smaller min_free.\n",
				t.paint(bold, c.Address), c.ShortOfDisk)
		}
	}
}

// printUnaccounted says that events came to a reader, or went from it, and nobody knows how.
func printUnaccounted(t *terminal, c admin.Channel) {
	for _, r := range c.Readers {
		if r.Unaccounted != 0 {
			t.printf("\n%s %s: what became of %d of its events is not known. That is a defect of Penstock: keep %s with its files, and report it\n",
				t.paint(bold, c.Address), r.Name, r.Unaccounted, c.Address)
		}
	}
}

// printDenied says which limits were reached, and what was tried without a grant.
func printDenied(t *terminal, c admin.Component) {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(c.Denied)) {
		list = append(list, fmt.Sprintf("%s %s", name, number(c.Denied[name])))
	}
	if len(list) > 0 {
		t.printf("\n%s was refused something since the agent started, by limit or grant: %s\n", t.paint(bold, c.Address), strings.Join(list, ", "))
	}
}

// printDrops says what a channel has given up, why, and who would have had it.
func printDrops(t *terminal, c admin.Channel) {
	sum, why, who := uint64(0), []string{}, []string{}
	for _, loss := range channel.Losses() {
		if n := c.Dropped[loss.String()]; n > 0 {
			sum += n
			why = append(why, number(n)+" "+loss.String())
		}
	}
	if sum == 0 {
		return
	}
	for _, r := range c.Readers {
		if r.Dropped > 0 {
			who = append(who, r.Name+" "+number(r.Dropped))
		}
	}
	t.printf("\n%s has dropped %s since the agent started: %s\n", t.paint(bold, c.Address), plural(sum, "event"), strings.Join(why, ", "))
	if len(who) > 0 {
		t.printf("  Not delivered to: %s\n", strings.Join(who, ", "))
	}
}
