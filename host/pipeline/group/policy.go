// SPDX-License-Identifier: Apache-2.0

package group

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/pipeline"
)

// Policy says which member takes next.
type Policy uint8

// The policies.
const (
	Failover     Policy = iota // the first that works
	RoundRobin                 // one after the other
	Random                     // any
	LeastPending               // the one with the fewest events on their way
)

// patience is how long a member that should take is waited for: one that is started, or whose pause is over, needs as long to open its
// destination. After it, others take; the member comes back when it is there.
const patience = 5 * time.Second

// Settings are what a group is told.
type Settings struct {
	Policy   Policy
	CoolDown pipeline.Backoff // how long a member is left alone that failed
	FailBack time.Duration    // of Failover: how long a member that came back is not preferred to the one that takes
	Exact    bool             // what a member was given stays with it until it is committed or somebody has decided
	ReturnIn time.Duration    // of the others: in which time a member that came back gets its full share again
}

// State is how a member stands.
type State string

// The states.
const (
	Active    State = "active"    // it takes
	Standby   State = "standby"   // it would, if those before it failed
	Returning State = "returning" // it failed, and is not trusted with its full part yet
	Ejected   State = "ejected"   // it failed, and is left alone for a while
	Out       State = "out"       // it is held, paused, or not there
)

// member is one of a group, as the policy sees it.
type member struct {
	name     string
	here     bool      // some component runs it
	leaving  bool      // it is no member any more, and is there yet
	held     bool      // and says that it does not go on by itself
	failures int       // in a row
	until    time.Time // it is left alone until then, or came then
	failed   bool      // until is the end of a pause, and nothing was delivered since that is long enough ago
	down     bool      // others take in its place: it failed or is held, and has not delivered since
	waiting  int       // takers
	taking   bool      // one of them has the turn
	leases   int
	pending  uint64  // events in them
	probed   bool    // it was given one since it came back
	credit   float64 // then: what it may take of what others take, 1 is a turn
}

// roster is the pure part of a group: who takes next. It has no clock, lock or goroutine.
type roster struct {
	Settings
	members []*member // in the order in which they are preferred
	last    *member   // that was picked
	turns   uint64    // how often a member went down
	jitter  func(failures int) time.Duration
	draw    func(n int) int
}

func newRoster(s Settings) *roster {
	r := &roster{Settings: s, draw: rand.IntN}
	r.jitter = func(n int) time.Duration { return r.CoolDown.Delay(n) }
	return r
}

// arrange makes names the members, in that order. Those that are kept stand as they stood.
func (r *roster) arrange(names []string) {
	old := r.members
	r.members = nil
	for _, name := range names {
		m := &member{name: name}
		if i := slices.IndexFunc(old, func(m *member) bool { return m.name == name }); i >= 0 {
			m = old[i]
		}
		m.leaving = false
		r.members = append(r.members, m)
	}
	for _, m := range old { // one that is on its way out
		if m.here && !slices.Contains(r.members, m) {
			m.leaving = true
			r.members = append(r.members, m)
		}
	}
}

// leave notes that nobody runs a member.
func (r *roster) leave(m *member) {
	m.here = false
	if m.leaving {
		r.members = slices.DeleteFunc(r.members, func(o *member) bool { return o == m })
	}
}

// find returns a member by name, or nil.
func (r *roster) find(name string) *member {
	for _, m := range r.members {
		if m.name == name {
			return m
		}
	}
	return nil
}

// fail notes that a member failed. It is left alone for longer each time, up to the cap.
func (r *roster) fail(m *member, now time.Time) time.Duration {
	if now.Before(m.until) && m.failed {
		return m.until.Sub(now) // what had begun before counts once
	}
	r.goDown(m)
	m.failures++
	delay := r.jitter(m.failures)
	m.until, m.failed = now.Add(delay), true
	m.probed, m.credit = false, 0
	return delay
}

// goDown notes that others take in the place of a member.
func (r *roster) goDown(m *member) {
	if !m.down {
		m.down = true
		r.turns++
	}
}

// succeed notes that a member delivered.
func (m *member) succeed() { m.failures, m.down = 0, false }

// cooling says whether a member is left alone.
func (m *member) cooling(now time.Time) bool { return m.failed && now.Before(m.until) }

// usable says whether a member may take at all.
func (m *member) usable(now time.Time) bool {
	return m.here && !m.held && !m.cooling(now) && (m.waiting > 0 || m.taking || m.leases > 0 || now.Before(m.until.Add(patience)))
}

