// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"sync"

	"github.com/penstock-io/penstock/spec/event"
)

const (
	// MaxCases bounds the cases of a route: which of them an event is of is one word, of which two bits say something else.
	MaxCases = 62

	askedBit     = 1 << 63 // the event was asked
	undecidedBit = 1 << 62 // of some case it cannot be said

	// routeBlock is how many offsets are asked together: about a batch, so that readers side by side ask each block once.
	routeBlock = 4096
	// routeBlocks is how many blocks a route remembers: a mebibyte, and readers that are less than 131072 events apart share what was asked.
	routeBlocks = 32
)

// Route says of which of its cases events are. It is shared by all that read one of its channel: what one of them has asked of an event, the
// others know, as long as they are not too far apart; then they ask again. Its methods may be called by many goroutines.
type Route struct {
	all   bool
	cases []When // nil: of the default, the last one

	blocks [routeBlocks]routed
}

// routed is what is known of the events of one block of offsets.
type routed struct {
	mu    sync.Mutex
	block event.Offset // number of the block, from 1 on; 0: none yet
	of    []uint64     // by offset: a bit for each case, askedBit, undecidedBit; 0: not asked yet
}

// NewRoute makes a route: an event is of all cases that hold for it, or of the first. A case that is nil is the default, and the last.
func NewRoute(all bool, cases []When) *Route { return &Route{all: all, cases: cases} }

// askers are the cases ready to be asked by one goroutine.
func (r *Route) askers() []func(*event.Event) (bool, error) {
	list := make([]func(*event.Event) (bool, error), len(r.cases))
	for i, c := range r.cases {
		if c != nil {
			list[i] = c()
		}
	}
	return list
}

// Asker says of which cases an event is, by place, without what is remembered. It is for one goroutine.
func (r *Route) Asker() func(*event.Event) []int {
	cases := r.askers()
	return func(e *event.Event) (list []int) {
		of, _ := r.casesOf(cases, e)
		for i := range cases {
			if of>>i&1 == 1 {
				list = append(list, i)
			}
		}
		return list
	}
}

// ask appends of which cases each event of a batch is, in their order.
func (r *Route) ask(p *picker, b event.Batch) []uint64 {
	p.masks = p.masks[:0]
	p.decoder.Reset(b)
	var held *routed
	for p.decoder.Next() {
		o := p.decoder.Offset()
		if number := o/routeBlock + 1; held == nil || held.block != number {
			if held != nil {
				held.mu.Unlock()
			}
			held = r.lock(number)
		}
		of := &held.of[o%routeBlock]
		if *of == 0 {
			var said error
			if *of, said = r.casesOf(p.cases, p.decoder.Event()); said != nil {
				p.reason(said)
			}
		}
		p.masks = append(p.masks, *of)
	}
	if held != nil {
		held.mu.Unlock()
	}
	return p.masks
}

// lock finds the place of a block, and makes it that block's.
func (r *Route) lock(number event.Offset) *routed {
	at := &r.blocks[number%routeBlocks]
	at.mu.Lock()
	switch {
	case at.of == nil:
		at.of = make([]uint64, routeBlock)
	case at.block != number:
		clear(at.of)
	}
	at.block = number
	return at
}

// casesOf asks one event. A case of which it cannot be said does not have it: it goes on to the others, and last to the default.
func (r *Route) casesOf(cases []func(*event.Event) (bool, error), e *event.Event) (of uint64, why error) {
	for i, ask := range cases {
		if ask == nil {
			if of&^(askedBit|undecidedBit) == 0 {
				of |= 1 << i
			}
			break
		}
		yes, err := ask(e)
		if err != nil && why == nil {
			of, why = of|undecidedBit, err
		}
		if !yes {
			continue
		}
		if of |= 1 << i; !r.all {
			break
		}
	}
	return of | askedBit, why
}
