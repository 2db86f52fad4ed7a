// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"fmt"
	"log/slog"
	"strings"
)

// Isolation says what keeps children to what they were granted. What is not kept by anything they are trusted with.
//
// A child is started as the launcher, which is the agent's own binary (see [Exec]): it takes everything from itself that the child is not to
// have, and becomes the child. Nothing of it can be undone from inside.
type Isolation struct {
	Namespaces bool // a PID namespace of its own: all of it ends with its first process, and that with the agent
	User       bool // of the agent's user, who has no privileges: the namespace is one of an unprivileged user
	OwnUser    bool // a user of its own for each component
	Landlock   int  // the version of the kernel's Landlock, 0: there is none
	reasons    []string
	ids        idRange
}

// landlockSignals is the version of Landlock since which a child can send signals to its own alone, and reach no abstract sockets of others.
const landlockSignals = 6

// Trusted lists what children could do beyond their grants, each with the reason why nothing keeps them from it.
func (i Isolation) Trusted() (all []string) {
	why := func(what string) {
		all = append(all, what+" ("+strings.Join(i.reasons, "; ")+")")
	}
	if i.Landlock == 0 && !i.OwnUser {
		why("files: it has those of the agent's user, and of other plugins")
	} else if i.Landlock == 0 {
		why("files: it has those that every user may read or write")
	}
	if !i.OwnUser && i.Landlock < landlockSignals && !i.Namespaces {
		why("signals: it can stop and end what runs as the agent's user")
	}
	if !i.Namespaces {
		why("its end: what it starts may leave its process group, and outlive it")
		if !i.OwnUser {
			why("the control socket: a process that has left it is taken for a person's")
		}
	}
	if i.Namespaces {
		return append(all, "the network, if it was granted as a whole: it reaches whatever the machine reaches (others ask the agent for each connection)")
	}
	why("the network: it reaches whatever the machine reaches")
	return all
}

// Complete says whether the network is all that children are trusted with, and only those that were granted it as a whole.
func (i Isolation) Complete() bool {
	return i.Namespaces && (i.Landlock >= landlockSignals || i.Landlock > 0 && i.OwnUser)
}

// String is what is enforced, in a few words.
func (i Isolation) String() string {
	var parts []string
	if i.Landlock > 0 {
		parts = append(parts, fmt.Sprintf("Landlock %d", i.Landlock))
	}
	if i.OwnUser {
		parts = append(parts, "own user")
	}
	if i.Namespaces {
		parts = append(parts, "own process namespace")
	}
	return strings.Join(append(parts, "no new privileges", "limits"), ", ")
}

// tell logs once what holds.
func (i Isolation) tell(log *slog.Logger) {
	log.Info("plugins that are child processes are isolated", slog.String("by", i.String()), slog.Any("trusted", i.Trusted()))
}

// unisolated is what holds where there is no launcher, or a system that knows none of this.
func unisolated(why string) Isolation { return Isolation{reasons: []string{why}} }

// confinement is what the launcher is told, as JSON in one variable of its environment, which the child does not see.
type confinement struct {
	Probe    bool            `json:",omitempty"` // say what works, and start nothing
	Binary   string          // the private copy, or a script; "" is the agent's own binary
	Digest   string          // sha256 that it must have, unless it is the agent's own
	Args     []string        // the first is the name
	UID      int             // to become; -1: stays
	Map      *[2]int         `json:",omitempty"` // the agent's user and group, for the namespace of an unprivileged user
	Dies     int             // the signal that it gets when the agent is gone
	Landlock int             // the version to use; 0: none
	Offline  bool            // it has no network of its own
	Own      []string        // directories that it may do everything in
	Dirs     []confinedDir   `json:",omitempty"` // granted
	Programs []string        `json:",omitempty"` // that it may run, and directories of them, if they are there
	Files    []string        `json:",omitempty"` // that it may read, if they are there
	Limits   []confinedLimit `json:",omitempty"`
}

type confinedDir struct {
	Path  string
	Write bool
}

type confinedLimit struct {
	Resource int
	Value    uint64
}

// programMemory is what a process has beside limits.memory: the program itself, gRPC and its buffers.
const programMemory = 64 << 20

// confinementKey is the variable.
const confinementKey = "PENSTOCK_CONFINEMENT"

// ExitConfinement is the status of a launcher that did not start the child: there is a line on its standard error that says why. It is that of
// env(1) and nohup(1).
const ExitConfinement = 126