// suspect says whether a member came back so lately that it is not trusted.
func (r *roster) suspect(m *member, now time.Time) bool {
	if m.failed && !now.Before(m.until.Add(r.trust())) && m.failures == 0 {
		m.failed = false
	}
	return m.failed && now.Before(m.until.Add(r.trust()))
}

// trust is how long that lasts.
func (r *roster) trust() time.Duration {
	if r.Policy == Failover {
		return r.FailBack
	}
	return r.ReturnIn
}

// pick says who takes next, of those that wait; nil: nobody does.
func (r *roster) pick(now time.Time) *member {
	m := r.choose(now)
	if m == nil {
		return nil
	}
	_, usable := r.idle(now)
	for _, o := range r.members {
		if r.suspect(o, now) && !o.cooling(now) && r.trust() > 0 {
			grown := float64(now.Sub(o.until)) / float64(r.trust())
			o.credit = min(o.credit+grown/float64(max(usable, 1)), 1)
		}
	}
	m.probed, m.credit = true, max(m.credit-1, 0)
	r.last = m
	return m
}

func (r *roster) choose(now time.Time) *member {
	if r.Policy == Failover {
		if m := r.active(now); m != nil && m.waiting > 0 {
			return m
		}
		return nil
	}
	idle, usable := r.idle(now)
	if len(idle) == 0 {
		return nil
	}
	if trusted := slices.DeleteFunc(slices.Clone(idle), func(m *member) bool { return !r.allowed(m, now) }); len(trusted) > 0 {
		idle = trusted
	} else if usable > len(idle) {
		return nil // the others are busy, and not away
	}
	switch r.Policy {
	case Random:
		return idle[r.draw(len(idle))]
	case LeastPending:
		return slices.MinFunc(idle, func(a, b *member) int { return int(min(a.pending, 1<<40)) - int(min(b.pending, 1<<40)) })
	}
	return idle[0]
}

// active is who takes in a failover group: the first that works; of those that came back lately only when no other does.
func (r *roster) active(now time.Time) (second *member) {
	for _, m := range r.members {
		switch {
		case !m.usable(now):
		case !r.suspect(m, now):
			return m
		case second == nil:
			second = m
		}
	}
	return second
}

// idle are the members that wait for something to do, the one behind the last first, and how many could take at all.
func (r *roster) idle(now time.Time) (idle []*member, usable int) {
	start := slices.Index(r.members, r.last) + 1
	for i := range r.members {
		m := r.members[(start+i)%len(r.members)]
		if !m.usable(now) {
			continue
		}
		usable++
		if m.waiting > 0 {
			idle = append(idle, m)
		}
	}
	return idle, usable
}

// allowed says whether a member may take: one that came back gets one delivery, and if that went well a part that grows to what is everybody's.
func (r *roster) allowed(m *member, now time.Time) bool {
	return !r.suspect(m, now) || !m.probed || m.failures == 0 && m.credit >= 1
}

// state is how a member stands.
func (r *roster) state(m *member, now time.Time) State {
	switch {
	case !m.here || m.held:
		return Out
	case m.cooling(now):
		return Ejected
	case r.Policy == Failover && m == r.active(now):
		return Active
	case r.suspect(m, now):
		return Returning
	case r.Policy == Failover:
		return Standby
	}
	return Active
}

// up says whether a member works, as far as is known: one that failed does not before it has delivered, or was not tried for long enough.
func (r *roster) up(m *member, now time.Time) bool {
	doubtful := m.failures > 0 && (m.leases > 0 || now.Before(m.until.Add(r.trust())))
	return m.here && !m.held && !doubtful
}

// change is when the state of a member ends by itself, if it does; zero: it does not.
func (r *roster) change(m *member, now time.Time) time.Time {
	switch r.state(m, now) {
	case Ejected:
		return m.until
	case Returning:
		if m.failures == 0 {
			return m.until.Add(r.trust())
		}
	}
	return time.Time{}
}

// next is when pick may have another answer, though nothing has happened; false: never.
func (r *roster) next(now time.Time) (soonest time.Time, ok bool) {
	for _, m := range r.members {
		if !m.here || m.held {
			continue
		}
		times := []time.Time{m.until, m.until.Add(patience)}
		if m.failed {
			times = append(times, m.until.Add(r.trust()))
		}
		for _, t := range times {
			if t.After(now) && (!ok || t.Before(soonest)) {
				soonest, ok = t, true
			}
		}
	}
	return soonest, ok
}
