// SPDX-License-Identifier: Apache-2.0

package abi

import "time"

// What bounds a plugin where nothing else is said, in a pipeline file under limits { }. These are the only place where they are.
const (
	// DefaultMemory is of an instance, in bytes: an idle Go guest has 4 MiB, and two of the largest default batches, in and out, take 16.
	DefaultMemory = 64 << 20
	// DefaultCall is how much processor time one call may take: a batch of 1 MiB takes some milliseconds.
	DefaultCall = 200 * time.Millisecond
	// DefaultCallInput is added to DefaultCall for each MiB of a batch that is delivered: to make JSON of it and compress that takes a Go
	// guest some 180 ms.
	DefaultCallInput = 500 * time.Millisecond
	// DefaultPoll is the same for a poll, which may read and split a lot before it emits, and for a batch that is processed.
	DefaultPoll = time.Second
	// DefaultOpen is the same for what comes before the first batch: a Go guest sets up its memory, and a sink may read what it holds.
	DefaultOpen = 10 * time.Second
	// DefaultShare is how many seconds of processor time an instance may take in a second. It runs on one core at a time, so 1 is no bound.
	DefaultShare = 1.0
	// DefaultHandles is how many files an instance may have open, and as many sockets: a tailer of a large host keeps some thousands of
	// files, and 5 000 idle connections have room.
	DefaultHandles = 8192
	// DefaultLogRate is how many lines an instance may log in a second: enough to tell a story, too little to fill a disk.
	DefaultLogRate = 100
	// DefaultMetrics is how many metrics a module may report: each becomes a time series per component.
	DefaultMetrics = 64
	// DefaultOutput is how many bytes one call may emit, beside the first batch: what the largest batch has.
	DefaultOutput = 16 << 20
	// DefaultModule is the largest module, in bytes: a Go guest has 2 to 5 MiB.
	DefaultModule = 64 << 20
	// DefaultTable is how many entries a table may have, of 8 bytes each: far more than there are functions in a Go guest.
	DefaultTable = 1 << 17
)

// MaxModule is the largest module in bytes that is ever looked at, whatever a pipeline file says.
const MaxModule = 256 << 20
