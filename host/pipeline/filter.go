// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Filter is which events of its channel a sink gets. The zero Filter is all.
type Filter struct {
	Route *Route // nil: the channel itself is read
	Case  int    // of the route
	Where When   // nil: nothing is asked besides
}

// Delivered is a lease that ended well.
type Delivered struct {
	Batch     event.Batch   // what the destination took; empty: it was not needed
	Took      time.Duration // the destination's time
	Filtered  int           // events that are not for the sink, and count as delivered to it
	Undecided int           // of these, events of which it cannot be said
	Unmatched int           // of these, events that are of no case of the route, which gives them up; each reader of the route has them
	Consumed  int           // events of the sink that its processors have left nothing of, beside those among the dead letters
}

const (
	// maxWiden bounds how many times more than it is given at a time a sink takes that gets few of the events.
	maxWiden = 64
	// maxWideBytes is the most that it takes then: the memory of some batches.
	maxWideBytes = 8 << 20
)

// picker chooses at the take. It belongs to one goroutine.
//
// A sink that gets one event in a hundred would be given batches of forty for ever: so it takes more at a time, twice as much after each lease
// that was filled by less than a quarter. A lease stays a delivery: when more is for the sink than it may be given at a time, it is rolled back,
// and less is taken. Gathering over several leases would need an order in which they are committed, and a destination that knows ranges with holes.
type picker struct {
	Filter
	buffers event.Buffers
	cases   []func(*event.Event) (bool, error)
	where   func(*event.Event) (bool, error)
	decoder event.Decoder
	masks   []uint64
	yes     []bool // by place: it is for the sink
	widen   int
	unsaid  string // the first reason why it could not be said, of a batch
}

func newPicker(f Filter, buffers event.Buffers) *picker {
	p := &picker{Filter: f, buffers: buffers, widen: 1}
	if f.Route != nil {
		p.cases = f.Route.askers()
	}
	if f.Where != nil {
		p.where = f.Where()
	}
	return p
}

// want is how much is to be taken, for a sink that is given so much at a time.
func (p *picker) want(w channel.Want) channel.Want {
	if p.widen == 1 {
		return w
	}
	bytes := bytesOf(w)
	w.Events, w.Bytes = w.Events*p.widen, max(bytes, min(bytes*p.widen, maxWideBytes))
	return w
}

// bytesOf is the bound of a batch in bytes.
func bytesOf(w channel.Want) int { return cmp.Or(w.Bytes, event.DefaultBatch) }

// picked is what of a batch is for the sink.
type picked struct {
	Delivered
	own bool // the batch is not the lease's
}

func (p *picked) release() {
	if p.own {
		p.Batch.Release()
	}
}

// pick chooses. What is chosen keeps its offsets, and the caller releases it.
func (p *picker) pick(b event.Batch) (out picked, err error) {
	out.Batch = b
	if p.Route == nil && p.where == nil || b.Len() == 0 {
		return out, nil
	}
	p.choose(b, &out.Delivered)
	switch out.Filtered {
	case 0:
		return out, nil
	case b.Len():
		out.Batch = event.Batch{}
		return out, nil
	}
	at := 0
	out.Batch, err = event.Select(p.buffers, func(event.Offset) bool { // asks for each event twice, in their order
		yes := p.yes[at]
		if at++; at == len(p.yes) { // no remainder: a division would be a quarter of what a known route costs
			at = 0
		}
		return yes
	}, b)
	if err != nil {
		return out, fmt.Errorf("choose what is for the sink: %w: %w", err, errHold)
	}
	out.own = true
	return out, nil
}

// choose asks of every event.
func (p *picker) choose(b event.Batch, out *Delivered) {
	p.yes, p.unsaid = p.yes[:0], ""
	if p.Route != nil {
		for _, of := range p.Route.ask(p, b) {
			yes := of>>p.Case&1 == 1
			p.yes = append(p.yes, yes)
			switch {
			case yes:
				continue
			case of&^(askedBit|undecidedBit) == 0:
				out.Unmatched++
			}
			out.Filtered++
			if of&undecidedBit != 0 {
				out.Undecided++
			}
		}
	}
	if p.where == nil {
		return
	}
	p.decoder.Reset(b)
	for at := 0; p.decoder.Next(); at++ {
		if p.Route == nil {
			p.yes = append(p.yes, true)
		} else if !p.yes[at] {
			continue
		}
		yes, err := p.where(p.decoder.Event())
		if yes {
			continue
		}
		p.yes[at] = false
		out.Filtered++
		if err != nil {
			out.Undecided++
			p.reason(err)
		}
	}
}

// reason keeps why something cannot be said: the text is gone at the next event.
func (p *picker) reason(err error) {
	if p.unsaid == "" {
		p.unsaid = err.Error()
	}
}

// fits says whether what was chosen of all that was taken is no more than a sink may be given at a time. If it is, less is taken next; if it is
// little of a lease that was full, more.
func (p *picker) fits(w channel.Want, all, b event.Batch) bool {
	if p.Route == nil && p.where == nil {
		return true
	}
	wide, bytes := p.want(w), bytesOf(w)
	events := cmp.Or(w.Events, math.MaxInt) // 0 is no bound
	full := all.Size() >= bytesOf(wide)/2 || wide.Events > 0 && all.Len() >= wide.Events/2
	switch {
	case p.widen > 1 && (b.Len() > events || b.Size() > bytes):
		p.widen = 1
		return false
	case full && b.Len() < events/4 && b.Size() < bytes/4:
		p.widen = min(2*p.widen, maxWiden)
	case b.Len() > events/2 || b.Size() > bytes/2:
		p.widen = max(p.widen/2, 1)
	}
	return true
}
