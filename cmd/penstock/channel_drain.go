// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
)

// drainPoll is how often a drain looks: soon enough for a person, and nothing to the agent.
const drainPoll = 200 * time.Millisecond

// drained is what drain answers.
type drained struct {
	channelDir
	Paused    []string `json:"paused"`  // sources
	Resumed   []string `json:"resumed"` // sources
	Delivered uint64   `json:"delivered"`
	Seconds   float64  `json:"seconds"`
}

func newChannelDrainCommand(a *app) *cobra.Command {
	var dataDir string
	var resume bool
	cmd := &cobra.Command{
		Use:   "drain CHANNEL",
		Short: "Pause the sources of a channel and wait until every sink has all",
		Long: `Pause the sources that put into a channel, and wait until every sink has delivered all that is in it. What the sources had read
is committed and acknowledged before they pause. A full channel and a full disk are drained too.

When it is empty it says so, and the sources stay paused, until the agent starts again or --resume is given. So an upgrade, a move to another
machine, or a change of key begins with nothing on its way. Ctrl-C, or any failure, lets the sources go on.

It needs the running agent (exit code 3 without one). To empty a channel whose agent is stopped, start it with "penstock run": its sinks go on
where they were, and then drain. While sources are paused the agent is not ready, and "penstock status" says why.

` + oneChannelHelp,
		Example:           "  penstock channel drain main\n  penstock channel drain main --resume",
		Args:              needs("CHANNEL"),
		ValidArgsFunction: a.completeChannel(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.target(cmd.Context(), args[0], dataDir)
			if err != nil {
				return err
			}
			if resume {
				return a.resume(cmd, t)
			}
			return a.drain(cmd, t)
		},
	}
	dataDirFlag(cmd, &dataDir)
	cmd.Flags().BoolVar(&resume, "resume", false, "let the sources go on")
	return withJSON(cmd)
}

func (a *app) resume(cmd *cobra.Command, t channelTarget) error {
	out, err := t.act(cmd.Context(), admin.Action{Verb: admin.Resume})
	if err != nil {
		return needsAgent(err, t)
	}
	summary := "no source puts into it"
	if len(out.Sources) > 0 {
		summary = strings.Join(out.Sources, ", ") + " run"
	}
	return a.answer(cmd, summary, drained{channelDir: t.channelDir, Paused: []string{}, Resumed: out.Sources}, func(to *terminal) {
		to.printf("%s  %s\n", to.paint(bold, t.Name), summary)
	})
}

// needsAgent says what to do where none runs.
func needsAgent(err error, t channelTarget) error {
	if errors.Is(err, admin.ErrNoAgent) {
		return &fault{err: err, hint: fmt.Sprintf("Only a running agent can drain %s. Start it with: penstock run", t.Name)}
	}
	return err
}

func (a *app) drain(cmd *cobra.Command, t channelTarget) (err error) {
	ctx, stop := a.untilSignal(cmd.Context())
	defer stop()
	begun := time.Now()
	if err := t.drainable(ctx); err != nil {
		return err
	}
	out, err := t.act(ctx, admin.Action{Verb: admin.Drain})
	d := drained{channelDir: t.channelDir, Paused: out.Sources, Resumed: []string{}}
	if err == nil {
		d.Delivered, err = a.awaitEmpty(ctx, t, wantsJSON(cmd))
	}
	if err != nil {
		return a.giveUpDrain(cmd, t, err)
	}
	d.Seconds = time.Since(begun).Seconds()
	summary := fmt.Sprintf("empty: every sink has all; %s delivered in %s", plural(d.Delivered, "event"), span(time.Since(begun)))
	return a.answer(cmd, summary, d, func(to *terminal) {
		to.printf("%s  %s\n", to.paint(bold, t.Name), summary)
		if len(d.Paused) > 0 {
			to.printf("  paused: %s, until the agent starts again, or: penstock channel drain %s --resume\n", strings.Join(d.Paused, ", "), strings.TrimPrefix(t.Name, "channel."))
		}
	})
}

// giveUpDrain lets the sources go on, whatever ended the drain.
func (a *app) giveUpDrain(cmd *cobra.Command, t channelTarget, err error) error {
	_, rerr := t.act(context.WithoutCancel(cmd.Context()), admin.Action{Verb: admin.Resume})
	if errors.Is(rerr, admin.ErrNoAgent) || rerr == nil {
		return needsAgent(fmt.Errorf("%s is not empty: %w; its sources go on", t.Name, err), t)
	}
	return errors.Join(fmt.Errorf("%s is not empty: %w", t.Name, err), rerr)
}

// drainable refuses what would never end: a reader that nobody uses.
func (t channelTarget) drainable(ctx context.Context) error {
	if t.dataDir == "" {
		return needsAgent(admin.ErrNoAgent, t)
	}
	status, err := admin.Ask(ctx, t.dataDir)
	if err != nil {
		return needsAgent(err, t)
	}
	c, ok := channelOf(status, t.Name)
	if !ok {
		return wrongUse("See: penstock status", "the agent of %s has no %s", t.dataDir, t.Name)
	}
	for _, r := range c.Readers {
		if !r.InUse && r.Waiting > 0 {
			return &fault{
				err: fmt.Errorf("%s would never be empty: %s wait for %s, which no sink uses any more", t.Name, plural(r.Waiting, "event"), r.Name), exit: exitFailed, code: admin.CodeRefused,
				hint: fmt.Sprintf("To give them up: penstock channel forget %s %s", strings.TrimPrefix(t.Name, "channel."), r.Name),
			}
		}
	}
	return nil
}

// awaitEmpty waits until every reader has all, and says how many events the slowest of them got meanwhile.
func (a *app) awaitEmpty(ctx context.Context, t channelTarget, quiet bool) (delivered uint64, err error) {
	bar := progressBar{to: a.err, what: "draining " + t.Name, quiet: quiet, unit: func(n uint64) string { return plural(n, "event") }}
	defer bar.clear()
	most, said := uint64(0), ""
	for {
		status, err := admin.Ask(ctx, t.dataDir)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			return 0, err
		}
		c, _ := channelOf(status, t.Name)
		left := uint64(0)
		for _, r := range c.Readers {
			left = max(left, r.Waiting)
		}
		if most = max(most, left); left == 0 {
			return most, nil
		}
		if why := inTheWay(status, t.Name); why != said {
			bar.clear()
			a.err.printf("%s", why)
			said = why
		}
		bar.draw(int64(most-left), int64(most))
		select {
		case <-time.After(drainPoll):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// inTheWay says why sinks do not deliver, a line each.
func inTheWay(s admin.Status, address string) string {
	var lines []string
	for _, c := range s.Components {
		if c.Kind == "sink" && c.Channel == address && c.State != admin.Running && c.Reason != "" {
			lines = append(lines, fmt.Sprintf("  %s %s: %s\n", c.Address, c.State, c.Reason))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
