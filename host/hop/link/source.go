// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

const (
	// fullAfter is how long a batch waits to be taken, as it does when the channel has no room, before its sender is bidden to come again: longer than
	// a slow disk takes for what is before it.
	fullAfter = 5 * time.Second
	// farewell is how long calls may take to end when the source is closed.
	farewell = time.Second
	// forgotten is how much later than its time an entry of a cursor has gone: a channel looks once an hour.
	forgotten = 2 * time.Hour
	// sayRefused is how often it is logged that somebody is refused for one reason: whoever is tries again all the time.
	sayRefused = 10 * time.Second
)

// source receives.
type source struct {
	hoppb.UnimplementedHopServer
	sourceConfig
	open     plugin.Request
	server   *grpc.Server
	door     *door
	arrivals chan arrival  // has no room; never closed
	closing  chan struct{} // closed by Close
	work     sync.WaitGroup

	mu        sync.Mutex
	upstreams map[string]*upstream // by key
	kept      int                  // bytes of the cursor, counting what is on its way there
	seq       uint64
	unacked   []arrival // that Read has handed out, in their order
	said      map[string]time.Time
}

// upstream is one that sends, or has sent, guarded by source.mu.
type upstream struct {
	*hop.Upstream
	key  string
	call *call     // that is open, or nil
	set  time.Time // its entry of the cursor, as far as is known
	lost uint64    // events that are here and its sender has lost, as it was found at its last Hello
}

// size is what a holding takes of the cursor.
func (u *upstream) size(h hop.Holding) int {
	if h.Empty() {
		return 0
	}
	return len(u.key) + hoppb.PositionSize + hoppb.SpanSize*len(h.Parts)
}

// arrival is a message on its way to the channel.
type arrival struct {
	of    *call
	after hop.Holding // what is held of its upstream, when this is on disk
	end   bool        // its upstream is forgotten then
	frees int         // bytes of the cursor, by then
	batch event.Batch
	seq   uint64
}

var _ plugin.Source = (*source)(nil)

// openSource lets upstreams in.
func openSource(open plugin.Request) (*source, error) {
	c, err := read[sourceConfig](open.Config)
	if err != nil {
		return nil, &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: err.Error()}
	}
	s := &source{
		sourceConfig: c, open: open, arrivals: make(chan arrival), closing: make(chan struct{}),
		upstreams: make(map[string]*upstream, len(open.Cursor)), said: map[string]time.Time{},
	}
	for key, value := range open.Cursor {
		at, err := hop.ReadHolding(value)
		if err != nil {
			return nil, &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: fmt.Sprintf("the cursor of upstream %s: %v", key, err)}
		}
		s.upstreams[key] = &upstream{Upstream: hop.Stand(at), key: key, set: time.Now()}
		s.kept += s.upstreams[key].size(at)
	}
	in := open.Grants.Listen[listenHandle]
	if in.Conns == nil {
		return nil, &plugin.Error{Class: abi.Config, Code: abi.EACCES, Path: "listen", Message: "a hop listens for connections, and was granted none"}
	}
	s.door, s.server = newDoor(in.Conns, in.Addr), newServer(s)
	s.work.Go(func() { _ = s.server.Serve(s.door) }) // it ends when it is told to
	return s, nil
}

// Read implements [plugin.Source].
func (s *source) Read(ctx context.Context) (plugin.Emission, error) {
	select {
	case a := <-s.arrivals:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seq++
		a.seq = s.seq
		s.unacked = append(s.unacked, a)
		em := plugin.Emission{Seq: a.seq, Batch: a.batch}
		switch {
		case a.of.up == nil:
		case a.end:
			em.Changed = event.Cursor{a.of.up.key: nil}
		default:
			em.Changed = event.Cursor{a.of.up.key: a.after.Append(nil)}
		}
		return em, nil
	case <-ctx.Done():
		return plugin.Emission{}, context.Cause(ctx)
	}
}

// Ack implements [plugin.Source].
func (s *source) Ack(_ context.Context, seq uint64, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.unacked) > 0 && (err != nil || s.unacked[0].seq <= seq) {
		a := s.unacked[0]
		s.unacked = s.unacked[1:]
		switch {
		case err != nil && a.of.up != nil:
			a.of.up.Refused()
		case err != nil:
		case a.of.up == nil:
			a.of.stored++
		default:
			s.kept -= a.frees
			a.of.up.set = time.Now()
			a.of.up.Stored(a.after)
			s.forget(a.of.up)
		}
		a.of.poke()
		if a.of.up != nil && a.of.up.call != nil { // it may be a newer one
			a.of.up.call.poke()
		}
	}
	return nil
}

