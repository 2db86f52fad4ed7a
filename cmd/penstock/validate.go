// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
)

// validated is what validate answers about a configuration without errors.
type validated struct {
	diagnostics
	Revision string         `json:"revision"`
	Paths    []deliveryPath `json:"paths"`
	May      []permitted    `json:"may"`
}

// permitted is what the plugin of one component may touch.
type permitted struct {
	Component string   `json:"component"`
	May       []string `json:"may"`
}

// deliveryPath is one way through the configuration, and what it promises.
type deliveryPath struct {
	Source   string   `json:"source"`
	Through  []string `json:"through"` // processors
	Channel  string   `json:"channel"`
	Sink     string   `json:"sink"`
	Delivery string   `json:"delivery"`
	Why      string   `json:"why"`
}

func newValidateCommand(a *app) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "validate [PATH]",
		Short: "Check pipeline files, and say what they promise",
		Long: `Check pipeline files: their language, each plugin's arguments, what plugins may touch, and that every channel is
drained. Every mistake is shown at once, with its line. Nothing is run: no plugin's code, no channel, no network, and no secret is read.

PATH is a file, or a directory of which all *.hcl files are one configuration; "." by default.
Exit code 2 when there is an error.`,
		Example: "  penstock validate\n  penstock validate /etc/penstock --json\n  penstock validate --format github",
		Args:    cobra.MaximumNArgs(1),

		Annotations: map[string]string{readsPipeline: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != formatGitHub {
				return wrongUse("", `--format %q: it is "text" or "github"`, format)
			}
			l, err := a.load(pathArg(args))
			if format == formatGitHub && l.sources != nil {
				return annotated(a.out, l, err)
			}
			if err != nil {
				return err
			}
			v := validated{diagnosticsOf(l), l.config.Revision, pathsOf(l.config), permittedBy(l.config)}
			if !wantsJSON(cmd) {
				a.showDiagnostics(l)
			}
			summary := fmt.Sprintf("%s valid: %s, %s, %s", areValid(len(v.Files)), plural(len(l.config.Sources), "source"),
				plural(len(l.config.Channels), "channel"), plural(len(l.config.Sinks), "sink"))
			return a.answer(cmd, summary, v, func(t *terminal) {
				t.printf("%s (%s, nothing was run)\n", t.paint(green, summary), span(l.took))
				printPaths(t, v.Paths)
				printPermitted(t, v.May)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", format, `"text" for people, or "github" for annotations in a workflow of GitHub`)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"text", formatGitHub}, cobra.ShellCompDirectiveNoFileComp))
	return withJSON(cmd)
}

// formatGitHub writes what a workflow of GitHub shows at the lines of a change.
const formatGitHub = "github"

// annotated says all as annotations, and nothing else.
func annotated(t *terminal, l loaded, err error) error {
	printAnnotations(t, l)
	if err == nil {
		return nil
	}
	return &fault{err: err, exit: exitUsage, show: func() {}}
}

func areValid(files int) string {
	if files == 1 {
		return "1 file is"
	}
	return plural(files, "file") + " are"
}

func printPaths(t *terminal, paths []deliveryPath) {
	rows := make([][]string, 0, len(paths))
	for _, p := range paths {
		way := slices.Concat([]string{p.Source}, p.Through, []string{p.Channel, p.Sink})
		rows = append(rows, []string{strings.Join(way, " → "), p.Delivery, "(" + p.Why + ")"})
	}
	t.printf("\n")
	t.table(rows)
}

func permittedBy(c *config.Config) []permitted {
	list := []permitted{}
	for _, comp := range c.Components() {
		list = append(list, permitted{comp.Address(), comp.Permissions()})
	}
	return list
}

func printPermitted(t *terminal, list []permitted) {
	var rows [][]string
	for _, p := range list {
		for i, what := range p.May {
			row := []string{p.Component, "may " + what}
			if i > 0 {
				row[0] = ""
			}
			rows = append(rows, row)
		}
	}
	if len(rows) > 0 {
		t.printf("\n")
		t.table(rows)
	}
}

func pathsOf(c *config.Config) []deliveryPath {
	paths := []deliveryPath{}
	kinds := map[string]string{}
	for _, ch := range c.Channels {
		kinds[ch.Name] = ch.Kind
	}
	for _, source := range c.Sources {
		for _, sink := range c.Sinks {
			if source.Into != sink.From {
				continue
			}
			p := deliveryPath{Source: source.Address(), Through: []string{}, Channel: "channel." + source.Into, Sink: sink.Address()}
			for _, name := range source.Through {
				p.Through = append(p.Through, "processor."+name)
			}
			p.Delivery, p.Why = delivery(source.Plugin.Replay, kinds[source.Into], sink.Plugin.Effects)
			paths = append(paths, p)
		}
	}
	return paths
}

// delivery says what a path promises when anything on it crashes, and why. The weakest part decides.
func delivery(replay, channel, effects string) (promise, why string) {
	in := "what the source had not handed over at a crash is lost"
	switch replay {
	case "cursor":
		in = "cursor in the record"
	case "ack":
		in = "a sender may send again after a lost answer"
	}
	switch {
	case channel == "memory" && replay != "cursor":
		return "at most once", "a memory channel forgets at a crash"
	case channel == "memory":
		return "at most once", "a memory channel forgets at a crash what the source's cursor has passed"
	case replay == "none" || replay == "":
		return "at most once", in
	case effects == "transactional" && replay == "cursor":
		return "exactly once", in + "; transactional sink"
	case effects == "idempotent" && replay == "cursor":
		return "exactly once, by key", in + "; the destination recognises a repeat"
	case effects == "none" || effects == "":
		return "at least once", in + "; the destination may see a batch again after a crash"
	}
	return "at least once", in
}
