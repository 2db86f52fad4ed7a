// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/plan"
)

// exitChanges is what plan --detailed-exitcode ends with when there is something to do.
const exitChanges = 4

func newPlanCommand(a *app) *cobra.Command {
	var dataDir string
	var detailed bool
	cmd := &cobra.Command{
		Use:   "plan [PATH]",
		Short: "Show what a reload would change",
		Long: `Compare the pipeline files at PATH with what the running agent runs, and show what a reload would do: which components are
created, updated in place, restarted or removed, and why; which plugins run other code; which permissions come and go; what is in flight;
and what holds then on each path from a source to a sink, with a mark where that is less than now.
What is not shown is not touched. Nothing is changed by it.

The agent itself reads the files, as it would at a reload: with the values of variables that it was started with, and those of --var and --var-file
in their place. It is found by its data directory: the one in the files, or --data-dir. Where none
runs, everything is new.

The plan has a hash: "penstock reload --plan HASH" does what was shown, or nothing.

Exit code: 0; with --detailed-exitcode 4 when there is something to do. 2: there are mistakes in the files.`,
		Example: "  penstock plan\n  penstock plan /etc/penstock --detailed-exitcode --json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.plan(cmd, pathArg(args), dataDir)
			if err != nil {
				return err
			}
			if err := a.answer(cmd, p.Summary(), p, func(t *terminal) { printPlan(t, p) }); err != nil {
				return err
			}
			if detailed && !p.Empty() {
				return &fault{err: errors.New(p.Summary()), exit: exitChanges, said: true}
			}
			return nil
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().BoolVar(&detailed, "detailed-exitcode", false, "end with 4 when there is something to do")
	return withJSON(cmd)
}

// plan asks the agent, or compares with nothing where none runs.
func (a *app) plan(cmd *cobra.Command, path, dataDir string) (*plan.Plan, error) {
	dir, _, err := a.lookForDataDir(path, dataDir) // the agent says itself what is wrong with its files
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	given, err := a.given()
	if err != nil {
		return nil, err
	}
	out, err := admin.AskReload(cmd.Context(), dir, admin.Reload{Path: abs, DryRun: true, Variables: given})
	if errors.Is(err, admin.ErrNoAgent) {
		a.look = newLook()
		l, err := a.load(path)
		if err != nil {
			return nil, err
		}
		return plan.Compare(plan.Side{}, plan.Side{Config: l.config}), nil
	}
	if err != nil {
		return nil, a.refused(err)
	}
	return planIn(out)
}

// given are the values of variables that stand on the command line, for an agent that runs in another directory.
func (a *app) given() (admin.Variables, error) {
	v := admin.Variables{Set: a.variables.Set}
	for _, name := range a.variables.Files {
		abs, err := filepath.Abs(name)
		if err != nil {
			return v, err
		}
		v.Files = append(v.Files, abs)
	}
	return v, nil
}

func planIn(out admin.Reloaded) (*plan.Plan, error) {
	p := &plan.Plan{}
	if err := json.Unmarshal(out.Plan, p); err != nil {
		return nil, fmt.Errorf("read the agent's plan: %w; is it of another version?", err)
	}
	return p, nil
}

// refused makes a fault of what the agent would not do.
func (a *app) refused(err error) error {
	r, ok := errors.AsType[*admin.Refusal](err)
	if !ok {
		return err
	}
	f := &fault{err: r, exit: exitFailed, code: r.Code, hint: r.Hint}
	switch r.Code {
	case admin.CodeMistakes:
		f.exit, f.result = exitUsage, r.Result
		f.show = func() { a.err.printf("%s", r.Text) }
	case admin.CodeUsage, admin.CodeAbsent:
		f.exit = exitUsage
	}
	return f
}

func printPlan(t *terminal, p *plan.Plan) {
	if !p.Status.Running {
		t.printf("No agent runs, so that everything is new.\n")
	}
	if p.Empty() {
		t.printf("No changes: the agent runs what the files say.\n")
		p.Write(t, nil)
		return
	}
	colors := map[byte]string{'+': green, '~': yellow, '-': red, '!': bold}
	p.Write(t, func(mark byte, text string) string { return t.paint(colors[mark], text) })
	t.printf("Plan: %s.", p.Summary())
	if p.Status.Running && len(p.Refused) == 0 && p.Status.Barred == "" {
		t.printf("  Do it with: penstock reload --plan %s", p.Hash)
	}
	t.printf("\n")
}
