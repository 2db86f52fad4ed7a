// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"time"
)

// Defaults, written as a user would write them. The table of the language (language.go) refers to
// them, and spec/hcl.md prints them; nothing else in the tree repeats them.
const (
	defaultAgentName    = "penstock"
	defaultListen       = "127.0.0.1:7420"
	defaultLogLevel     = "info"
	defaultLogFormat    = "auto"
	defaultDrainTimeout = "30s"
	defaultProbation    = "10s"

	defaultCapacity  = "1GiB"
	defaultMaxEvents = "0"
	defaultMaxAge    = "0s"
	defaultOnFull    = "block"
	defaultRetain    = "0s"
	defaultOnCorrupt = "stop"
	// defaultScrub finds within a day what is damaged: 5 GB are read in five minutes.
	defaultScrub = "24h"
	// defaultForgetAfter is longer than any file is away, or any partition silent, that comes back.
	defaultForgetAfter = "720h"

	defaultDurability  = "fsync"
	defaultCompression = "none"
	// shownMinFree is what the channel takes when a file does not say: it depends on the disk.
	shownMinFree = "1 GiB, or a twentieth of the disk where that is less"

	defaultOnError = "stop"

	defaultMatch = "first"

	defaultOnLag         = "hold"
	defaultStart         = "oldest"
	defaultOrder         = "channel"
	defaultConnections   = "1"
	defaultLanes         = "1"
	defaultTimeout       = "1m" // far beyond any healthy write of a batch, and short enough to be noticed
	defaultBatchEvents   = "4096"
	defaultBatchBytes    = "1MiB"
	defaultBatchWait     = "100ms"
	defaultGroupPolicy   = "failover"
	defaultGroupDelivery = "at_least_once"
	defaultSelect        = "round_robin"
	defaultCoolDown      = "1s"
	defaultMaxCoolDown   = "30s"
	defaultFailBack      = "10s"
	defaultReturnIn      = "30s"
	defaultRetryMin      = "100ms"
	defaultRetryMax      = "30s"

	defaultAccess     = "read"
	defaultMinVersion = "1.2"
)

// hopBatchWait is the wait of the batches of a sink "hop": behind it are other channels and sinks, which gather for their own destinations, and
// small batches cost it little, since it has many on their way at a time.
const hopBatchWait = 5 * time.Millisecond

// defaultDataDir is where an agent of that name keeps its data when the file does not say.
// rootDataDir has no name in it: one agent a machine is the rule for a service.
const rootDataDir = "/var/lib/penstock"

func defaultDataDir(name string) string {
	if os.Geteuid() == 0 {
		return rootDataDir
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "penstock", name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "penstock", name) // an account without a home still runs
	}
	return filepath.Join(home, ".local", "state", "penstock", name)
}

// Limits on what is read.
const (
	// MaxFileBytes is the largest file of a configuration: no person writes more into one.
	MaxFileBytes = 1 << 20
	// MaxFiles is how many files make up one configuration at most.
	MaxFiles = 1000
	// MaxDiagnostics is how many mistakes are shown at once: what has more is not a pipeline.
	MaxDiagnostics = 1000
	// maxNesting bounds brackets within brackets: the parser below is recursive, and a stack that
	// overflows cannot be caught.
	maxNesting = 100
	// maxOperators bounds the operators of one file, which the parser nests as well.
	maxOperators = 10_000
	// maxName bounds the name of anything: names become directories and labels of metrics.
	maxName = 64
	// maxConnections bounds the instances of one sink: each takes the memory of a guest, and a place in what a reader may have out.
	maxConnections = 64
	// maxThrough bounds the processors of one source: each copies every batch twice, and takes the memory of a guest.
	maxThrough = 16
	// maxCases bounds the cases of one route, its default included: pipeline.MaxCases.
	maxCases = 62
	// maxLanes is channel.MaxLanes: each lane is a reader that looks at every event.
	maxLanes = 64
	// maxOrderKey bounds the name of the attribute in order_by, which becomes a part of the names of readers.
	maxOrderKey = 100
	// minForgetAfter leaves a plugin that sets once a day what it needs a day to be late.
	minForgetAfter = 48 * time.Hour
	// minFlushEvery and maxFlushEvery bound durability = "interval:…": less often is "os", more often hardly less than "fsync".
	minFlushEvery = time.Millisecond
	maxFlushEvery = time.Minute
	// maxTypeDepth bounds types within types in a plugin's manifest.
	maxTypeDepth = 8
)
