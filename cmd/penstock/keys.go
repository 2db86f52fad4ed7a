// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
)

const keyArgHelp = `An encrypted channel needs its keys: --key env:NAME or --key file:PATH, repeated for each. Without --key they are those that
this directory's pipeline files give the channel of that name.`

// keyFlag is that of all commands which look into a channel on the disk.
func keyFlag(cmd *cobra.Command) {
	cmd.Flags().StringArray("key", nil, `key of an encrypted channel, "env:NAME", "file:PATH", "exec:/PROGRAM" or "systemd:NAME"; may be repeated; the first encrypts what is written`)
	cmd.Long += "\n\n" + keyArgHelp
}

// keys finds those that a command may use for a channel.
func (a *app) keys(cmd *cobra.Command, dir channelDir) ([]wal.Key, error) {
	given, err := cmd.Flags().GetStringArray("key")
	if err != nil {
		return nil, fmt.Errorf("--key: %w", err)
	}
	if len(given) == 0 {
		return a.pipelineKeys(dir), nil
	}
	keys := make([]wal.Key, 0, len(given))
	for _, from := range given {
		raw, err := config.ReadKey(from)
		if bad, ok := errors.AsType[*config.SecretError](err); ok {
			// Not what was written: it may be the key itself.
			return nil, &fault{err: fmt.Errorf("--key: %w", err), exit: exitUsage, code: bad.Code(), hint: "See: penstock explain " + bad.Code()}
		}
		key, err := wal.NewKey(raw)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// pipelineKeys are those that the pipeline files here give the channel of that name; none where there are no files, or
// where they cannot be read.
func (a *app) pipelineKeys(dir channelDir) (keys []wal.Key) {
	l, err := a.here()
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(l.config.Channels, func(c config.Channel) bool { return c.Address() == dir.Name })
	if i < 0 {
		return nil
	}
	read, unread := agent.ReadKeys(l.config)
	for _, d := range unread {
		a.unread = append(a.unread, d.Detail)
	}
	c := l.config.Channels[i]
	for _, name := range append([]string{c.Key}, c.OldKeys...) {
		if key, ok := read[name]; ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// keyHint says how to give a key that is missing.
func (a *app) keyHint() string {
	hint := "Give it with --key env:NAME or --key file:PATH."
	if len(a.unread) > 0 {
		hint += " Of the pipeline files here: " + strings.Join(a.unread, " ")
	}
	return hint
}
