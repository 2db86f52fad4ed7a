// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/event"
)

// layoutRetry is the pause before the readers of a sink are changed again, when the channel could not take that down: its
// disk is full, and meanwhile the old readers drain it.
const layoutRetry = 30 * time.Second

// layout is the readers of one sink: the one that has its address, or one for each lane. When that changes, the old
// readers hand over to the new ones: in the channel that is one step, and from then on they have an end. They are
// read until they are drained, then closed, which makes their positions durable, and only then the new ones are
// read: so the events of a key stay in order, whenever the process is killed. A drained reader is forgotten.
//
// What is left of earlier changes is found in the channel, never remembered elsewhere.
type layout struct {
	c      *component
	want   []channel.ReaderSpec
	before []string // addresses that the sink had, the newest first
	loops  func(stage []*laneReader) []*pipeline.Sink
	join   func() (*laneReader, error) // nil: it is in no group

	// c.mu guards these.
	readers map[string]*laneReader // all that are registered for this sink, and open
}

// laneReader is an open reader of a sink.
type laneReader struct {
	channel.Reader
	name string // of the reader
	lane channel.Lane

	suspects *pipeline.Suspects // of all loops that read it
	member   *membership        // nil: it is the sink's alone
}

// settled is what was committed of it: all below an offset, and what is above that.
func (r *laneReader) settled() (low event.Offset, above []event.Range) {
	info := r.Info()
	return info.Low, info.Finished
}

// layoutOf is what the configuration wants.
func layoutOf(s config.Sink) []channel.ReaderSpec {
	spec := channel.ReaderSpec{Name: s.Address(), Start: channel.Now, Lag: lags[s.OnLag]} // in a new channel that is the oldest event too
	if s.Start == "oldest" {
		spec.Start = channel.Oldest
	}
	if s.Connections > 1 || hops(s.Component) { // which sends the next before it knows of the last
		spec.Order = channel.AnyOrder
	}
	if s.Lanes < 2 {
		return []channel.ReaderSpec{spec}
	}
	specs := make([]channel.ReaderSpec, s.Lanes)
	for i := range specs {
		specs[i] = spec
		specs[i].Lane = channel.Lane{Key: s.OrderBy, Index: uint32(i), Count: uint32(s.Lanes)}
		specs[i].Name = s.Address() + "/" + specs[i].Lane.String()
	}
	return specs
}

// open finds the readers that are there, registers what is wanted, and opens all of them.
func (l *layout) open() error {
	if l.join != nil {
		return l.openReader(l.want[0])
	}
	there := l.c.channel.Stats().Readers
	for name, info := range there {
		if l.isReader(name, there) {
			if err := l.openReader(channel.ReaderSpec{Name: name, Lane: info.Lane, Order: l.order(name), Lag: l.want[0].Lag}); err != nil {
				return err
			}
		}
	}
	if len(l.readers) == 0 {
		if err := l.c.channel.Handover(nil, l.want); err != nil {
			return err
		}
		return l.openWanted()
	}
	if _, err := l.change(); err != nil {
		l.c.log.Warn("the lanes cannot be changed yet: the old ones go on", "error", err)
	}
	return nil
}

// order is the one in which a reader is read. One that is on its way out needs no more than its own.
func (l *layout) order(name string) channel.Order {
	for _, spec := range l.want {
		if spec.Name == name {
			return spec.Order
		}
	}
	return channel.InOrder
}

func (l *layout) openReader(spec channel.ReaderSpec) error {
	r, err := l.find(spec)
	if err != nil {
		return err
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.readers[spec.Name] = r
	return nil
}

func (l *layout) find(spec channel.ReaderSpec) (*laneReader, error) {
	if l.join != nil {
		return l.join()
	}
	r, err := l.c.channel.Reader(spec)
	return &laneReader{Reader: r, name: spec.Name, lane: spec.Lane, suspects: new(pipeline.Suspects)}, err
}

// stages are the readers, in the order in which they have to be read: those with the lowest end first, those without one last.
func (l *layout) stages() (stages [][]*laneReader) {
	const never = ^uint64(0)
	end := func(r *laneReader) uint64 { return cmp.Or(uint64(r.Info().End), never) }
	for _, r := range l.sorted() {
		i, there := slices.BinarySearchFunc(stages, end(r), func(stage []*laneReader, e uint64) int { return cmp.Compare(end(stage[0]), e) })
		if !there {
			stages = slices.Insert(stages, i, nil)
		}
		stages[i] = append(stages[i], r)
	}
	return stages
}

// sorted returns the open readers by lane.
func (l *layout) sorted() []*laneReader {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	var all []*laneReader
	for _, r := range l.readers {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *laneReader) int {
		return cmp.Or(cmp.Compare(a.lane.Key, b.lane.Key), cmp.Compare(a.lane.Count, b.lane.Count), cmp.Compare(a.lane.Index, b.lane.Index))
	})
	return all
}

