// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// When makes what says of each event whether something is for it. What it makes belongs to one goroutine; it is asked once for each event, and keeps
// nothing of it. An error is why it cannot say, valid until the next call; then it is not.
type When func() func(*event.Event) (bool, error)

// undecidedEvery is how often the log says that a condition cannot decide: it may be so for every event.
const undecidedEvery = time.Minute

// chooser is what a condition needs between events.
type chooser struct {
	ask     func(*event.Event) (bool, error)
	decoder event.Decoder
	places  []uint32  // of the events of the last batch that it is for
	said    time.Time // when the log last said that it cannot decide
}

// choose returns those events of b that the processor is for, numbered 0, 1, 2…, with a hold for the caller: all of them, without a copy, or those at
// chooser.places.
func (u *use) choose(b event.Batch) (mine event.Batch, all bool, err error) {
	if u.chooser.ask == nil {
		b.Retain()
		return b, true, nil
	}
	undecided, why := u.chooser.choose(b)
	places := u.chooser.places
	u.done.Undecided, u.done.Skipped = undecided, b.Len()-len(places)-undecided
	if why != "" {
		u.log.Warn("it cannot be said of some events whether a processor is for them: they pass it by", "processor", u.Address, "events", undecided, "reason", why)
	}
	switch len(places) {
	case b.Len():
		b.Retain()
		return b, true, nil
	case 0:
		return event.Batch{}, false, nil
	}
	if mine, err = event.Pick(u.buffers, b, places); err != nil {
		err = fmt.Errorf("%s: take a batch apart: %w: %w", u.Address, err, errHold)
	}
	return mine, false, err
}

// choose asks of every event, and returns of how many there was no answer; and why of the first, when it is time to say so.
func (c *chooser) choose(b event.Batch) (undecided int, why string) {
	c.places = c.places[:0]
	c.decoder.Reset(b)
	for place := uint32(0); c.decoder.Next(); place++ {
		yes, err := c.ask(c.decoder.Event())
		if yes {
			c.places = append(c.places, place)
		}
		if err == nil {
			continue
		}
		if undecided++; undecided == 1 && time.Since(c.said) >= undecidedEvery {
			why, c.said = err.Error(), time.Now()
		}
	}
	return undecided, why
}
