// SPDX-License-Identifier: Apache-2.0

// Package report bounds what a plugin says of itself, whatever it runs in: how many lines it may log, how long they are, and how
// many metrics it may name. What is over the bound is counted, and told of once in a while.
package report

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/penstock-io/penstock/spec/abi"
)

// Limits on what one instance may say.
const (
	// Burst is how many seconds' lines may come at once.
	Burst = 2
	// sayEvery is how often it is said that lines were suppressed: in a flood each line that gets through would be followed by that.
	sayEvery = time.Second
	// maxOnce is how many things are remembered as logged already.
	maxOnce = 64
	// MaxMetricName bounds the name of one, in bytes.
	MaxMetricName = 64
	// keptLines is how many lines of a call's output are kept for the error, should the guest break in it.
	keptLines = 2
	// MaxWords bounds them together, in bytes: they go into each dead letter, where the stack follows.
	MaxWords = 512
)

// Log passes a plugin's lines on, as many as are allowed. Its methods may be called by many goroutines.
type Log struct {
	To *slog.Logger

	mu         sync.Mutex
	limit      *rate.Limiter
	over       func() // called for each line over the limit; nil: nobody counts
	suppressed int
	said       time.Time // when that was told last
	told       map[string]bool
}

// NewLog returns a Log with the default bound that nobody counts for. to is never nil.
func NewLog(to *slog.Logger) *Log {
	l := &Log{To: to, told: map[string]bool{}}
	l.Bound(abi.DefaultLogRate, nil)
	return l
}

// Bound sets how many lines a second may go out, and what counts the others.
// It is called before all else.
func (l *Log) Bound(perSecond int, over func()) {
	l.limit, l.over = rate.NewLimiter(rate.Limit(perSecond), Burst*perSecond), over
}

// Allow says whether one more line may go out, and tells first how many did not.
func (l *Log) Allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allow()
}

func (l *Log) allow() bool {
	if !l.limit.Allow() {
		l.suppressed++
		if l.over != nil {
			l.over()
		}
		return false
	}
	if l.suppressed > 0 && time.Since(l.said) >= sayEvery {
		l.To.Warn("plugin logs more than limits.log_rate allows, lines were suppressed", slog.Int("lines", l.suppressed), slog.Int("limit_per_second", int(l.limit.Limit())))
		l.suppressed, l.said = 0, time.Now()
	}
	return true
}

// Once says whether what is new, and may be logged.
func (l *Log) Once(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told[what] || len(l.told) >= maxOnce || !l.allow() {
		return false
	}
	l.told[what] = true
	return true
}

// Warn tells of an error of a file, for which the guest's own words will be poorer.
func (l *Log) Warn(what, path string, err error) {
	if l.Allow() {
		l.To.Warn(what, slog.String("path", path), slog.Any("error", err))
	}
}

// Lines makes log lines of what a plugin writes to standard error, or to standard output when that is not granted. One goroutine at a
// time uses it.
type Lines struct {
	Log    *Log
	Stream string // "stderr" or "stdout"

	part  []byte   // a line that has not ended
	kept  []string // the last lines of this call, or the first from where a crash begins
	crash bool     // kept begins with a line that says of a crash that it is one
	over  bool     // the stack of that crash has begun
}

// Begin says that another call begins.
func (w *Lines) Begin() { w.kept, w.crash, w.over = w.kept[:0], false, false }

// Words is what the guest wrote in this call before it broke, in one line of MaxWords at most: where a crash begins, or else the last.
func (w *Lines) Words() string {
	w.flush()
	words := strings.Join(w.kept, ": ")
	return strings.ToValidUTF8(words[:min(len(words), MaxWords)], "")
}

// keep notes a line for Words.
func (w *Lines) keep(line string) {
	line = strings.TrimSuffix(line, ":") // one follows
	switch {
	case !w.crash && Crash(line):
		w.kept, w.crash = append(w.kept[:0], line), true
	case w.crash && !w.over && (strings.HasPrefix(line, "goroutine ") || strings.HasPrefix(line, "note: ") || len(w.kept) == keptLines):
		w.over = true
	case !w.over:
		w.kept = append(w.kept[max(len(w.kept)+1-keptLines, 0):], line)
	}
}

// Crash says whether a program says in line why it breaks, before it shows its stack: in Go, Rust, Zig.
func Crash(line string) bool {
	if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
		return true
	}
	return strings.HasPrefix(line, "thread ") && (strings.Contains(line, " panicked at ") || strings.Contains(line, " panic: "))
}

// Write implements [io.Writer]. It never fails: a guest must not break because its log is full.
func (w *Lines) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		w.part = append(w.part, line[:min(len(line), abi.MaxText-len(w.part))]...)
		if !ended {
			return n, nil
		}
		w.flush()
		b = rest
	}
}

func (w *Lines) flush() {
	line := strings.ToValidUTF8(strings.TrimSpace(string(w.part)), "\uFFFD")
	w.part = w.part[:0]
	if line == "" {
		return
	}
	w.keep(line)
	if w.Log.Allow() {
		w.Log.To.Info(line, slog.String("stream", w.Stream))
	}
}

// Metrics are the metrics that a plugin has reported, over all its instances. Its methods may be called by many goroutines.
type Metrics struct {
	mu    sync.Mutex
	kinds map[string]namedMetric
}

type namedMetric struct {
	name string // the map's key, so that reporting one again allocates nothing
	kind int
}

// NewMetrics returns one that knows of none.
func NewMetrics() *Metrics { return &Metrics{kinds: map[string]namedMetric{}} }

// Admit finds or registers a metric. A name keeps its kind.
func (m *Metrics) Admit(name []byte, kind, most int) (string, abi.Code) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.kinds[string(name)]
	switch {
	case ok && known.kind == kind:
		return known.name, abi.OK
	case ok, !metricName(name), kind != abi.MetricCounter && kind != abi.MetricGauge:
		return "", abi.EINVAL
	case len(m.kinds) >= most:
		return "", abi.ETOOBIG
	}
	known = namedMetric{string(name), kind}
	m.kinds[known.name] = known
	return known.name, abi.OK
}

// metricName says whether name is letters, digits and underscores, and begins with a letter.
func metricName(name []byte) bool {
	for i, c := range name {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '_' && (c < '0' || '9' < c)) {
			return false
		}
	}
	return 0 < len(name) && len(name) <= MaxMetricName
}
