// SPDX-License-Identifier: Apache-2.0

// Package sdktest runs a plugin inside an ordinary Go test, without WebAssembly and without an agent.
//
// [OpenSource], [OpenProcessor] and [OpenSink] play the host: they keep the cursor and the ranges, hand the plugin
// what an agent would, byte for byte, and kill and reopen it when the test says so. Time is that of
// package time, so a test may run in a bubble of testing/synctest, where waits take no time.
package sdktest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Event is an event as tests like to compare it.
type Event struct {
	Time       int64
	Attributes map[string]string
	Body       string
}

// name is the one plugin in the module under test.
const name = "under-test"

// bench is what sources and sinks have in common: a guest, and what it told its host.
type bench struct {
	t       testing.TB
	guest   *sdk.Guest
	plugins map[string]sdk.Plugin
	config  json.RawMessage
	failure error

	// Logs are the lines that the plugin logged, as "LEVEL message key=value …".
	Logs []string
	// Secrets are the values of those that are granted, by handle.
	Secrets map[string]string
	// Net is where its connections lead.
	Net *Network
	// Metrics are the sums of its counters and the last values of its gauges.
	Metrics map[string]float64
}

func newBench(t testing.TB, p sdk.Plugin, config any) *bench {
	t.Helper()
	b := &bench{t: t, plugins: map[string]sdk.Plugin{name: p}, Metrics: map[string]float64{}, Secrets: map[string]string{}, Net: newNetwork(t)}
	b.Configure(config)
	return b
}

// Configure changes the config, for instances that are opened later.
func (b *bench) Configure(config any) {
	b.t.Helper()
	doc, err := json.Marshal(config)
	if err != nil {
		b.t.Fatalf("encode the config: %v", err)
	}
	b.config = doc
}

// host is the part of a host that does not differ between kinds.
func (b *bench) host() sdk.Host {
	return sdk.Host{
		Emit:     func([]byte) int64 { return int64(abi.ENOSYS) },
		Cursor:   func(string, []byte) abi.Code { return abi.ENOSYS },
		Result:   func(int, abi.Code, string) abi.Code { return abi.ENOSYS },
		Position: func(uint64, event.Range) abi.Code { return abi.ENOSYS },
		Fail: func(code abi.Code, delay time.Duration, path, message string) {
			b.failure = &sdk.Error{Code: code, Delay: delay, Path: path, Err: errors.New(message)}
		},
		Log:    b.log,
		Metric: b.metric,
		Now:    func() int64 { return time.Now().UnixNano() },
		Sleep: func(d time.Duration) abi.Code {
			time.Sleep(d)
			return abi.OK
		},
		Secret:     b.secret,
		HTTPSend:   func(string, []byte, time.Duration) abi.Code { return abi.EACCES },
		HTTPStatus: func(int32, time.Duration) abi.Code { return abi.EINVAL },
		HTTPHead:   func(int32, []byte) abi.Code { return abi.EINVAL },
		HTTPRead:   func(int32, []byte, time.Duration) abi.Code { return abi.EINVAL },
		HTTPClose:  func(int32) abi.Code { return abi.EINVAL },
		HTTPNext:   func([]byte, time.Duration) abi.Code { return abi.EACCES },
		HTTPReply:  func(int32, int, []byte, int64) abi.Code { return abi.EACCES },
	}
}

func (b *bench) secret(handle string, into []byte) abi.Code {
	value, ok := b.Secrets[handle]
	if !ok {
		return abi.EACCES
	}
	if len(value) <= len(into) {
		copy(into, value)
	}
	return abi.Code(len(value))
}

func (b *bench) log(level int, text []byte) {
	names := map[int]string{abi.LevelDebug: "DEBUG", abi.LevelInfo: "INFO", abi.LevelWarn: "WARN", abi.LevelError: "ERROR"}
	b.Logs = append(b.Logs, names[level]+" "+string(text))
}

