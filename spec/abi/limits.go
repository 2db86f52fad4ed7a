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
	// DefaultBatch is how many bytes a poll of a source is asked for, and the most that one of its batches may have: what a flush of a disk
	// is worth, and a delivery of most destinations.
	DefaultBatch = 1 << 20
)

// Limits of what a source listens on, unless a pipeline file says otherwise.
const (
	// DefaultConnections is how many connections may be open at a time, where it is not as many as the instance has handles for.
	DefaultConnections = DefaultHandles
	// DefaultHandshake is long for two trips over any line, and short for somebody who only wants to hold a connection.
	DefaultHandshake = 10 * time.Second
	// DefaultHTTPConnections is how many clients of HTTP may be connected at a time: some 20 KiB each when idle.
	DefaultHTTPConnections = 4096
	// DefaultHTTPRequests is how many requests may wait for their answer at a time, and the most that an instance may have taken: far more
	// than one flush of a disk answers.
	DefaultHTTPRequests = 1024
	// DefaultHTTPBody is the longest body of a request in bytes: what becomes one transaction.
	DefaultHTTPBody = 1 << 20
	// DefaultHTTPHeld is how many bytes of bodies may be held at a time, however many requests they are of.
	DefaultHTTPHeld = 64 << 20
	// DefaultHTTPHeader bounds a request line with its headers, in bytes: four times what browsers send at most.
	DefaultHTTPHeader = 32 << 10
	// DefaultHTTPHeaderTimeout is how long a client may take to send a header, from when it may.
	DefaultHTTPHeaderTimeout = 10 * time.Second
	// DefaultHTTPBodyTimeout is the same for the body: 1 MiB at 35 KB/s.
	DefaultHTTPBodyTimeout = 30 * time.Second
	// DefaultHTTPQueueTimeout is how long a request waits for a plugin to take it. None does while the channel is full.
	DefaultHTTPQueueTimeout = time.Second
	// DefaultHTTPAnswerTimeout is how long a request waits for its answer once a plugin has it: much longer than a flush of a slow disk, so
	// that what is stored late is still answered as stored.
	DefaultHTTPAnswerTimeout = time.Minute
	// DefaultHTTPIdle is how long a connection may rest between two requests.
	DefaultHTTPIdle = 2 * time.Minute
)

// MaxHTTPBody and MaxHTTPHeader are what fits into the largest batch together: a guest is given a request as a batch of one event.
const (
	MaxHTTPBody   = 15 << 20
	MaxHTTPHeader = 512 << 10
)

// MaxModule is the largest module in bytes that is ever looked at, whatever a pipeline file says.
const MaxModule = 256 << 20
