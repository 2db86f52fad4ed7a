// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
)

// What has another name than it had, as moved blocks say, keeps what it has. A channel's directory is renamed before it is opened. A source takes its
// cursor from the name before (see fetch). A sink finds the readers of the name before in its channel, which hand over to its own
// as when lanes change: what they have not delivered they deliver first, under their own numbers, so that a destination recognises it.

// renameChannels gives directories the names that their channels have now. One that is there already stays as it is, and so does the one before.
func (r *revision) renameChannels(before *revision) error {
	a := r.agent
	for _, c := range r.Config.Channels {
		to := ChannelDir(a.dir, c.Name)
		for _, name := range r.formerly(c.Address()) {
			if _, err := os.Lstat(to); err == nil {
				break
			}
			from := ChannelDir(a.dir, bare(name))
			if _, err := os.Lstat(from); err != nil || before.find(name) != nil { // the latter is refused by the plan
				continue
			}
			a.opts.Step("rename")
			if err := rename(from, to); err != nil {
				return fmt.Errorf("give %s the name %s: %w", name, c.Address(), err)
			}
			r.log.Info("a channel has another name, and all that it had", "component", c.Address(), "before", name)
		}
	}
	return nil
}

// formerly are the names that something had before, the newest first. Where a revision is gone back to, the last of them is the one that it had for a while.
func (r *revision) formerly(address string) []string {
	before := r.Config.Formerly(address)
	tried := r.tried.Load()
	if tried == nil {
		return before
	}
	for _, m := range tried.Moved {
		if m.From == address {
			return append([]string{m.To}, before...)
		}
	}
	return before
}

// rename makes the new name durable before anything is written under it.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// isReaderOf says whether a reader is that of a sink, or of one of its lanes.
func isReaderOf(reader, sink string) bool {
	return reader == sink || strings.HasPrefix(reader, sink+"/")
}

// isReader says whether a reader is one of the sink's. Those of a name that it had before are when they have handed over, or when it has none of its own
// that goes on: else there were two sinks, and what is left of the other would come twice.
func (l *layout) isReader(name string, there map[string]channel.ReaderInfo) bool {
	if isReaderOf(name, l.c.Address()) {
		return true
	}
	if there[name].End == 0 {
		for other, info := range there {
			if isReaderOf(other, l.c.Address()) && info.End == 0 {
				return false
			}
		}
	}
	return slices.ContainsFunc(l.before, func(sink string) bool { return isReaderOf(name, sink) })
}