// change has the newest readers hand over to those that are wanted, and says whether that is settled: not as long as a
// name that is wanted belongs to readers that are still drained.
func (l *layout) change() (settled bool, err error) {
	var names []string // of those that have no end
	for _, r := range l.sorted() {
		if r.Info().End == 0 {
			names = append(names, r.name)
		}
	}
	there := l.c.channel.Stats().Readers
	var missing []channel.ReaderSpec
	kept := false
	for _, spec := range l.want {
		info, ok := there[spec.Name]
		if kept = kept || ok && info.End == 0; ok {
			continue
		}
		if len(names) == 0 { // those that went on where the old ones ended are lost: rather again than never
			spec.Start = channel.Oldest
		}
		missing = append(missing, spec)
	}
	switch {
	case kept: // all of them, or somebody has forgotten a lane
		names = nil
	case len(missing) < len(l.want):
		return false, nil
	}
	if len(missing) > 0 {
		if err := l.c.channel.Handover(names, missing); err != nil {
			return false, err
		}
		l.c.log.Info("the readers of the sink change: the old ones are drained first", "old", names, "new", len(missing))
	}
	return true, l.openWanted()
}

// openWanted opens what is wanted and not open yet.
func (l *layout) openWanted() error {
	for _, spec := range l.want {
		l.c.mu.Lock()
		_, open := l.readers[spec.Name]
		l.c.mu.Unlock()
		if open {
			continue
		}
		if err := l.openReader(spec); err != nil {
			return err
		}
	}
	return nil
}

// run reads stage after stage, the last one for ever.
func (l *layout) run(ctx context.Context) error {
	var forgetting sync.WaitGroup
	defer forgetting.Wait()
	for ctx.Err() == nil {
		settled, err := l.change()
		if err != nil {
			l.c.log.Warn("the lanes cannot be changed yet: the old ones go on", "error", err, "again in", layoutRetry)
		}
		stages := l.stages()
		if len(stages) == 0 { // the names that are wanted are those of readers that are to be forgotten
			select {
			case <-time.After(layoutRetry):
			case <-ctx.Done():
			}
			continue
		}
		turn, cancel := ctx, context.CancelFunc(func() {})
		if last := len(stages) == 1; last && !settled {
			turn, cancel = context.WithTimeout(ctx, layoutRetry)
		}
		err = l.c.deliver(turn, l.loops(stages[0]))
		cancel()
		if err != nil {
			return err
		}
		if len(stages) == 1 && settled || !drained(stages[0]) {
			<-turn.Done() // one is held, or it was to stop
			continue
		}
		if err := l.close(stages[0]); err != nil {
			return l.hold(fmt.Errorf("end the old lanes: %w", err))
		}
		if l.forget(stages[0]) != nil {
			forgetting.Go(func() { l.forgetLater(ctx, stages[0]) })
		}
	}
	return nil
}

// hold is how run ends where it cannot go on by itself.
func (l *layout) hold(err error) error {
	l.c.State(pipeline.Held, err.Error())
	return &pipeline.HeldError{Component: l.c.Address(), Err: err}
}

// drained says whether readers have handed over, and committed all that was theirs.
func drained(stage []*laneReader) bool {
	return !slices.ContainsFunc(stage, func(r *laneReader) bool {
		info := r.Info()
		return info.End == 0 || info.Low < info.End
	})
}

// close makes the positions of drained readers durable: they will not be read again.
func (l *layout) close(stage []*laneReader) (err error) {
	for _, r := range stage {
		err = errors.Join(err, r.Close())
		l.c.mu.Lock()
		delete(l.readers, r.name)
		l.c.mu.Unlock()
	}
	return err
}

// forget drops what is left of drained readers.
func (l *layout) forget(stage []*laneReader) (err error) {
	for _, r := range stage {
		if _, there := l.c.channel.Stats().Readers[r.name]; there {
			err = errors.Join(err, l.c.channel.Forget(r.name))
		}
	}
	return err
}

// forgetLater does so when there is room to write it down. Till then they hold nothing back but space.
func (l *layout) forgetLater(ctx context.Context, stage []*laneReader) {
	tick := time.NewTicker(layoutRetry)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := l.forget(stage)
		if err == nil {
			return
		}
		l.c.log.Warn("readers that are drained cannot be forgotten yet", "error", err, "again in", layoutRetry)
	}
}

// leased is how much is on its way: deliveries, at most one for each loop, and their events.
func (l *layout) leased() (takes int, events uint64) {
	for _, r := range l.sorted() {
		if n := r.Info().Leased; n > 0 {
			takes, events = takes+1, events+n
		}
	}
	return takes, events
}

// waiting is how many events wait for the sink. A lane counts those of all lanes, so that a layout has the mean of its lanes.
func (l *layout) waiting() (n uint64) {
	for _, stage := range l.stages() {
		sum := uint64(0)
		for _, r := range stage {
			sum += r.Info().Waiting
		}
		n += (sum + uint64(len(stage)) - 1) / uint64(len(stage))
	}
	return n
}

// parts tells of each loop, and of lanes that are not read yet, where there are several.
func (l *layout) parts() []admin.Part {
	c := l.c
	stages := l.stages()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.parts) < 2 && len(stages) < 2 {
		return nil
	}
	var all []admin.Part
	running := map[*laneReader]bool{}
	for _, p := range c.parts {
		part := admin.Part{Name: p.name, State: admin.State(p.state), Reason: p.reason}
		if !p.reader.lane.All() {
			part.Waiting = p.reader.Info().Waiting
		}
		running[p.reader] = true
		all = append(all, part)
	}
	for _, r := range slices.Concat(stages...) {
		if !running[r] {
			all = append(all, admin.Part{Name: partName(r), State: admin.Starting, Waiting: r.Info().Waiting,
				Reason: "the lanes before it are drained first"})
		}
	}
	return all
}

func partName(r *laneReader) string {
	if r.lane.All() {
		return "all keys"
	}
	return "lane " + r.lane.String()
}
