// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/guarantee"
)

// validated is what validate answers about a configuration without errors.
type validated struct {
	diagnostics
	Revision string             `json:"revision"`
	Paths    []guarantee.Report `json:"paths"`
	May      []permitted        `json:"may"`
}

// permitted is what the plugin of one component may touch.
type permitted struct {
	Component string   `json:"component"`
	May       []string `json:"may"`
}

func newValidateCommand(a *app) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "validate [PATH]",
		Short: "Check pipeline files, and say what they promise",
		Long: `Check pipeline files: their language, each plugin's arguments, what plugins may touch, and that every channel is
drained. Every mistake is shown at once, with its line. Nothing is run: no channel, no network, no code of a plugin but what it says of its own
arguments, without any grant; and no secret is read. A module is asked that comes with the binary, is small, or was compiled by an agent with that data
directory; others say what they think when they are opened, or at a reload.

PATH is a file, or a directory of which all *.hcl files are one configuration; "." by default.
Exit code 2 when there is an error.`,
		Example: "  penstock validate\n  penstock validate /etc/penstock --json\n  penstock validate --format github",
		Args:    cobra.MaximumNArgs(1),

		Annotations: map[string]string{readsPipeline: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "text" && format != formatGitHub {
				return wrongUse("", `--format %q: it is "text" or "github"`, format)
			}
			a.look = newLook()
			l, err := a.load(pathArg(args))
			if format == formatGitHub && l.sources != nil {
				return annotated(a.out, l, err)
			}
			if err != nil {
				return err
			}
			v := validated{diagnosticsOf(l), l.config.Revision, l.config.Guarantees(), permittedBy(l.config)}
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

func printPaths(t *terminal, paths []guarantee.Report) {
	if len(paths) > 0 {
		t.printf("\n")
		guarantee.Write(t, "", paths)
	}
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
