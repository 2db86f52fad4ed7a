// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// maxArena bounds what a host may hand over in one call: a batch, or an open request with its cursor.
const maxArena = event.MaxBatch + 1<<20

// A Guest is one instance of a module of plugins: its methods are the exports of the ABI. [Main]
// makes one; package sdktest makes others. Authors of plugins need none of this.
type Guest struct {
	plugins map[string]Plugin
	host    Host
	arena   []byte // where the host puts what it hands over
	self    any    // the instance: a Source, a Sink or a Processor
	poll    Poll
	output  Output
	dlv     Delivery
	pending error // what a Poll answered beside events: said at the next one
}

// NewGuest returns an instance of a module of these plugins that no request has opened yet.
func NewGuest(plugins map[string]Plugin, host Host) *Guest {
	g := &Guest{plugins: plugins, host: host}
	g.poll.host, g.dlv.host, g.output.host = &g.host, &g.host, &g.host
	g.output.batch.Limit = event.MaxBatch
	return g
}

// Alloc returns n bytes where the host puts what it hands over with the next call, or nil when that is too much.
func (g *Guest) Alloc(n int) []byte {
	if n < 0 || n > maxArena {
		return nil
	}
	if cap(g.arena) < n || g.arena == nil {
		g.arena = make([]byte, max(n, 64<<10))
	}
	g.arena = g.arena[:max(n, 1)]
	return g.arena[:n:cap(g.arena)]
}

// hand is Alloc and what the host puts there, without a copy. b is the guest's until the next Alloc or hand.
func (g *Guest) hand(b []byte) { g.arena = b }

// Open makes the instance that the first n bytes of the arena ask for.
func (g *Guest) Open(n int) abi.Code {
	self, o, err := g.prepare(n)
	if err != nil {
		return g.code(err)
	}
	if g.self != nil {
		return g.code(&Error{Code: abi.ENOSYS, Err: errors.New("an instance is opened once")})
	}
	opener, ok := self.(interface{ Open(*Open) error })
	if !ok {
		return abi.ENOSYS
	}
	if err := opener.Open(o); err != nil {
		return g.code(err)
	}
	g.self = self
	return abi.OK
}

// Check looks at the config that the first n bytes of the arena hold, and opens nothing.
func (g *Guest) Check(n int) abi.Code {
	self, o, err := g.prepare(n)
	if err != nil {
		return g.code(err)
	}
	if c, ok := self.(Checker); ok {
		return g.code(c.Check(o))
	}
	return abi.OK
}

func (g *Guest) prepare(n int) (self any, o *Open, err error) {
	if n < 0 || n > len(g.arena) {
		return nil, nil, fmt.Errorf("open request of %d bytes: the arena has %d", n, len(g.arena))
	}
	req, err := abi.ParseOpenRequest(g.arena[:n])
	if err != nil {
		return nil, nil, err
	}
	o = &Open{
		Plugin: req.Plugin, Instance: req.Instance, Cursor: req.Cursor, Stream: req.Stream,
		Incarnations: req.Incarnations, Log: newLogger(&g.host), config: req.Config, host: &g.host,
	}
	self = g.make(req.Plugin, req.Kind)
	if self == nil {
		names := strings.Join(slices.Sorted(maps.Keys(g.plugins)), ", ")
		err = &Error{Code: abi.ENOSYS, Err: fmt.Errorf("no %s %q in this module, which has: %s", req.Kind, req.Plugin, names)}
	}
	return self, o, err
}

func (g *Guest) make(name string, kind abi.Kind) any {
	p := g.plugins[name]
	switch {
	case kind == abi.Source && p.Source != nil:
		return p.Source()
	case kind == abi.Sink && p.Sink != nil:
		return p.Sink()
	case kind == abi.Processor && p.Processor != nil:
		return p.Processor()
	}
	return nil
}

