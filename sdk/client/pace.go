// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"time"
)

const (
	// firstPause is the longest first pause before another attempt, which doubles with each failure.
	firstPause = 50 * time.Millisecond
	// longestPause is the longest while nobody answers: a client is back within it when a link is.
	longestPause = 400 * time.Millisecond
	// longestRefused is the longest while somebody answers and refuses: a thousand clients of one receiver that is full ask it 70 times a second.
	longestRefused = 30 * time.Second
)

// pace says where the next attempt goes, and when. It has no lock.
type pace struct {
	places []*place
	at     int            // the one that is tried next
	random func() float64 // in [0, 1)
}

// place is an address, and how it went there.
type place struct {
	address
	failures int // in a row
	until    time.Time
	refused  error // holds for good
}

// next is where to try, and how long to wait before. nil: nowhere, as all have refused for good.
func (p *pace) next(now time.Time) (best *place, wait time.Duration) {
	for i := range p.places {
		one := p.places[(p.at+i)%len(p.places)]
		if one.refused != nil {
			continue
		}
		if w := max(0, one.until.Sub(now)); best == nil || w < wait {
			best, wait = one, w
		}
	}
	return best, wait
}

// ended notes how an attempt at a place ended. worked: something was acknowledged there, or it has stood for long. The pauses have full jitter: clients that were cut off together do not come back
// together.
func (p *pace) ended(one *place, now time.Time, err error, worked, opening bool) {
	if worked {
		one.failures = 0
	}
	longest, least := longestPause, time.Duration(0)
	if r, ok := errors.AsType[*RefusedError](err); ok {
		longest, least = longestRefused, r.RetryAfter
	}
	if lasting(err, opening) {
		one.refused = err
	}
	pause := time.Duration(0)
	if one.failures > 0 || least > 0 { // the first attempt after a cut is at once
		pause = firstPause
		for range min(one.failures, 30) { // beyond that it is the longest anyway
			if pause *= 2; pause >= longest {
				pause = longest
				break
			}
		}
	}
	one.until = now.Add(least + time.Duration(p.random()*float64(pause)))
	one.failures++
	if !worked {
		for i := range p.places {
			if p.places[i] == one {
				p.at = (i + 1) % len(p.places)
			}
		}
	}
}

// refusal is why nowhere is left to try.
func (p *pace) refusal() error {
	var all []error
	for _, one := range p.places {
		all = append(all, one.refused)
	}
	return errors.Join(all...)
}
