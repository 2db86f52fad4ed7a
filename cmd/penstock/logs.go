// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

// logsFlags are what logs was asked for.
type logsFlags struct {
	dataDir, level string
	follow         bool
	raise          time.Duration
	last           int
}

// usualLines is a screen or two.
const usualLines = 100

// followWait is how long each question for more waits at the agent.
const followWait = 20 * time.Second

func newLogsCommand(a *app) *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:   "logs [COMPONENT]",
		Short: "Show the log of the running agent",
		Long: `Show the last lines of the running agent's log, of all or of one component: "source.shop", "channel.main", "shop"; "agent" is what is of none. Of a
"sink_group.orders" the lines of its members are shown too.
The agent keeps the last 8192 lines, and 4 MiB at most, in memory. What it printed earlier is where its standard error goes.

--level shows that level and above. With --for it has the agent log from that level on, of the component or of all, for so long; the lines are
printed by the agent too. With -f further lines are shown as they come, until Ctrl-C; if the agent ends, the exit code is 3.
With --json each line is an object as "penstock run --log-format json" prints it.`,
		Example: "  penstock logs -f\n  penstock logs source.shop --level warn\n  penstock logs -f source.shop --level debug --for 5m",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.untilSignal(cmd.Context())
			defer stop()
			return a.logs(ctx, cmd, args, f)
		},
		ValidArgsFunction: a.completeComponent(""),
	}
	dataDirFlag(cmd, &f.dataDir)
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().StringVar(&f.level, "level", "", `the least that is shown: "debug", "info", "warn" or "error" (default: all there is)`)
	cmd.Flags().DurationVar(&f.raise, "for", 0, "have the agent log from --level on for so long, at most 24h")
	cmd.Flags().IntVarP(&f.last, "lines", "n", usualLines, "how many of the last lines are shown first; 0 = all that are kept")
	_ = cmd.RegisterFlagCompletionFunc("level", cobra.FixedCompletions([]cobra.Completion{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().Bool("json", false, "print each line as a JSON object")
	return cmd
}

func (a *app) logs(ctx context.Context, cmd *cobra.Command, args []string, f logsFlags) error {
	q := admin.LogQuery{Level: slog.LevelDebug, Last: f.last}
	if f.level != "" && q.Level.UnmarshalText([]byte(f.level)) != nil {
		return wrongUse("", `--level %q: it is "debug", "info", "warn" or "error"`, f.level)
	}
	if f.raise != 0 && (f.level == "" || f.raise < 0 || f.raise > admin.MaxRaise) {
		return wrongUse("Such as: penstock logs -f source.shop --level debug --for 5m", "--for goes with --level, and is at most %v", admin.MaxRaise)
	}
	if f.last < 0 {
		return wrongUse("", "--lines %d: it is a number of lines, or 0 for all", f.last)
	}
	dir, err := a.findDataDir(".", f.dataDir)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		if q.Component, err = a.logged(cmd, dir, asTyped(args[0])); err != nil {
			return err
		}
	}
	if f.raise > 0 {
		for of := range strings.SplitSeq(strings.TrimPrefix(q.Component, admin.AgentItself), ",") {
			if err := admin.RaiseLog(ctx, dir, admin.LogLevel{Component: of, Level: q.Level, Seconds: f.raise.Seconds()}); err != nil {
				return refused(err, dir)
			}
		}
	}
	return a.showLog(ctx, dir, q, f.follow, wantsJSON(cmd))
}

// logged finds the component that is meant.
func (a *app) logged(cmd *cobra.Command, dir, name string) (string, error) {
	if name == admin.AgentItself {
		return name, nil
	}
	s, err := admin.Ask(cmd.Context(), dir)
	if err != nil {
		return "", refused(err, dir)
	}
	var there, found []string
	for _, c := range s.Components {
		there = append(there, c.Address)
	}
	for _, c := range s.Channels {
		there = append(there, c.Address)
	}
	for _, g := range s.Groups {
		there = append(there, g.Address)
	}
	for _, address := range there {
		if _, bare, _ := strings.Cut(address, "."); address == name || bare == name {
			found = append(found, address)
		}
	}
	if slices.Contains(found, name) {
		found = []string{name}
	}
	switch len(found) {
	case 0:
		return "", wrongUse("There are: "+strings.Join(append(there, admin.AgentItself), ", "), "the agent has no component %q", name)
	case 1:
		return withMembers(s.Groups, found[0]), nil
	}
	return "", wrongUse("", "%q may be any of: %s", name, strings.Join(found, ", "))
}

// withMembers is the address, and of a sink group those of its members too, as a query has them.
func withMembers(groups []admin.Group, address string) string {
	all := []string{address}
	for _, g := range groups {
		if g.Address != address {
			continue
		}
		for _, m := range g.Members {
			all = append(all, m.Address)
		}
	}
	return strings.Join(all, ",")
}

// showLog prints lines, and with follow those that come, until ctx ends.
func (a *app) showLog(ctx context.Context, dir string, q admin.LogQuery, follow, asJSON bool) error {
	for first := true; ; first = false {
		lines, err := admin.AskLog(ctx, dir, q)
		if ctx.Err() != nil && !first {
			return nil // by Ctrl-C, which is how one ends it
		}
		if err != nil {
			return refused(err, dir)
		}
		if lines.Missed > 0 && !first {
			a.err.printf("%s were not shown: the agent logs faster than they are read\n", plural(lines.Missed, "line"))
		}
		for _, l := range lines.Lines {
			if asJSON {
				a.out.printf("%s\n", l.Record)
			} else {
				a.out.printf("%s\n", a.logLine(l))
			}
		}
		if !follow {
			return nil
		}
		q.After, q.Last, q.Wait = lines.Next, 0, followWait
	}
}

// logLine writes a line for people: time, level, component, message, and the other attributes in their order.
func (a *app) logLine(l admin.LogLine) string {
	known, rest := map[string]string{}, ""
	err := inOrder(l.Record, func(key string, value json.RawMessage) {
		text := string(value)
		var s string
		if json.Unmarshal(value, &s) == nil {
			if text = s; s == "" || strings.ContainsAny(s, " \t\n\"=") && key != slog.MessageKey {
				text = fmt.Sprintf("%q", s)
			}
		}
		switch key {
		case slog.TimeKey, slog.LevelKey, slog.MessageKey, "component":
			known[key] = text
		default:
			rest += " " + a.out.paint(dim, key+"=") + text
		}
	})
	if err != nil {
		return string(l.Record)
	}
	color := map[string]string{"ERROR": red, "WARN": yellow, "DEBUG": dim}[known[slog.LevelKey]]
	level := fmt.Sprintf("%-5s", known[slog.LevelKey])
	if color != "" {
		level = a.out.paint(color, level)
	}
	component := known["component"]
	if component == "" {
		component = admin.AgentItself
	}
	return fmt.Sprintf("%s %s %s  %s%s", known[slog.TimeKey], level, a.out.paint(bold, component), known[slog.MessageKey], rest)
}

// inOrder calls each with the members of a JSON object.
func inOrder(object []byte, each func(key string, value json.RawMessage)) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := key.(string)
		if !ok {
			return errors.New("not an object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		each(name, value)
	}
	return nil
}
