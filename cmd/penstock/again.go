// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/watch"
)

// setup reads what is to run: the files at path, and what they name beside them; the command line goes before the files.
func (a *app) setup(path string, f runFlags) (loaded, agent.Setup, error) {
	l, err := a.load(path)
	if err != nil {
		return l, agent.Setup{}, err
	}
	if err := f.apply(l.config); err != nil {
		return l, agent.Setup{}, err
	}
	keys, unread := agent.ReadKeys(l.config)
	revealed, hidden := config.Reveal(l.config)
	unread = append(unread, hidden...)
	if l.diags = append(l.diags, unread...); unread.HasErrors() {
		return l, agent.Setup{}, a.mistakes(l)
	}
	return l, agent.Setup{Config: l.config, Keys: keys, Revealed: revealed, Modules: l.modules, Sources: l.sources}, nil
}

// again is how a running agent reads its files again: the same way as at the start. Mistakes come as a refusal that holds all of them.
func (a *app) again(path string, f runFlags) func(string) (agent.Setup, error) {
	return func(other string) (agent.Setup, error) {
		l, setup, err := a.setup(cmp.Or(other, path), f)
		fault, ok := errors.AsType[*fault](err)
		if !ok || fault.exit != exitUsage {
			return setup, err
		}
		r := &admin.Refusal{Code: admin.CodeMistakes, Message: fault.Error(), Hint: fault.hint}
		if fault.at != nil {
			r.Message = placeOf(*fault.at) + ": " + r.Message
		}
		var text bytes.Buffer
		config.WriteDiagnostics(&text, l.diags, l.sources, false, usualWidth)
		r.Text = text.String()
		r.Result, _ = json.Marshal(diagnosticsOf(l)) // it has no values that do not encode
		return setup, r
	}
}

// placeOf writes a place as compilers do: file:line:column.
func placeOf(r config.JSONRange) string {
	return fmt.Sprintf("%s:%d:%d", r.Filename, r.Start.Line, r.Start.Column)
}

// hangups returns the channel of SIGHUPs, which is never closed, and a func that ends it.
func hangups() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1) // several in a row are one
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// runAndReload runs the agent, and has it reload at each SIGHUP and, where path is not "", when the files there change. What becomes of that the agent logs.
func (a *app) runAndReload(ctx context.Context, ag *agent.Agent, hup <-chan os.Signal, path string) error {
	var g errgroup.Group
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() error {
		for {
			select {
			case <-hup:
				_, _ = ag.Reload(ctx, admin.Reload{Why: "SIGHUP"})
			case <-ctx.Done():
				return nil
			}
		}
	})
	if path != "" {
		g.Go(func() error {
			return watch.Run(ctx, watch.Options{Path: path, Others: ag.ModuleFiles, Changed: func() {
				_, _ = ag.Reload(ctx, admin.Reload{Why: "the files have changed", Watch: true})
			}})
		})
	}
	err := ag.Run(ctx)
	cancel()
	return errors.Join(err, g.Wait())
}
