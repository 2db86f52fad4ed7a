// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"github.com/penstock-io/penstock/spec/event"
)

// A Plugin makes instances of one name in the module's manifest, of the kinds that are not nil.
type Plugin struct {
	Source    func() Source
	Processor func() Processor
	Sink      func() Sink
}

// Source brings events in.
type Source interface {
	// Open starts the source where o.Cursor says. It is called once, first. What it keeps of o stays valid.
	Open(o *Open) error
	// Poll appends what there is, waiting up to p.Timeout for the first of it, and returns. Nothing
	// at all is a good answer. After an error what was appended still goes out; the host calls Poll again
	// after a while, or opens a new instance. [Done] ends the source for good.
	Poll(p *Poll) error
}

// Acker is a Source that wants to know what became of its batches. Ack is called in order. nil:
// everything up to seq, as [Poll.Flush] numbers batches, is durable. Else seq and all later batches
// are refused, and Close follows.
type Acker interface {
	Ack(seq uint64, err error)
}

// Sink takes events out.
type Sink interface {
	// Open starts the sink. It is called once, first. What it keeps of o stays valid.
	Open(o *Open) error
	// Write hands over the batch that covers r; where a filter left events out, r is wider than the
	// batch. nil: the destination holds all of it, on disk or wherever it is safe, but what was listed with d.Reject.
	// An error made by [Reject]: it has applied nothing. Any other: nothing is known, the same comes again.
	Write(r event.Range, b event.Batch, d *Delivery) error
}

// Pruner is a Sink that stores ranges. Those wholly below low will never be asked for again.
type Pruner interface {
	Prune(low event.Offset) error
}

// Processor changes batches. It is a pure function of one batch.
type Processor interface {
	// Open starts the processor. It is called once, first.
	Open(o *Open) error
	// Process appends what becomes of b to out: nothing, less, more.
	Process(b event.Batch, out *Output) error
}

// Checker looks deeper at a config than the manifest can: without any grant and without I/O. It is
// called instead of Open, when a pipeline file is validated.
type Checker interface {
	Check(o *Open) error
}

// Closer is told that the instance ends. After a crash it is not: nothing may depend on it.
type Closer interface {
	Close() error
}

// Idler is called between other calls, at most once a second.
type Idler interface {
	Idle() error
}
