// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
)

// DeadReader is the name of the reader that holds what is in a channel of dead letters. Nobody takes by it: what is there stays until someone decides.
const DeadReader = "dead"

// holdDead opens that reader in each channel that keeps dead letters.
func (r *revision) holdDead() error {
	for _, c := range r.Config.Channels {
		keeper := r.keeperOf(c.Name)
		if keeper == nil {
			continue
		}
		if err := keeper.dead.hold(keeper); err != nil {
			return err
		}
		r.keep(&keeper.dead)
	}
	return nil
}

// deadHold is the reader that the agent holds in a channel of dead letters.
type deadHold struct {
	mu     sync.Mutex
	reader channel.Reader // nil: not held
}

// hold opens the reader, unless it is open.
func (h *deadHold) hold(keeper *openChannel) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader != nil {
		return nil
	}
	return h.open(keeper)
}

func (h *deadHold) open(keeper *openChannel) error {
	r, err := keeper.Reader(channel.ReaderSpec{Name: DeadReader, Start: channel.Oldest, Order: channel.AnyOrder})
	if err != nil {
		return fmt.Errorf("hold the dead letters in %s: %w", keeper.address, err)
	}
	h.reader = r
	return nil
}

// without does something to the reader while nobody has it open. What is put meanwhile waits for it all the same.
func (h *deadHold) without(keeper *openChannel, do func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader == nil {
		return do()
	}
	if err := h.reader.Close(); err != nil {
		return fmt.Errorf("let go of the dead letters in %s: %w", keeper.address, err)
	}
	h.reader = nil
	err := do()
	return errors.Join(err, h.open(keeper))
}

// Close ends it.
func (h *deadHold) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader == nil {
		return nil
	}
	err := h.reader.Close()
	h.reader = nil
	return err
}

// keeperOf is the channel that keeps the dead letters of the one of that name; nil: none does.
func (r *revision) keeperOf(name string) *openChannel {
	i := slices.IndexFunc(r.Config.Channels, func(c config.Channel) bool { return c.Name == name })
	if to := r.Config.Channels[i].DeadLetter; to != "" {
		return r.channel(to)
	}
	return nil
}

// deadLetters is where a component gives what will never be taken; nil: nowhere. It is made once for each.
func (r *revision) deadLetters(c *component) *pipeline.DeadLetters {
	keeper := r.keeperOf(bare(c.channel.address))
	if keeper == nil {
		return nil
	}
	c.dead = r.agent.metrics.DeadLetters(c.Address(), pipeline.DeadReasons())
	log := &deadLog{log: c.log, keeper: keeper.address, metrics: c.dead, sink: c.sink}
	c.closers = append(c.closers, log)
	return &pipeline.DeadLetters{
		Component: c.Address(), Address: keeper.address, Channel: keeper, Backoff: sourceBackoff, Kept: log.kept,
	}
}

// deadLog counts dead letters, and says at most one line in a while of each reason, without what is in them.
type deadLog struct {
	log     *slog.Logger
	keeper  string
	metrics *admin.DeadLetterMetrics
	sink    *admin.SinkMetrics // nil: it is a source's

	mu      sync.Mutex
	reasons map[string]*unsaid
}

// unsaid is what was kept and not said yet.
type unsaid struct {
	said   time.Time // the last line
	events int
	first  string
}

// kept is a func of pipeline.DeadLetters.
func (l *deadLog) kept(reason string, events int, first string) {
	l.metrics.Kept(reason, events)
	if l.sink != nil {
		l.sink.Rejected(events)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reasons == nil {
		l.reasons = map[string]*unsaid{}
	}
	u := l.reasons[reason]
	if u == nil {
		u = &unsaid{}
		l.reasons[reason] = u
	}
	if u.events == 0 {
		u.first = first
	}
	u.events += events
	if time.Since(u.said) >= dropPause {
		l.say(reason, u)
	}
}

func (l *deadLog) say(reason string, u *unsaid) {
	l.log.Warn("events will never be taken, and are kept as dead letters", "reason", reason, "events", u.events, "first", u.first, "in", l.keeper)
	*u = unsaid{said: time.Now()}
}

// Close says what is left.
func (l *deadLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for reason, u := range l.reasons {
		if u.events > 0 {
			l.say(reason, u)
		}
	}
	return nil
}
