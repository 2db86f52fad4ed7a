// SPDX-License-Identifier: Apache-2.0

// Package exec is the source that runs a command and takes what it prints.
//
// The command is a child of the plugin's own process, and is held to what that was granted: it has its files, its network and its user, and no
// others (spec/subprocess.md).
//
// Invariants:
//   - One command runs at a time. When it has ended, all that it has started is ended before anything else happens: in a process namespace by
//     a signal to all, elsewhere on Linux by a look at whose parent is whose, since what is orphaned becomes this process's.
//   - All that runs stays in the process group of the plugin, which whoever ends the plugin kills: nothing outlives the agent.
//   - What is printed is read when the host asks for events, and not before, but for one chunk of each pipe: a full channel stops the command at
//     its next write.
//   - Nothing of a run is reported before all that it printed has been handed over.
//
// What the command has printed and the channel has not on disk is lost when the agent is killed, since nothing can be asked to print it again: the
// manifest says replay = "none". What is lost by an orderly stop is counted and told.
package exec
