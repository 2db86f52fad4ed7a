// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero/api"
	"golang.org/x/time/rate"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// Limits on what one instance may say.
const (
	// logBurst is how many seconds' lines may come at once.
	logBurst = 2
	// maxOnce is how many things are remembered as logged already.
	maxOnce = 64
	// maxMetricName bounds the name of one, in bytes.
	maxMetricName = 64
	// keptLines is how many lines of a call's output are kept for the error, should the guest exit in it: what went wrong comes first.
	keptLines = 2
)

// logger passes a guest's lines on, as many as are allowed. It belongs to whoever has the turn.
type logger struct {
	to         *slog.Logger
	limit      *rate.Limiter
	over       func() // called for each line over the limit; nil: nobody counts
	suppressed int
	told       map[string]bool
}

func newLogger(to *slog.Logger) *logger {
	l := &logger{to: to, told: map[string]bool{}}
	l.bound(abi.DefaultLogRate, nil)
	return l
}

// bound sets how many lines a second may go out, and what counts the others.
func (l *logger) bound(perSecond int, over func()) {
	l.limit, l.over = rate.NewLimiter(rate.Limit(perSecond), logBurst*perSecond), over
}

// allow says whether one more line may go out, and tells first how many did not.
func (l *logger) allow() bool {
	if !l.limit.Allow() {
		l.suppressed++
		if l.over != nil {
			l.over()
		}
		return false
	}
	if l.suppressed > 0 {
		l.to.Warn("plugin logs more than limits.log_rate allows, lines were suppressed", slog.Int("lines", l.suppressed), slog.Int("limit_per_second", int(l.limit.Limit())))
		l.suppressed = 0
	}
	return true
}

// once says whether what is new, and may be logged.
func (l *logger) once(what string) bool {
	if l.told[what] || len(l.told) >= maxOnce || !l.allow() {
		return false
	}
	l.told[what] = true
	return true
}

// warn tells of an error of a file, for which the guest's own words will be poorer.
func (l *logger) warn(what, path string, err error) {
	if l.allow() {
		l.to.Warn(what, slog.String("path", path), slog.Any("error", err))
	}
}

// logLine is the import log.
func logLine(in *instance, mem api.Memory, stack []uint64) {
	level := slog.Level(min(max(int32(stack[0]), abi.LevelDebug), abi.LevelError))
	line, ok := "", true
	if on := in.log.to.Enabled(context.Background(), level) && in.log.allow(); on {
		if line, ok = text(mem, stack[1], stack[2], abi.MaxText); ok {
			in.log.to.Log(context.Background(), level, line)
		}
	}
	stack[0] = answer(abi.OK)
	if !ok {
		stack[0] = answer(abi.EINVAL)
	}
}

// lineWriter makes log lines of what a guest writes to standard error, or to standard output when that is not granted.
type lineWriter struct {
	log    *logger
	stream string
	part   []byte   // a line that has not ended
	kept   []string // the first lines of this call
}

// begin says that another call begins.
func (w *lineWriter) begin() { w.kept = w.kept[:0] }

// first is what the guest wrote first in this call, in one line.
func (w *lineWriter) first() string {
	w.flush()
	return strings.Join(w.kept, ": ")
}

// Write implements [io.Writer]. It never fails: a guest must not break because its log is full.
func (w *lineWriter) Write(b []byte) (int, error) {
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

func (w *lineWriter) flush() {
	line := strings.ToValidUTF8(strings.TrimSpace(string(w.part)), "\uFFFD")
	w.part = w.part[:0]
	if line == "" {
		return
	}
	if len(w.kept) < keptLines {
		w.kept = append(w.kept, line)
	}
	if w.log.allow() {
		w.log.to.Info(line, slog.String("stream", w.stream))
	}
}

// metricNames are the metrics that a plugin has reported, over all its instances.
type metricNames struct {
	mu    sync.Mutex
	kinds map[string]namedMetric
}

type namedMetric struct {
	name string // the map's key, so that reporting one again allocates nothing
	kind int
}

func newMetricNames() *metricNames { return &metricNames{kinds: map[string]namedMetric{}} }

// admit finds or registers a metric. A name keeps its kind.
func (m *metricNames) admit(name []byte, kind, most int) (string, abi.Code) {
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
	return 0 < len(name) && len(name) <= maxMetricName
}

// metric is the import metric.
func metric(in *instance, mem api.Memory, stack []uint64) {
	kind, value := int(int32(stack[0])), api.DecodeF64(stack[3])
	name, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	if !ok || math.IsNaN(value) || math.IsInf(value, 0) || kind == abi.MetricCounter && value < 0 {
		stack[0] = answer(abi.EINVAL)
		return
	}
	known, code := in.plugin.metrics.admit(name, kind, in.names)
	if code == abi.OK && in.metrics != nil {
		in.metrics.Plugin(in.component, kind, known, value)
	}
	if code == abi.ETOOBIG {
		in.limited(plugin.LimitMetrics, fmt.Sprintf("it reports more than %d metrics, the rest is dropped", in.names))
	}
	stack[0] = answer(code)
}
