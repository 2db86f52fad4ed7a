// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
)

// explained is what explain answers for one code.
type explained struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	Text  string `json:"text,omitempty"`
}

// explain finds the text of a code, and parts its title from it.
func explain(code string) (explained, bool) {
	text, ok := config.Explain(code)
	head, text, _ := strings.Cut(text, "\n")
	code, title, _ := strings.Cut(head, ": ")
	return explained{code, title, strings.TrimSpace(text)}, ok
}

func newExplainCommand(a *app) *cobra.Command {
	return withJSON(&cobra.Command{
		Use:     "explain [CODE]",
		Short:   "Explain the code of an error, or list all codes",
		Example: "  penstock explain E1203\n  penstock explain",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return config.Codes(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listCodes(cmd)
			}
			e, ok := explain(args[0])
			if !ok {
				return wrongUse("List all codes with: penstock explain", "there is no code %q", args[0])
			}
			return a.answer(cmd, e.Title, e, func(t *terminal) {
				t.printf("%s  %s\n\n%s\n", t.paint(bold, e.Code), e.Title, e.Text)
			})
		},
	})
}

func (a *app) listCodes(cmd *cobra.Command) error {
	list := []explained{}
	for _, code := range config.Codes() {
		e, _ := explain(code)
		e.Text = "" // one screen of titles; the text of one is a command away
		list = append(list, e)
	}
	return a.answer(cmd, plural(len(list), "code"), list, func(t *terminal) {
		rows := make([][]string, 0, len(list))
		for _, e := range list {
			rows = append(rows, []string{e.Code, e.Title})
		}
		t.table(rows)
	})
}
