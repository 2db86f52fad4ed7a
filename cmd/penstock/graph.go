// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/graph"
)

func newGraphCommand(a *app) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "graph [PATH]",
		Short: "Draw which way events go",
		Long: `Draw pipeline files: which sources fill a channel, through which processors, and which sinks drain it. What is drawn is what would run, each
instance of for_each by itself. Nothing is run, and no secret is read.

PATH is a file, or a directory of which all *.hcl files are one configuration; "." by default.`,
		Example: "  penstock graph\n  penstock graph --format dot | dot -Tsvg > pipeline.svg\n  penstock graph --format mermaid >> README.md",
		Args:    cobra.MaximumNArgs(1),

		Annotations: map[string]string{readsPipeline: "yes"},
		RunE: func(cmd *cobra.Command, args []string) error {
			draw, ok := graphFormats[format]
			if !ok {
				return wrongUse("", `--format %q: it is "text", "dot", "mermaid" or "json"`, format)
			}
			l, err := a.load(pathArg(args))
			if err != nil {
				return err
			}
			g := graph.Of(l.config)
			if draw == nil || wantsJSON(cmd) {
				writeEnvelope(a.out, envelope{Command: commandName(cmd), OK: true, Summary: plural(len(g.Nodes), "node"), Result: g})
				return nil
			}
			draw(g, a.out)
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", format, `"text", "dot" for Graphviz, "mermaid" for Markdown, or "json"`)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"text", "dot", "mermaid", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return withJSON(cmd)
}

var graphFormats = map[string]func(g *graph.Graph, t *terminal){
	"text": func(g *graph.Graph, t *terminal) {
		colors := map[string]string{"source": green, "processor": yellow, "channel": bold, "route": yellow, "sink_group": yellow, "sink": green, "about": dim, "line": dim}
		g.WriteText(t, func(what, text string) string { return t.paint(colors[what], text) })
	},
	"dot":     func(g *graph.Graph, t *terminal) { g.WriteDot(t) },
	"mermaid": func(g *graph.Graph, t *terminal) { g.WriteMermaid(t) },
	"json":    nil,
}