// Poll asks the source for a batch. An error that came with events is answered by the next Poll, so
// that the host never has to tell a batch from its error.
func (g *Guest) Poll(maxEvents, maxBytes int, timeout time.Duration) abi.Code {
	s, ok := g.self.(Source)
	if !ok {
		return abi.ENOSYS
	}
	if err := g.pending; err != nil {
		if !errors.Is(err, io.EOF) {
			g.pending = nil
		}
		return g.code(err)
	}
	g.poll.begin(maxEvents, maxBytes, timeout)
	before := g.poll.seq
	err := s.Poll(&g.poll)
	if errors.Is(err, ErrInterrupted) {
		err = nil
	}
	if _, stuck := g.poll.Flush(); stuck != nil {
		return g.code(stuck)
	}
	if err != nil && g.poll.seq != before {
		g.pending = err
		return abi.OK
	}
	return g.code(err)
}

// Ack tells the source what became of its batches.
func (g *Guest) Ack(seq uint64, status abi.Code) {
	if a, ok := g.self.(Acker); ok {
		a.Ack(seq, check(status, "commit"))
	}
}

// Deliver hands the sink the batch in the first n bytes of the arena.
func (g *Guest) Deliver(r event.Range, n int) abi.Code {
	s, ok := g.self.(Sink)
	if !ok {
		return abi.ENOSYS
	}
	b, err := g.batch(n)
	if err != nil {
		return g.code(err)
	}
	return g.code(s.Write(r, b, &g.dlv))
}

// Process hands the processor the batch in the first n bytes of the arena, and emits what it makes of it.
func (g *Guest) Process(n int) abi.Code {
	s, ok := g.self.(Processor)
	if !ok {
		return abi.ENOSYS
	}
	b, err := g.batch(n)
	if err != nil {
		return g.code(err)
	}
	g.output.begin(b.Base())
	if err := s.Process(b, &g.output); err != nil {
		if errors.Is(err, ErrFull) { // the host hands it over again in halves
			err = &Error{Code: abi.ETOOBIG, Err: err}
		}
		return g.code(err)
	}
	if n := g.output.batch.Size(); n > event.MaxBatch {
		return g.code(&Error{Code: abi.ETOOBIG, Err: fmt.Errorf("%w: %d bytes", ErrFull, n)})
	}
	return g.code(check(abi.Code(min(g.host.Emit(g.output.batch.Bytes()), 0)), "emit"))
}

// batch takes the bounds on trust: the host checked them when the batch came in.
func (g *Guest) batch(n int) (event.Batch, error) {
	if n < event.HeaderSize || n > len(g.arena) || binary.LittleEndian.Uint32(g.arena) != event.Magic {
		return event.Batch{}, fmt.Errorf("%w: %d bytes in the arena", event.ErrInvalid, n)
	}
	data := g.arena[:n:n]
	return event.Trusted(data, event.Offset(binary.LittleEndian.Uint64(data[24:])), nil), nil
}

// Prune tells the sink that ranges below low may go.
func (g *Guest) Prune(low event.Offset) abi.Code {
	if p, ok := g.self.(Pruner); ok {
		return g.code(p.Prune(low))
	}
	return abi.OK
}

// Idle gives the instance a moment between calls.
func (g *Guest) Idle() abi.Code {
	if i, ok := g.self.(Idler); ok {
		return g.code(i.Idle())
	}
	return abi.OK
}

// Close ends the instance.
func (g *Guest) Close() abi.Code {
	self := g.self
	g.self = nil
	if c, ok := self.(Closer); ok {
		return g.code(c.Close())
	}
	return abi.OK
}

// code tells the host about err and returns its code.
func (g *Guest) code(err error) abi.Code {
	if err == nil {
		return abi.OK
	}
	code, delay, path := codeOf(err)
	if code != abi.EOF && code != abi.EINTR {
		g.host.Fail(code, delay, path, cut(err.Error()))
	}
	return code
}
