// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// Relay is what a sink has in the place of a plugin that puts what it is given into another channel of the same agent.
//
// How far it got is a cursor in that channel, in the record of the events themselves: under the stream of its reader, the incarnation and the offset
// up to which they are there. So there is one truth, and it is the second channel's: what is taken again after a crash is left out as far as that
// says. Batches go over as they are; the second channel gives them offsets of its own.
type Relay struct {
	Address string          // of the sink: the name of the cursor
	From    string          // "channel.main"
	To      string          // "channel.slow"
	Channel channel.Channel // that it puts into
	Buffers event.Buffers   // of that
	Backoff Backoff         // between tries of a channel that refuses because it is full
	// Exact says that the channel it takes from has all that it ever gave out, whatever happened to the machine.
	Exact bool
	// Fetch brings its cursor here, when it is in another channel or has another name; nil: it is not.
	Fetch func(ctx context.Context) error
	Fate  Lifecycle
}

// relayForm is the form of a relay's cursor: of each stream, the incarnation and the offset behind the last event that is there, 8 bytes each.
const relayForm = 1

// mark is up to where a channel has what a relay takes.
type mark struct {
	incarnation uint64
	next        event.Offset
}

func (m mark) bytes() []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, m.incarnation), uint64(m.next))
}

// ParseMark reads what a relay's cursor says of a stream: the incarnation and the offset up to which the channel has its events.
func ParseMark(b []byte) (incarnation uint64, next event.Offset, ok bool) {
	if len(b) != 16 {
		return 0, 0, false
	}
	return binary.LittleEndian.Uint64(b), event.Offset(binary.LittleEndian.Uint64(b[8:])), true
}

// Open is the Open of the relay's [Sink]. ctx is that of the session: when it ends, the relay waits for room no more.
func (r *Relay) Open(ctx context.Context, info channel.ReaderInfo) (plugin.Instance, error) {
	if r.Fetch != nil {
		if err := r.Fetch(ctx); err != nil {
			return plugin.Instance{}, err
		}
	}
	p := &relaying{Relay: r, stream: info.Stream, lives: info.Incarnations, until: func(late context.Context) (context.Context, context.CancelFunc) {
		late, cancel := context.WithCancelCause(late)
		stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
		return late, func() { stop(); cancel(nil) }
	}}
	at, err := p.ask(ctx)
	if err != nil {
		return plugin.Instance{}, err
	}
	held, err := r.holds(info, at)
	return plugin.Instance{Sink: p, Held: held}, err
}

// holds are the ranges that the second channel has, by the incarnations that they are of: all up to its mark. It refuses a mark that the first
// channel cannot have made, since events would be left out that only have the offsets of others.
func (r *Relay) holds(info channel.ReaderInfo, at mark) (held []plugin.Held, err error) {
	if at.next <= info.Oldest {
		return nil, nil // also of an incarnation that is forgotten by now
	}
	i := slices.IndexFunc(info.Incarnations, func(in channel.Incarnation) bool { return in.ID == at.incarnation })
	if i < 0 {
		return nil, r.diverged(at, "which that one does not know")
	}
	if end := info.Incarnations[i].Next; r.Exact && end != 0 && at.next > end {
		return nil, r.diverged(at, fmt.Sprintf("of which that one has no more than up to %d", end))
	}
	for j, in := range info.Incarnations[:i+1] {
		span := event.Range{First: in.First, Next: at.next}
		if j < i {
			span.Next = info.Incarnations[j+1].First
		}
		held = append(held, plugin.Held{Incarnation: in.ID, Range: span})
	}
	return held, nil
}

func (r *Relay) diverged(at mark, why string) error {
	name := func(address string) string { return strings.TrimPrefix(address, "channel.") }
	return fmt.Errorf("diverged: %s has what came from %s up to offset %d of incarnation %x, %s: a backup of %s was put back, or it is another one; "+
		"put back the one that wrote it; or have the relay go on as a new stream with what waits, of which %s may have some, with: "+
		"penstock channel replay %s %s --from here (to put nothing twice, give up what waits before: penstock channel purge %s %s): %w",
		r.To, r.From, at.next, at.incarnation, why, r.From, r.To, name(r.From), r.Address, name(r.From), r.Address, errHold)
}

