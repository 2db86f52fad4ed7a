// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// maxSuspects bounds what is remembered: one for each connection that a sink may have.
const maxSuspects = 64

var (
	// errSuspect is wrapped when a plugin broke on something of which it is being found out what: that counts as none of its crashes.
	errSuspect = errors.New("it is looked for the event that it breaks on")
	// errSpared is wrapped when it broke on something else meanwhile: neither does that count.
	errSpared = errors.New("it is looked for an event that it breaks on")
	// errConvicted is wrapped when that is found, and out of the way: what the plugin broke on before is explained by it.
	errConvicted = errors.New("the event that it broke on is among the dead letters")
)

// Suspects are the ranges that a sink's plugin broke on, of late. The loops that share a reader share them, since each may be handed what
// another gave back. They are cut in halves, by taking less at a time, until one event is left. The zero Suspects is ready.
type Suspects struct {
	mu   sync.Mutex
	list []suspect
	row  int       // events that were convicted one after the other, with nothing delivered between
	last time.Time // when one was; zero: never
}

// suspect is a range that broke the plugin. One event of it is to blame, it is assumed; where there are more, the next is found after the first.
type suspect struct {
	span   event.Range
	events int
	times  int // that it, or what it is a part of, broke the plugin
	alone  int // of them, with one event
}

// narrow bounds what is taken, as long as something is to be found.
func (s *Suspects) narrow(w channel.Want) channel.Want {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.list {
		if half := max(p.events/2, 1); p.times >= poisonAttempts && (w.Events == 0 || half < w.Events) {
			w.Events, w.Wait = half, 0
		}
	}
	return w
}

// forget drops those that the reader has behind it, whoever brought that about: loops that end in any order, a policy that drops, a destination that
// held them after all. Else so little would be taken at a time for ever.
func (s *Suspects) forget(r channel.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return
	}
	info := r.Info()
	s.list = slices.DeleteFunc(s.list, func(p suspect) bool {
		return p.span.Next <= info.Low || slices.ContainsFunc(info.Finished, func(f event.Range) bool { return f.Intersect(p.span) == p.span })
	})
}

// share is how many of so many slots of a window the next delivery takes: all, as long as something is to be found.
func (s *Suspects) share(slots int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) > 0 {
		return slots
	}
	return 1
}

// broke notes that the plugin broke on d, of which the lease has so many events, and answers how often it did.
func (s *Suspects) broke(d channel.Delivery, all int) suspect {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.find(d, all)
	p.times++
	if d.Batch.Len() == 1 {
		p.alone++
	}
	return *p
}

// halve has less be taken at a time than d.
func (s *Suspects) halve(d channel.Delivery, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.find(d, all)
	p.times = max(p.times, poisonAttempts)
}

// find returns what is known of d, and narrows it to d. s.mu is held.
func (s *Suspects) find(d channel.Delivery, all int) *suspect {
	i := slices.IndexFunc(s.list, func(p suspect) bool { return !p.span.Intersect(d.Range).Empty() })
	if i < 0 {
		if i = len(s.list); i == maxSuspects {
			s.list, i = s.list[1:], i-1
		}
		s.list = append(s.list, suspect{span: d.Range, events: all})
	}
	p := &s.list[i]
	p.span, p.events = p.span.Intersect(d.Range), min(p.events, all)
	return p
}

// delivered notes that the plugin is able to.
func (s *Suspects) delivered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row = 0
}

// convicted notes that one more event is taken for the cause.
func (s *Suspects) convicted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row++
	s.last = time.Now()
}

// looking says whether it is being found out what the plugin breaks on, or was a moment ago, by whichever loop: where there is one such event there are
// more, and each loop meets those that others find.
func (s *Suspects) looking() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.last) < crashWindow || slices.ContainsFunc(s.list, func(p suspect) bool { return p.times >= poisonAttempts })
}

// passed notes that d, of which the lease has so many events, is out of the way: delivered, convicted, or not for the sink.
func (s *Suspects) passed(d channel.Delivery, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == 0 {
		return
	}
	for i := range s.list {
		p := &s.list[i]
		switch in := p.span.Intersect(d.Range); {
		case in.Empty():
		case in.First == p.span.First:
			p.span.First, p.events = in.Next, p.events-all
		case in.Next == p.span.Next:
			p.span.Next, p.events = in.First, p.events-all
		}
	}
	s.list = slices.DeleteFunc(s.list, func(p suspect) bool { return p.span.Empty() || p.events <= 0 })
}

// hopeless says whether so many events were convicted in a row that it is rather the plugin.
func (s *Suspects) hopeless() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.row >= poisonBudget
}

// String is for the log.
func (p suspect) String() string {
	return fmt.Sprintf("%d events of %v broke it, %d times so far", p.events, p.span, p.times)
}
