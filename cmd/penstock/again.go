// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/watch"
)

// setup reads what is to run: the files at path, and what they name beside them; the command line goes before the files. may, if it is not nil, is asked
// before any secret is read.
func (a *app) setup(path string, f runFlags, may func(*config.Config) error) (loaded, agent.Setup, error) {
	l, err := a.load(path)
	if err != nil {
		return l, agent.Setup{}, err
	}
	if err := f.apply(l.config); err != nil {
		return l, agent.Setup{}, err
	}
	if may != nil {
		if err := may(l.config); err != nil {
			return l, agent.Setup{}, err
		}
	}
	keys, unread := agent.ReadKeys(l.config)
	secrets, hidden := config.ReadSecrets(l.config)
	var revealed map[string]config.Revealed
	if !hidden.HasErrors() {
		revealed, hidden = config.RevealWith(l.config, secrets)
	}
	unread = append(unread, hidden...)
	if l.diags = append(l.diags, unread...); unread.HasErrors() {
		return l, agent.Setup{}, a.mistakes(l)
	}
	return l, agent.Setup{Config: l.config, Keys: keys, Secrets: secrets, Revealed: revealed, Modules: l.modules, Sources: l.sources}, nil
}

// reader is how a running agent reads its files again: the same way as at the start.
type reader struct {
	app  *app
	path string
	runFlags

	mu    sync.Mutex
	wants []string // what the files at path name beside them, as they were read last
}

// beside are files that the configuration depends on, as it was read last. It may be called at any time.
func (r *reader) beside() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wants
}

// read reads the files at another path, "" for those of the start, given more values of variables; look is how plugins
// are asked about their configs, and may is asked before secrets are read. Mistakes come as a refusal that holds all of them.
func (r *reader) read(other string, given admin.Variables, look agent.Look, may func(*config.Config) error) (agent.Setup, error) {
	of := *r.app
	of.look = look
	all := admin.Variables(of.variables).And(given)
	of.variables = config.Variables(all)
	l, setup, err := of.setup(cmp.Or(other, r.path), r.runFlags, may)
	if other == "" {
		r.depend(l.sources)
	}
	return setup, r.refusal(l, err)
}

func (r *reader) depend(on *config.Sources) {
	wants := on.Wants()
	for i, name := range wants {
		if abs, err := filepath.Abs(name); err == nil { // else it is watched under the name that it has
			wants[i] = abs
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wants = wants
}

// refusal makes of mistakes something that the agent passes on.
func (*reader) refusal(l loaded, err error) error {
	fault, ok := errors.AsType[*fault](err)
	if !ok || fault.exit != exitUsage {
		return err
	}
	why := &admin.Refusal{Code: admin.CodeMistakes, Message: fault.Error(), Hint: fault.hint}
	if fault.at != nil {
		why.Message = placeOf(*fault.at) + ": " + why.Message
	}
	var text bytes.Buffer
	config.WriteDiagnostics(&text, l.diags, l.sources, false, usualWidth)
	why.Text = text.String()
	why.Result, _ = json.Marshal(diagnosticsOf(l)) // it has no values that do not encode
	return why
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

// runAndReload runs the agent, and has it reload at each SIGHUP and, unless watcher is nil, when the files change. What becomes of that the agent logs.
func runAndReload(ctx context.Context, ag *agent.Agent, hup <-chan os.Signal, files *reader, watcher *watch.Watcher) error {
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
	if watcher != nil {
		others := func() []string { return slices.Concat(ag.ModuleFiles(), files.beside()) }
		g.Go(func() error {
			watcher.Run(ctx, others, func() {
				_, _ = ag.Reload(ctx, admin.Reload{Why: "the files have changed", Watch: true})
			})
			return nil
		})
	}
	err := ag.Run(ctx)
	cancel()
	return errors.Join(err, g.Wait())
}

// unwatched says at once that the files are not watched: the agent collects all the same.
func unwatched(log *slog.Logger, err error) {
	log.Error("the files are not watched, and what changes in them is not taken up: give the system more of fs.inotify.max_user_instances and "+
		"max_user_watches, and start the agent again", "error", err, "until then", "penstock reload")
}
