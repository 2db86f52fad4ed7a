// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
)

const (
	oneChannelHelp = `CHANNEL is a name ("main"), or a channel's directory.`

	channelArgHelp = `A CHANNEL is a name ("main"), a channel's directory, or a data directory, which means all channels in it. Without one,
all channels of the agent in this directory's pipeline files are meant.`
)

func newChannelCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "channel",
		Short: "Look into channels, drain, purge, replay, verify and repair them",
		Long: `Look into channels, drain, purge, replay, verify and repair them. What looks, reads the directories as they are; no agent needs to
run. What moves a sink is done by the agent that runs, or else to the directory. "drain" needs an agent, and "repair" that none runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newChannelLsCommand(a), newChannelInspectCommand(a), newChannelPeekCommand(a), newChannelExportCommand(a),
		newChannelDrainCommand(a), newChannelPurgeCommand(a), newChannelForgetCommand(a), newChannelReplayCommand(a),
		newChannelVerifyCommand(a), newChannelRepairCommand(a))
	return cmd
}

// channelDir is a channel on the disk.
type channelDir struct {
	Name string `json:"channel"`
	Path string `json:"path"`
}

// findChannels finds the directories that args mean.
func (a *app) findChannels(args []string, dataDir string) ([]channelDir, error) {
	if len(args) == 0 {
		dir, err := a.findDataDir(".", dataDir)
		if err != nil {
			return nil, err
		}
		return channelsIn(dir)
	}
	var all []channelDir
	for _, arg := range args {
		found, err := a.findChannel(arg, dataDir)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (a *app) findChannel(arg, dataDir string) ([]channelDir, error) {
	switch {
	case isChannel(arg):
		return []channelDir{{channelName(arg), arg}}, nil
	case isDir(arg):
		return channelsIn(arg)
	case unreadable(arg) != nil:
		return nil, unreadable(arg)
	case strings.ContainsRune(arg, filepath.Separator):
		return nil, wrongUse("Name a channel, the directory of one, or a data directory.", "there is no directory %s", arg)
	}
	dir, err := a.findDataDir(".", dataDir)
	if err != nil {
		return nil, err
	}
	path := agent.ChannelDir(dir, config.NameOfDir(strings.TrimPrefix(arg, "channel.")))
	if isChannel(path) {
		return []channelDir{{channelName(path), path}}, nil
	}
	if err := unreadable(path); err != nil {
		return nil, err
	}
	hint := "There is none in " + dir
	if there, err := channelsIn(dir); err == nil {
		names := make([]string, 0, len(there))
		for _, c := range there {
			names = append(names, c.Name)
		}
		hint = "There are: " + strings.Join(names, ", ")
	}
	return nil, wrongUse(hint, "there is no channel %q", arg)
}

// oneChannel finds the one directory that arg means.
func (a *app) oneChannel(arg, dataDir string) (channelDir, error) {
	found, err := a.findChannel(arg, dataDir)
	if err != nil {
		return channelDir{}, err
	}
	if len(found) > 1 {
		return channelDir{}, wrongUse("Name one of its channels.", "%s holds %d channels", arg, len(found))
	}
	return found[0], nil
}

// channelsIn lists the channels of a data directory.
func channelsIn(dataDir string) ([]channelDir, error) {
	parent := filepath.Dir(agent.ChannelDir(dataDir, "x"))
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("list channels: %w: %w", errUnreadable, err)
	}
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("list channels: %w", err)
	}
	var all []channelDir
	for _, e := range entries {
		if path := filepath.Join(parent, e.Name()); isChannel(path) {
			all = append(all, channelDir{channelName(path), path})
		}
	}
	if len(all) == 0 {
		return nil, wrongUse("It is the data_dir of the agent block, or --data-dir.", "%s is neither a channel nor a data directory with channels", dataDir)
	}
	return all, nil
}

// errUnreadable: it is another user's, and nobody can say what is there.
var errUnreadable = errors.New("another user's")

// unreadable is the error of a path of which it cannot be said whether it is there, or nil.
func unreadable(path string) error {
	_, err := os.Stat(filepath.Join(path, "META"))
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("look for a channel: %w: %w", errUnreadable, err)
	}
	return nil
}

func channelName(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return "channel." + config.NameOfDir(filepath.Base(path))
}

// isChannel says whether path looks like the directory of a durable channel, damaged as it may be.
func isChannel(path string) bool {
	_, err := os.Stat(filepath.Join(path, "META"))
	return err == nil || isDir(filepath.Join(path, "log")) || isDir(filepath.Join(path, "pos")) && isDir(filepath.Join(path, "quarantine"))
}
