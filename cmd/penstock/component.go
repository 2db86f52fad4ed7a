// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

func newSourceCommand(a *app) *cobra.Command {
	cmd := newKindCommand(a, "source", "Pause a source of the running agent, let it go on, or have it begin anew", "What it had read is on disk before it stands still. Who sends to one that listens waits, or is answered that it is unavailable; what it has\n"+
		"the sender keep, or loses, is as when its channel is full.")
	cmd.AddCommand(newResetCommand(a))
	return cmd
}

func newResetCommand(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use: "reset NAME", Short: "Have a source begin anew",
		Long: `Have a source of the running agent forget where it stands, and begin anew, as when it was started for the first time. It reads again what it can, and
all of that is delivered once more, as new events: for them, exactly once is over. What it can't read again, and had not read, is lost to it.

It is for a source whose plugin doesn't read the form of the cursor that another version wrote, and for one that is to read all of it again. It asks first;
--yes does it without. It is durable before the command returns.`,
		Example:           "  penstock source reset shop",
		Args:              needs("NAME"),
		ValidArgsFunction: a.completeComponent("source"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "source." + strings.TrimPrefix(asTyped(args[0]), "source.")
			if err := a.confirm(cmd, fmt.Sprintf("%s forgets where it stands, and reads again what it can: that is delivered once more. Reset it?", name)); err != nil {
				return err
			}
			return a.pause(cmd, dataDir, admin.Pause{Component: name, Reset: true})
		},
	}
	dataDirFlag(cmd, &dataDir)
	yesFlag(cmd)
	return withJSON(cmd)
}

func newSinkCommand(a *app) *cobra.Command {
	cmd := newKindCommand(a, "sink", "Pause a sink of the running agent, let it go on, or say what became of what is in doubt", "What it had begun to deliver is delivered first, or comes again. Its events wait in the channel, which may become full meanwhile.")
	cmd.AddCommand(newResolveCommand(a))
	return cmd
}

func newKindCommand(a *app, kind, short, what string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   kind,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	pause := fmt.Sprintf(`Have a %s of the running agent stand still at the border of a transaction. %s

It stays paused until "penstock %s resume", or until the agent ends. While anything is paused the agent is not ready (/readyz), and "penstock
status" says who did it and since when. NAME is that in the pipeline files, "shop" or "%s.shop".`, kind, what, kind, kind)
	resume := fmt.Sprintf("Let a %s go on that was paused, or try one again that is held. It goes on where it was.", kind)
	cmd.AddCommand(newPauseCommand(a, kind, "pause", "Have a "+kind+" stand still", pause), newPauseCommand(a, kind, "resume", "Let a "+kind+" go on", resume))
	return cmd
}

func newPauseCommand(a *app, kind, verb, short, long string) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Long: long,
		Example:           fmt.Sprintf("  penstock %s %s shop", kind, verb),
		Args:              needs("NAME"),
		ValidArgsFunction: a.completeComponent(kind),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pause(cmd, dataDir, admin.Pause{Component: kind + "." + strings.TrimPrefix(asTyped(args[0]), kind+"."), Resume: verb == "resume"})
		},
	}
	dataDirFlag(cmd, &dataDir)
	return withJSON(cmd)
}

// eaten is the key of an instance whose quotes a shell has taken.
var eaten = regexp.MustCompile(`\[([^"\[\]]+)\]`)

// asTyped is the name or the address that somebody typed: what a shell makes of it, source.shop[eu], stands for source.shop["eu"].
func asTyped(arg string) string { return eaten.ReplaceAllString(arg, `["$1"]`) }

func (a *app) pause(cmd *cobra.Command, dataDir string, p admin.Pause) error {
	dir, err := a.findDataDir(".", dataDir)
	if err != nil {
		return err
	}
	s, err := admin.SetPaused(cmd.Context(), dir, p)
	if err != nil {
		return refused(err, dir)
	}
	summary := standing(s, p.Resume)
	if p.Reset {
		summary = s.Component + " has no cursor any more, and begins anew"
		if s.State == admin.Paused {
			summary += " when it goes on: it is paused"
		}
	}
	return a.answer(cmd, summary, s, func(t *terminal) { t.printf("%s\n", summary) })
}

// standing says what came of a pause, or of its end.
func standing(s admin.Standing, resume bool) string {
	switch {
	case !resume && !s.Changed:
		return fmt.Sprintf("%s was paused already, %s", s.Component, s.Reason)
	case !resume:
		kind, name, _ := strings.Cut(s.Component, ".")
		return fmt.Sprintf("%s is paused; go on with: penstock %s resume %s", s.Component, kind, name)
	case !s.Changed && s.State == admin.Paused:
		return fmt.Sprintf("%s is still paused: %s", s.Component, s.Reason)
	case !s.Changed:
		return fmt.Sprintf("%s was not paused; it is %s", s.Component, s.State)
	}
	return s.Component + " goes on"
}

// refused gives an error of the control socket its exit code and its hint.
func refused(err error, dataDir string) error {
	if errors.Is(err, admin.ErrNoAgent) {
		return &fault{err: err, hint: fmt.Sprintf("Nobody answers at %s. Start an agent with: penstock run", dataDir)}
	}
	r, ok := errors.AsType[*admin.Refusal](err)
	if !ok {
		return err
	}
	exit := exitFailed
	if r.Code == admin.CodeUsage || r.Code == admin.CodeAbsent {
		exit = exitUsage
	}
	return &fault{err: r, exit: exit, code: r.Code, hint: r.Hint}
}

// completeComponent lets the shell complete the name of a component; kind is "source", "sink", or "" for addresses of any.
func (a *app) completeComponent(kind string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) (names []cobra.Completion, _ cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, address := range a.addresses(cmd) {
			if name, ok := strings.CutPrefix(address, kind+"."); ok {
				names = append(names, name)
			} else if kind == "" {
				names = append(names, address)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// addresses are those of the running agent, or else of the pipeline files.
func (a *app) addresses(cmd *cobra.Command) (list []string) {
	dataDir, _ := cmd.Flags().GetString("data-dir")
	if dir, err := a.findDataDir(".", dataDir); err == nil {
		if s, err := admin.Ask(cmd.Context(), dir); err == nil {
			for _, c := range s.Components {
				list = append(list, c.Address)
			}
			for _, c := range s.Channels {
				list = append(list, c.Address)
			}
			return list
		}
	}
	if l, err := a.load("."); err == nil {
		for _, c := range l.config.Components() {
			list = append(list, c.Address())
		}
	}
	return list
}
