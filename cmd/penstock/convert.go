// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/flume"
)

func newConvertCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert",
		Short: "Make a pipeline file of another collector's configuration",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConvertFlumeCommand(a))
	return cmd
}

func newConvertFlumeCommand(a *app) *cobra.Command {
	var agent string
	cmd := &cobra.Command{
		Use:   "flume FILE",
		Short: "Make a pipeline file of the configuration of an agent of Apache Flume NG",
		Long: `Make a pipeline file of the configuration of an agent of Apache Flume NG, and print it. Names are kept. What has an
equivalent becomes a block; in the comments over it TODO marks what has none, with what to do about it, and NOTE
what is not quite as it was. No property is passed over without a word. What became of each part is told on
standard error, and with --json in the result.

A file of which all parts have an equivalent passes "penstock validate" as it is. FILE may be "-", standard input.`,
		Example: "  penstock convert flume flume.conf > pipeline.hcl\n  penstock convert flume flume.conf --agent a1 > a1/pipeline.hcl",
		Args:    needs("FILE"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.convertFlume(cmd, args[0], agent) },
	}
	cmd.Flags().StringVar(&agent, "agent", "", "the `name` of the agent, where the file configures several")
	_ = cmd.RegisterFlagCompletionFunc("agent", func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		text, _ := os.ReadFile(args[0]) // it may not be there yet
		return flume.Agents(text), cobra.ShellCompDirectiveNoFileComp
	})
	return withJSON(cmd)
}

func (a *app) convertFlume(cmd *cobra.Command, file, agent string) error {
	text, err := a.readBounded(file)
	if err != nil {
		return err
	}
	r, err := flume.Convert(text, file, agent)
	if err != nil {
		f := &fault{err: err, exit: exitUsage, code: "usage"}
		if errors.Is(err, flume.ErrAgent) {
			f.hint = "Choose one with --agent NAME."
		}
		return f
	}
	summary := fmt.Sprintf("agent %s: %d of %s converted, %d of which %s a NOTE, and %d with a TODO", r.Agent,
		len(r.Parts)-r.Count(flume.Missing), plural(len(r.Parts), "part"), r.Count(flume.Differs), haveOrHas(r.Count(flume.Differs)), r.Count(flume.Missing))
	if !wantsJSON(cmd) {
		a.tellConverted(r, summary)
	}
	return a.answer(cmd, summary, r, func(t *terminal) { t.printf("%s", r.HCL) })
}

func haveOrHas(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// readBounded reads a file that is no longer than a pipeline file may be; "-" is standard input.
func (a *app) readBounded(name string) ([]byte, error) {
	r, what := a.stdin, "standard input"
	if name != stdinArg {
		f, err := os.Open(name)
		if err != nil {
			return nil, &fault{err: fmt.Errorf("read the configuration: %w", err), exit: exitUsage, code: "usage"}
		}
		defer f.Close()
		r, what = f, name
	}
	text, err := io.ReadAll(io.LimitReader(r, config.MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if len(text) > config.MaxFileBytes {
		return nil, wrongUse("", "%s is over the limit of %s", what, size(config.MaxFileBytes))
	}
	return text, nil
}

// tellConverted says on standard error what became of each part.
func (a *app) tellConverted(r *flume.Result, summary string) {
	words := map[flume.Status]string{flume.Converted: "", flume.Differs: "see NOTE", flume.Missing: "see TODO"}
	rows := make([][]string, 0, len(r.Parts))
	for _, p := range r.Parts {
		became := strings.Join(p.Became, ", ")
		if became == "" {
			became = "–"
		}
		rows = append(rows, []string{p.Kind, p.Name, p.Type, "→ " + became, words[p.Status]})
	}
	a.err.table(rows)
	a.err.printf("\n%s\n", summary)
	if r.Count(flume.Missing) > 0 {
		a.err.printf("Do what the lines with TODO say; then: penstock validate\n")
	} else {
		a.err.printf("See: penstock validate\n")
	}
}