// Close implements [plugin.Source]: what has its outcome is answered, and everything else refused.
func (s *source) Close() error {
	s.mu.Lock()
	select {
	case <-s.closing:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.closing)
	s.mu.Unlock()
	_ = s.door.Close()
	late := time.AfterFunc(farewell, s.door.hangUp)
	s.server.GracefulStop()
	late.Stop()
	s.door.hangUp()
	s.work.Wait()
	return nil
}

// admit finds the upstream of a call, which is the only one of it from then on. Everything that it had taken before has its outcome.
func (s *source) admit(ctx context.Context, c *call, key string) error {
	s.mu.Lock()
	up := s.upstreams[key]
	if up == nil {
		if len(s.upstreams) >= s.Upstreams {
			s.outdated()
		}
		if len(s.upstreams) >= s.Upstreams {
			s.mu.Unlock()
			return &refusal{code: abi.EAGAIN, after: time.Minute, message: fmt.Sprintf(
				"there are %d upstreams already, as many as upstreams of the source says; raise that, have programs finish their streams (penstock send --remove), or wait until forget_after of the channel has forgotten one", s.Upstreams)}
		}
		up = &upstream{Upstream: hop.Stand(hop.Holding{}), key: key}
		s.upstreams[key] = up
	}
	before := up.call
	up.call, c.up = c, up
	s.mu.Unlock()
	if before != nil {
		before.stop(&refusal{code: abi.EAGAIN, reason: hoppb.Reason_SUPERSEDED, message: "the same upstream has opened another stream"})
		<-before.ended
	}
	for {
		s.mu.Lock()
		quiet := up.Quiet()
		s.mu.Unlock()
		if quiet {
			return nil
		}
		select {
		case <-c.pokes:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// outdated forgets what the channel has forgotten by now. It is called under mu.
func (s *source) outdated() {
	for key, up := range s.upstreams {
		if s.open.Forgets > 0 && up.call == nil && up.Quiet() && time.Since(up.set) > s.open.Forgets+forgotten {
			s.kept -= up.size(up.Have())
			delete(s.upstreams, key)
		}
	}
}

// leave ends a call.
func (s *source) leave(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if up := c.up; up != nil && up.call == c {
		up.call = nil
		s.forget(up)
	}
}

// forget leaves an upstream out that has sent nothing, or has finished its stream, and is gone. It is called under mu.
func (s *source) forget(up *upstream) {
	if up.call == nil && up.Fresh() {
		delete(s.upstreams, up.key)
	}
}

// tell counts that somebody was refused, and logs it now and then.
func (s *source) tell(r *refusal, log *slog.Logger) {
	reason := r.reason.String()
	if s.open.Metrics != nil {
		s.open.Metrics.Denied(s.open.Component, "hop."+metricNames[r.reason])
	}
	s.mu.Lock()
	often := time.Since(s.said[reason+r.who]) < sayRefused
	if len(s.said) > maxSaid {
		clear(s.said)
	}
	if !often {
		s.said[reason+r.who] = time.Now()
	}
	s.mu.Unlock()
	if !often {
		log.Warn("an upstream is refused", "reason", r.message)
	}
}

// maxSaid bounds of how many it is remembered when they were logged last.
const maxSaid = 1024

// metricNames are the reasons as penstock_plugin_denied_total has them.
var metricNames = map[hoppb.Reason]string{
	hoppb.Reason_OTHER: "refused", hoppb.Reason_FULL: "full", hoppb.Reason_ENDING: "ending", hoppb.Reason_SUPERSEDED: "superseded",
	hoppb.Reason_NOT_ALLOWED: "not_allowed", hoppb.Reason_DIVERGED: "diverged",
}

// quiet are the reasons that are no one's fault.
var quiet = []hoppb.Reason{hoppb.Reason_ENDING, hoppb.Reason_SUPERSEDED}

// refusal ends a call.
type refusal struct {
	code    abi.Code
	reason  hoppb.Reason
	after   time.Duration
	message string
	have    hop.Position
	key     string
	who     string // so that each is logged
}

// Error implements error.
func (r *refusal) Error() string { return r.message }

// asRefusal makes of what ended a call what its sender is told.
func asRefusal(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	if errors.Is(err, hop.ErrParts) {
		return &refusal{code: abi.EAGAIN, reason: hoppb.Reason_FULL, after: plugin.RetryAfter, message: err.Error()}
	}
	if errors.Is(err, hop.ErrProtocol) {
		return &refusal{code: abi.EINVAL, message: err.Error()}
	}
	return &refusal{code: abi.EAGAIN, message: err.Error()}
}

// worthTelling says whether a refusal is counted and logged.
func (r *refusal) worthTelling() bool { return !slices.Contains(quiet, r.reason) }