func (b *bench) metric(kind int, name string, value float64) {
	if kind == abi.MetricCounter {
		value += b.Metrics[name]
	}
	b.Metrics[name] = value
}

// open makes a new instance; an old one is dropped as a crash would drop it.
func (b *bench) open(host sdk.Host, req abi.OpenRequest) error {
	b.Net.attach(&host, req.Kind == abi.Sink)
	req.Plugin, req.Config = name, b.config
	req.Instance.Count = max(req.Instance.Count, 1)
	doc, err := req.Append(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.guest = sdk.NewGuest(b.plugins, host)
	copy(b.guest.Alloc(len(doc)), doc)
	return b.answer(b.guest.Open(len(doc)))
}

// answer turns a code into an error, with the text that the plugin gave for it.
func (b *bench) answer(code abi.Code) error {
	failure := b.failure
	b.failure = nil
	switch {
	case code >= 0:
		return nil
	case code == abi.EOF:
		return sdk.Done
	case failure != nil:
		return failure
	}
	return &sdk.Error{Code: code, Err: fmt.Errorf("the plugin answers %s and says no more", code)}
}

// Close ends the instance in order.
func (b *bench) Close() error { return b.answer(b.guest.Close()) }

// Idle gives the instance a moment between calls.
func (b *bench) Idle() error { return b.answer(b.guest.Idle()) }

// A Source is a source under test.
type Source struct {
	*bench
	// MaxEvents, MaxBytes and Timeout are asked of each poll.
	MaxEvents, MaxBytes int
	Timeout             time.Duration

	// Cursor is the durable cursor, Events the durable events of all instances so far.
	Cursor event.Cursor
	Events []Event
	set    map[string]time.Time // when each entry was set last

	// Replies are what clients were told, in order; see [Source.Request].
	Replies []Reply
	inbox   inbox
	durable int64

	flight  []emission
	changed event.Cursor
	seq     int64
}

// emission is one batch that no commit has made durable yet.
type emission struct {
	seq    int64
	events []Event
	cursor event.Cursor
}

// OpenSource opens a source with this config, which is what an agent would hand over: complete,
// with defaults filled in. It fails the test if the source does not open.
func OpenSource(t testing.TB, create func() sdk.Source, config any) *Source {
	t.Helper()
	s := &Source{bench: newBench(t, sdk.Plugin{Source: create}, config), Cursor: event.Cursor{}, set: map[string]time.Time{}}
	s.MaxEvents, s.MaxBytes = 4096, 1<<20
	if err := s.Restart(); err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// Restart drops the instance without closing it, and all that was not committed, and opens a new one from the cursor.
func (s *Source) Restart() error {
	s.flight, s.changed, s.seq = nil, event.Cursor{}, 0
	s.refuseReplies()
	host := s.host()
	host.HTTPNext, host.HTTPReply = s.httpNext, s.httpReply
	host.Emit = s.emit
	host.Cursor = func(key string, value []byte) abi.Code {
		s.changed[key] = slices.Clone(value)
		return abi.OK
	}
	return s.open(host, abi.OpenRequest{Kind: abi.Source, Cursor: maps.Clone(s.Cursor)})
}

func (s *Source) emit(data []byte) int64 {
	b, err := event.Copy(event.Heap{}, data, s.MaxBytes)
	if err != nil {
		s.t.Errorf("emit: %v", err)
		return int64(abi.EINVAL)
	}
	if b.Len() > s.MaxEvents {
		s.t.Errorf("emit: %d events, asked for at most %d", b.Len(), s.MaxEvents)
	}
	s.seq++
	s.flight = append(s.flight, emission{s.seq, Events(b), s.changed})
	s.changed = event.Cursor{}
	return s.seq
}

// Poll calls the source once and returns the events it brought, which are in flight until [Source.Commit].
func (s *Source) Poll() ([]Event, error) {
	before := len(s.flight)
	err := s.answer(s.guest.Poll(s.MaxEvents, s.MaxBytes, s.Timeout))
	var events []Event
	for _, e := range s.flight[before:] {
		events = append(events, e.events...)
	}
	return events, err
}

// Commit makes durable what is in flight, and acknowledges it.
func (s *Source) Commit() {
	for _, e := range s.flight {
		s.Events = append(s.Events, e.events...)
		for k, v := range e.cursor {
			if len(v) == 0 {
				delete(s.Cursor, k)
			} else {
				s.Cursor[k], s.set[k] = v, time.Now()
			}
		}
		s.sendReplies(e.seq)
		s.Net.commit(e.seq)
		s.guest.Ack(uint64(e.seq), abi.OK)
	}
	s.flight = nil
}

// Forget drops the entries that a channel forgets: those that were set last longer than so before the newest.
func (s *Source) Forget(after time.Duration) {
	newest := time.Time{}
	for k := range s.Cursor {
		if at := s.set[k]; at.After(newest) {
			newest = at
		}
	}
	maps.DeleteFunc(s.Cursor, func(k string, _ []byte) bool { return newest.Sub(s.set[k]) > after })
}

// Drain polls and commits until a poll brings no event, and returns what came. It fails the test at an error but [sdk.Done].
func (s *Source) Drain() []Event {
	s.t.Helper()
	before := len(s.Events)
	for {
		events, err := s.Poll()
		if err != nil && !errors.Is(err, sdk.Done) {
			s.t.Fatalf("poll: %v", err)
		}
		s.Commit()
		if len(events) == 0 {
			return s.Events[before:]
		}
	}
}

// Sink is a sink under test.
type Sink struct {
	*bench
	// Stream and Incarnations are what the sink is opened with.
	Stream       string
	Incarnations []abi.Incarnation
	// Held is what the sink said in the last open that it holds.
	Held []Held
	// Rejected are the places that it rejected in the last delivery, Reasons what it said of each.
	Rejected []int
	Reasons  []string
	// Server answers what the sink sends by HTTP; nil: that is not granted. One that panics with http.ErrAbortHandler breaks the connection.
	Server http.Handler
	outbox outbox

	next event.Offset
	buf  event.Builder
}

// Held is a range that a sink holds.
type Held struct {
	Incarnation uint64
	Range       event.Range
}

// OpenSink opens a sink with this config, which is what an agent would hand over: complete, with
// defaults filled in. It fails the test if the sink does not open.
func OpenSink(t testing.TB, create func() sdk.Sink, config any) *Sink {
	t.Helper()
	s := NewSink(t, create)
	s.Configure(config)
	if err := s.Restart(); err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// NewSink makes a sink that is not open yet, for tests of what becomes of its opening: see Configure and Restart.
func NewSink(t testing.TB, create func() sdk.Sink) *Sink {
	t.Helper()
	s := &Sink{bench: newBench(t, sdk.Plugin{Sink: create}, nil), Stream: "channel/reader/1"}
	s.Incarnations = []abi.Incarnation{{ID: 1 << 63, First: 0}}
	return s
}

// Restart drops the instance without closing it and opens a new one. What it says that it holds is
// in Held; where [Sink.Send] goes on is unchanged, as if the host's last commit was lost.
func (s *Sink) Restart() error {
	s.Held = nil
	host := s.host()
	host.Position = func(incarnation uint64, r event.Range) abi.Code {
		s.Held = append(s.Held, Held{incarnation, r})
		return abi.OK
	}
	host.Result = func(index int, _ abi.Code, reason string) abi.Code {
		s.Rejected, s.Reasons = append(s.Rejected, index), append(s.Reasons, reason)
		return abi.OK
	}
	host.HTTPSend, host.HTTPStatus, host.HTTPHead, host.HTTPRead, host.HTTPClose = s.httpSend, s.httpStatus, s.httpHead, s.httpRead, s.httpClose
	return s.open(host, abi.OpenRequest{Kind: abi.Sink, Stream: s.Stream, Incarnations: s.Incarnations})
}

// Send delivers events with these bodies after the last that it delivered, and goes on after them when the sink took them.
func (s *Sink) Send(bodies ...string) error {
	events := make([]event.Event, len(bodies))
	for i, b := range bodies {
		events[i].Body = []byte(b)
	}
	err := s.Deliver(s.next, events...)
	if err == nil {
		s.next += event.Offset(len(bodies))
	}
	return err
}

// Deliver delivers these events, the first of which has the offset first.
func (s *Sink) Deliver(first event.Offset, events ...event.Event) error {
	s.buf.Reset()
	s.buf.Limit = event.MaxBatch
	for i, e := range events {
		if err := s.buf.Append(e); err != nil {
			s.t.Fatalf("encode event %d: %v", i, err)
		}
	}
	return s.Hand(event.Range{First: first, Next: first + event.Offset(len(events))}, s.buf.Batch().WithBase(first))
}

// Hand delivers a batch as it is, which covers r.
func (s *Sink) Hand(r event.Range, b event.Batch) error {
	s.Rejected, s.Reasons = nil, nil
	arena := s.guest.Alloc(b.Size())
	copy(arena, b.Bytes())
	binary.LittleEndian.PutUint64(arena[24:], uint64(b.Base()))
	return s.answer(s.guest.Deliver(r, len(arena)))
}

// Prune tells the sink that ranges below low may go.
func (s *Sink) Prune(low event.Offset) error { return s.answer(s.guest.Prune(low)) }

// Processor is a processor under test.
type Processor struct {
	*bench
	// Rejected are the places that it rejected in the last batch, and why.
	Rejected map[int]string

	made event.Batch
	buf  event.Builder
}

// OpenProcessor opens a processor with this config, which is what an agent would hand over: complete, with defaults filled in. It fails
// the test if the processor does not open.
func OpenProcessor(t testing.TB, create func() sdk.Processor, config any) *Processor {
	t.Helper()
	p := &Processor{bench: newBench(t, sdk.Plugin{Processor: create}, config)}
	if err := p.Restart(); err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

// Restart drops the instance without closing it and opens a new one.
func (p *Processor) Restart() error {
	host := p.host()
	host.Emit = func(data []byte) int64 {
		b, err := event.CopyMade(event.Heap{}, data, event.Offset(p.buf.Len()))
		if err != nil {
			p.t.Errorf("emit: %v", err)
			return int64(abi.EINVAL)
		}
		p.made = b
		return 1
	}
	host.Result = func(index int, _ abi.Code, reason string) abi.Code {
		p.Rejected[index] = reason
		return abi.OK
	}
	return p.open(host, abi.OpenRequest{Kind: abi.Processor})
}

// Process hands over a batch of these events, and answers what becomes of it. It fails the test where an event is not numbered as one
// that was handed over.
func (p *Processor) Process(events ...event.Event) ([]Event, error) {
	p.Rejected, p.made = map[int]string{}, event.Batch{}
	p.buf.Reset()
	p.buf.Limit = event.MaxBatch
	for i, e := range events {
		if err := p.buf.Append(e); err != nil {
			p.t.Fatalf("encode event %d: %v", i, err)
		}
	}
	data := p.buf.Bytes()
	copy(p.guest.Alloc(len(data)), data)
	err := p.answer(p.guest.Process(len(data)))
	return Events(p.made), err
}

// Events returns copies of a batch's events.
func Events(b event.Batch) []Event {
	out := make([]Event, 0, b.Len())
	for _, e := range b.All() {
		c := Event{Time: e.Time, Attributes: make(map[string]string, len(e.Attributes)), Body: string(e.Body)}
		for _, a := range e.Attributes {
			if _, twice := c.Attributes[a.Key]; !twice {
				c.Attributes[string([]byte(a.Key))] = string(a.Value)
			}
		}
		out = append(out, c)
	}
	return out
}

// Bodies returns the bodies of events.
func Bodies(events []Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.Body
	}
	return out
}
