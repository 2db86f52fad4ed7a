// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// DeadReader is the name of the reader that holds what is in a channel of dead letters. Nobody takes by it: what is there stays until someone decides.
const DeadReader = dead.Reader

// holdDead opens that reader in each channel that keeps dead letters.
func (r *revision) holdDead() error {
	for _, c := range r.Config.Channels {
		keeper := r.keeperOf(c.Name)
		if keeper == nil {
			continue
		}
		if err := r.recoverDead(keeper); err != nil {
			return err
		}
		if err := keeper.dead.hold(keeper); err != nil {
			return err
		}
		r.keep(&keeper.dead)
	}
	return nil
}

// recoverDead takes out what was replayed, where the agent was killed in between.
func (r *revision) recoverDead(keeper *openChannel) error {
	if keeper.dead.held() {
		return nil
	}
	var targets []*dead.Target
	for _, c := range r.channels {
		targets = append(targets, &dead.Target{Address: c.address, Channel: c, Stats: c.Stats})
	}
	desk := dead.Desk{Keeper: keeper, Address: keeper.address, Step: r.agent.opts.Step}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return desk.Recover(ctx, targets...)
}

// decideDead replays dead letters, or gives them up.
func (a *Agent) decideDead(ctx context.Context, keeper *openChannel, act admin.Action) (out dead.Outcome, err error) {
	r := a.current()
	i := slices.IndexFunc(r.Config.Channels, func(c config.Channel) bool { return c.Address() == keeper.address })
	switch {
	case !keeper.dead.held():
		return out, &admin.Refusal{Code: admin.CodeUsage, Message: keeper.address + " keeps no dead letters: no channel names it as its dead_letter"}
	case keeper.kind != "wal":
		return out, &admin.Refusal{Code: admin.CodeRefused, Message: keeper.address + " is in the memory of the agent, where dead letters cannot be looked at",
			Hint: `A channel "wal" keeps them on the disk.`}
	}
	disk, err := durableOptions(r.Config.Channels[i], r.Keys)
	if err != nil {
		return out, err
	}
	keys := disk.oldKeys
	if disk.key != nil {
		keys = append(slices.Clone(keys), *disk.key)
	}
	desk := dead.Desk{
		Keeper: keeper, Address: keeper.address, Step: a.opts.Step, Open: func(uuid string) (*dead.Target, error) { return a.deadTarget(uuid) },
		Browse: func(visit func(event.Offset, event.Event) bool) error {
			_, err := wal.Browse(ChannelDir(a.dir, bare(keeper.address)), DeadReader, nil, visit, keys...)
			return err
		},
	}
	act.Dead.DryRun = act.DryRun
	err = keeper.dead.without(keeper, func() (err error) {
		if act.Verb == admin.DeadDrop {
			out, err = desk.Drop(ctx, act.Dead)
		} else {
			out, err = desk.Replay(ctx, act.Dead)
		}
		return err
	})
	if err == nil && !act.DryRun {
		a.opts.Log.Info("dead letters are decided", "component", keeper.address, "do", string(act.Verb), "events", out.Events, "letters", out.Letters)
	}
	return out, err
}

// deadTarget is the open channel with that uuid.
func (a *Agent) deadTarget(uuid string) (*dead.Target, error) {
	for _, c := range a.channels() {
		for _, info := range c.Stats().Readers {
			if id, _, _ := strings.Cut(info.Stream, "/"); id == uuid {
				return &dead.Target{Address: c.address, Channel: c, Stats: c.Stats, Barred: func(reader string) string { return a.barred(c, reader) }}, nil
			}
		}
	}
	return nil, errors.New("the channel that it was in is not in the pipeline, or has no readers")
}

// barred says why nothing is put for a reader: nobody would take it.
func (a *Agent) barred(c *openChannel, reader string) string {
	if len(a.sinksOf(c, reader)) == 0 {
		return reader + " is no sink of the pipeline any more: name another one with --to"
	}
	return ""
}

// deadHold is the reader that the agent holds in a channel of dead letters.
type deadHold struct {
	mu     sync.Mutex
	reader channel.Reader // nil: not held
}

func (h *deadHold) held() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reader != nil
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