// relaying is a session of a relay.
type relaying struct {
	*Relay
	stream string
	lives  []channel.Incarnation
	until  func(late context.Context) (context.Context, context.CancelFunc) // ends with the session
	have   event.Offset                                                     // the second channel has all below
	stale  []string                                                         // streams that its reader had before a replay
	moves  uint32                                                           // how often its cursor moved from channel to channel
	unsure bool                                                             // it is not known what became of the last put
}

var _ plugin.Sink = (*relaying)(nil)

// ask finds out what the second channel has. It ends what an earlier put was refused for.
func (p *relaying) ask(ctx context.Context) (at mark, err error) {
	pos, err := p.Channel.Cursor(ctx, p.Address)
	if err != nil {
		return at, p.lasting(fmt.Errorf("ask %s what it has: %w", p.To, err))
	}
	p.moves = pos.Move
	reader := p.stream[:strings.LastIndexByte(p.stream, '/')+1] // without its generation
	p.stale = nil
	for stream := range pos.Cursor {
		if strings.HasPrefix(stream, reader) && stream != p.stream {
			p.stale = append(p.stale, stream)
		}
	}
	value, there := pos.Cursor[p.stream]
	if !there {
		p.have, p.unsure = 0, false
		return at, nil
	}
	var ok bool
	if at.incarnation, at.next, ok = ParseMark(value); !ok || pos.Version > relayForm {
		return at, fmt.Errorf("the cursor of %s in %s is in form %d, of %d bytes, and this version reads form %d: run the version that wrote it: %w",
			p.Address, p.To, pos.Version, len(value), relayForm, errHold)
	}
	p.have, p.unsure = at.next, false
	return at, nil
}

// Write puts the batch into the second channel, without what that has already. It waits for room as long as the session lives.
func (p *relaying) Write(late context.Context, span event.Range, b event.Batch) (out plugin.Outcome, err error) {
	ctx, cancel := p.until(late)
	defer cancel()
	if p.unsure {
		if _, err := p.ask(ctx); err != nil {
			return out, err
		}
	}
	if p.have >= span.Next {
		return out, nil
	}
	tx, err := begin(ctx, p.Channel, p.Backoff, p.Fate, p.To+" is full: it waits for room there, and nothing is lost")
	if err != nil {
		return out, p.lasting(fmt.Errorf("put into %s: %w", p.To, err))
	}
	defer tx.Rollback()
	over, err := p.copy(b)
	if err != nil {
		return out, fmt.Errorf("put into %s: %w: %w", p.To, err, errHold)
	}
	if over.Len() == 0 { // the rest of the range was not for the relay
		over.Release()
		return out, nil
	}
	at := mark{p.lifeOf(span.Next - 1), span.Next}
	changed := event.Cursor{p.stream: at.bytes()}
	for _, stream := range p.stale {
		changed[stream] = nil
	}
	if err := tx.Put(channel.Put{Source: p.Address, Batch: over, Changed: changed, Version: relayForm, Move: p.moves}); err != nil {
		return out, p.lasting(fmt.Errorf("put into %s: %w", p.To, err))
	}
	p.unsure = true
	if err := tx.Submit()(); err != nil {
		return out, p.lasting(fmt.Errorf("put into %s: %w", p.To, err))
	}
	p.have, p.stale, p.unsure = span.Next, nil, false
	return out, nil
}

// copy makes the batch one that a channel takes, of what is not there yet.
func (p *relaying) copy(b event.Batch) (event.Batch, error) {
	if b.Len() == 0 || b.Base() >= p.have {
		return event.Join(p.Buffers, b)
	}
	rest, err := event.Slice(p.Buffers, b, event.Range{First: p.have, Next: b.Last() + 1})
	if err != nil {
		return rest, err
	}
	defer rest.Release()
	return event.Join(p.Buffers, rest)
}

// lifeOf is the incarnation that an offset is of.
func (p *relaying) lifeOf(o event.Offset) (id uint64) {
	for _, in := range p.lives {
		if in.First <= o {
			id = in.ID
		}
	}
	return id
}

// lasting says which errors no other try would change.
func (p *relaying) lasting(err error) error {
	for _, lasts := range []error{channel.ErrStopped, channel.ErrClosed, channel.ErrCorrupt, channel.ErrKey, channel.ErrLimit} {
		if errors.Is(err, lasts) {
			return fmt.Errorf("%w: %w", err, errHold)
		}
	}
	return err
}

// Close implements [plugin.Sink].
func (p *relaying) Close() error { return nil }
