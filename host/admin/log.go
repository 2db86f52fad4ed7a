// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what is kept of an agent's log, so that it is a help at night and nothing to the machine.
const (
	maxLogLines = 8192
	maxLogBytes = 4 << 20
	maxLogLine  = 64 << 10 // a longer one is kept as a word on its length
	maxRaised   = 256      // levels that are set for a time
)

// Log keeps the last lines of an agent's log, to be asked for through the control socket, and logs more of a component for a time.
// Make one with [NewLog]; its methods may be called by many goroutines.
type Log struct {
	mu     sync.Mutex
	lines  []LogLine // the oldest first
	bytes  int
	next   uint64        // the number of the line to come
	of     LogLine       // whose text is being written
	more   chan struct{} // closed with the next line; nil: nobody waits
	ended  bool          // nobody waits any more
	raised atomic.Pointer[map[string]raised]
}

// LogLine is one line of the log.
type LogLine struct {
	Number    uint64          `json:"number"` // they follow upon each other
	Level     slog.Level      `json:"level"`
	Component string          `json:"component,omitempty"` // its address; "" = the agent
	Record    json.RawMessage `json:"record"`              // as --log-format json has it
}

// raised is a level that holds until a time.
type raised struct {
	level slog.Level
	until time.Time
}

// NewLog makes a log that keeps nothing yet.
func NewLog() *Log { return &Log{} }

// Handler keeps what is logged, and hands it on to next; least is the level of both. opts are those of the kept records, Level aside.
func (l *Log) Handler(next slog.Handler, least slog.Level, opts slog.HandlerOptions) slog.Handler {
	opts.Level = slog.Level(-1 << 10) // what is kept was let through before
	return &logHandler{log: l, next: next, kept: slog.NewJSONHandler((*logWriter)(l), &opts), least: least}
}

// Raise has a component, or with "" all of the agent, log from that level on for a time. It says false when too many are set.
func (l *Log) Raise(component string, level slog.Level, d time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, set := time.Now(), map[string]raised{}
	if old := l.raised.Load(); old != nil {
		maps.Copy(set, *old)
	}
	maps.DeleteFunc(set, func(_ string, r raised) bool { return !now.Before(r.until) })
	if len(set) >= maxRaised {
		return false
	}
	set[component] = raised{level, now.Add(d)}
	l.raised.Store(&set)
	return true
}

// raisedTo says whether a level holds for the component now that lets the line through.
func (l *Log) raisedTo(level slog.Level, component string) bool {
	set := l.raised.Load()
	if set == nil {
		return false
	}
	for _, of := range []string{component, ""} {
		if r, ok := (*set)[of]; ok && level >= r.level && time.Now().Before(r.until) {
			return true
		}
	}
	return false
}

// end lets those go who wait for lines. Further ones are kept all the same.
func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
}

// wake lets those look again who wait. l.mu is held.
func (l *Log) wake() {
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// add keeps the line whose record was written. l.mu is held.
func (l *Log) add(record []byte) {
	if len(record) > maxLogLine {
		record, _ = json.Marshal(map[string]any{"msg": "a line that is too long to be kept", "bytes": len(record)})
	}
	line := l.of
	line.Number, line.Record = l.next, json.RawMessage(bytes.Clone(bytes.TrimSpace(record)))
	l.next++
	l.lines = append(l.lines, line)
	l.bytes += len(line.Record)
	for len(l.lines) > maxLogLines || l.bytes > maxLogBytes {
		l.bytes -= len(l.lines[0].Record)
		l.lines = l.lines[1:]
	}
	l.wake()
}

// LogQuery says which lines are asked for.
type LogQuery struct {
	Component string        // its address, or several with commas between; AgentItself: those of no component; "" = all
	Level     slog.Level    // the least
	After     uint64        // the number of the first line that is looked at
	Last      int           // at most so many, the newest; 0 = all
	Wait      time.Duration // for one, where none is there
}

// AgentItself asks for the lines that are of no component.
const AgentItself = "agent"

// LogLines are an answer.
type LogLines struct {
	Lines  []LogLine `json:"lines"`
	Next   uint64    `json:"next"`   // After of the query that goes on
	Missed uint64    `json:"missed"` // lines from After on that are not kept any more
}

// Lines answers a query. It returns early when ctx ends.
func (l *Log) Lines(ctx context.Context, q LogQuery) LogLines {
	timeout := time.NewTimer(q.Wait)
	defer timeout.Stop()
	for {
		out, more := l.look(q)
		if len(out.Lines) > 0 || q.Wait == 0 || more == nil {
			return out
		}
		select {
		case <-more:
		case <-timeout.C:
			return out
		case <-ctx.Done():
			return out
		}
	}
}

// look answers with what is there, and with what is closed when there is more; nil: that will not be.
func (l *Log) look(q LogQuery) (out LogLines, more <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out = LogLines{Lines: []LogLine{}, Next: l.next}
	for i, line := range l.lines {
		if i == 0 && line.Number > q.After {
			out.Missed = line.Number - q.After
		}
		if line.Number >= q.After && line.Level >= q.Level && q.of(line.Component) {
			out.Lines = append(out.Lines, line)
		}
	}
	if q.Last > 0 && len(out.Lines) > q.Last {
		out.Lines = out.Lines[len(out.Lines)-q.Last:]
	}
	if l.ended {
		return out, nil
	}
	if l.more == nil {
		l.more = make(chan struct{})
	}
	return out, l.more
}

func (q LogQuery) of(component string) bool {
	if q.Component == "" || q.Component == component || q.Component == AgentItself && component == "" {
		return true
	}
	for one := range strings.SplitSeq(q.Component, ",") {
		if one == component && one != "" {
			return true
		}
	}
	return false
}

// logWriter gets each record in one Write, with the log's lock held.
type logWriter Log

func (w *logWriter) Write(record []byte) (int, error) {
	(*Log)(w).add(record)
	return len(record), nil
}

// logHandler is a handler of what one logger says.
type logHandler struct {
	log        *Log
	next, kept slog.Handler
	least      slog.Level
	component  string
	grouped    bool // attributes are not the record's own any more
}

var _ slog.Handler = (*logHandler)(nil)

// Enabled lets through what the level says, and what was asked for for a time.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.least || h.log.raisedTo(level, h.component)
}

// Handle keeps the record, then hands it on.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	of := LogLine{Level: r.Level, Component: h.component}
	if of.Component == "" && !h.grouped {
		r.Attrs(func(a slog.Attr) bool { return !nameComponent(a, &of.Component) })
	}
	h.log.mu.Lock()
	h.log.of = of
	err := h.kept.Handle(ctx, r)
	h.log.mu.Unlock()
	if err != nil {
		return err
	}
	return h.next.Handle(ctx, r)
}

// nameComponent takes the component out of an attribute that names it.
func nameComponent(a slog.Attr, to *string) bool {
	if a.Key != "component" {
		return false
	}
	*to = a.Value.Resolve().String()
	return true
}

// WithAttrs implements [slog.Handler].
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.next, c.kept = h.next.WithAttrs(attrs), h.kept.WithAttrs(attrs)
	for _, a := range attrs {
		if !h.grouped {
			nameComponent(a, &c.component)
		}
	}
	return &c
}

// WithGroup implements [slog.Handler].
func (h *logHandler) WithGroup(name string) slog.Handler {
	c := *h
	c.next, c.kept = h.next.WithGroup(name), h.kept.WithGroup(name)
	c.grouped = c.grouped || name != ""
	return &c
}
