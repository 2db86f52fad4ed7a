// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
)

// caseOf is a trial as the checks have it.
func (t *tester) caseOf(trial *config.Trial) plugintest.Case {
	c := plugintest.Case{Kind: trial.Kind, Name: trial.Plugin, Events: trial.Events, Input: trial.Input, Output: trial.Output}
	c.Setup = func(dir string) (plugintest.Opening, error) {
		for name, content := range trial.Files {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
				return plugintest.Opening{}, err
			}
		}
		component, err := t.component(trial, dir, false)
		o := plugintest.Opening{Config: string(component.Config)}
		o.Limits.MemoryBytes = component.Limits.MemoryBytes
		for _, d := range component.Dirs {
			o.Dirs = append(o.Dirs, plugin.Dir{Path: d.Path, Write: d.Write})
		}
		for _, h := range component.Handles {
			o.Handles = append(o.Handles, handleOf(h))
		}
		return o, err
	}
	for _, o := range trial.Clients {
		c.Clients = append(c.Clients, plugintest.Client(o))
	}
	for _, o := range trial.Requests {
		c.Requests = append(c.Requests, plugintest.Request(o))
	}
	if len(trial.Servers) > 0 {
		c.Servers = map[string]plugintest.Server{}
	}
	for _, o := range trial.Servers {
		c.Servers[o.Handle] = plugintest.Server{Format: plugintest.Format(o.Format), Fail: o.Fail}
	}
	if trial.Refuses {
		if component, err := t.component(trial, os.TempDir(), true); err == nil {
			c.BadConfig = string(component.Config)
		}
	}
	if trial.Stored != "" {
		c.Stored = func(dir string) ([]string, error) {
			b, err := os.ReadFile(filepath.Join(dir, trial.Stored))
			return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
		}
	}
	return c
}

func (t *tester) component(trial *config.Trial, dir string, refused bool) (config.Component, error) {
	component, diags := t.trials.Component(trial, dir, refused)
	if diags.HasErrors() {
		return component, diags.Errs()[0]
	}
	return component, nil
}

// handleOf is what a plugin gets instead of the address that the config names.
func handleOf(h config.Handle) plugintest.Handle {
	out := plugintest.Handle{Kind: h.Kind, Name: h.Name, Datagrams: h.Address.Packet()}
	if h.Kind == abi.NeedHTTP {
		out.Path = h.Address.Path
	}
	return out
}
