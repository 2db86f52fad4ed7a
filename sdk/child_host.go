// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

const (
	// maxQueue is how many batches one poll may emit, and maxQueued how many bytes beside the first: as for a guest of WebAssembly.
	maxQueue  = 64
	maxQueued = abi.DefaultOutput
	// maxReason bounds the reason of one rejection: 4096 of them must not weigh more than the batch.
	maxReason = 1 << 10
	// maxLines is how many log lines wait for the agent: what is beyond is counted, and said.
	maxLines = 1024
	// reportEvery is how often metrics go to the agent, which samples them no faster.
	reportEvery = time.Second
)

// host is what the instance may ask for.
func (c *child) host() Host {
	h := Host{
		Emit: c.emit, Cursor: c.cursor, Result: c.result, Fail: c.fail, Position: c.position,
		Log:    c.reports.log,
		Metric: c.reports.metric,
		Now:    func() int64 { return time.Now().UnixNano() },
		Sleep:  c.sleep,
		Secret: c.secret,
	}
	c.addSockets(&h)
	c.addHTTP(&h)
	return h
}

// emit keeps one batch until it is sent. The agent checks it.
func (c *child) emit(batch []byte) int64 {
	switch {
	case c.inside != inPoll && c.inside != inProcess:
		return int64(abi.EINVAL)
	case c.most > 0 && len(batch) > c.most:
		return int64(abi.ETOOBIG)
	case len(c.queue) >= maxQueue, len(c.queue) > 0 && c.queued+len(batch) > maxQueued:
		return int64(abi.EAGAIN)
	}
	c.seq++
	c.queue = append(c.queue, &pluginpb.Emission{Seq: c.seq, Batch: append(c.spare[:0], batch...), Changed: c.changed})
	c.queued += len(batch)
	c.spare = nil
	c.changed = nil
	return int64(c.seq)
}

func (c *child) cursor(key string, value []byte) abi.Code {
	switch {
	case c.inside != inPoll, key == "":
		return abi.EINVAL
	case len(key) > abi.MaxKey, len(value) > abi.MaxValue:
		return abi.ETOOBIG
	}
	c.changed = append(c.changed, &pluginpb.CursorEntry{Key: strings.Clone(key), Value: slices.Clone(value)})
	return abi.OK
}

func (c *child) result(index int, code abi.Code, reason string) abi.Code {
	if c.inside != inWrite && c.inside != inProcess || index < 0 || code >= 0 {
		return abi.EINVAL
	}
	c.rejected = append(c.rejected, &pluginpb.Rejection{Index: uint32(index), Code: int32(code), Reason: valid(reason, maxReason)})
	return abi.OK
}

func (c *child) fail(code abi.Code, delay time.Duration, path, message string) {
	c.said = &pluginpb.Status{
		Code: int32(code), Message: valid(message, abi.MaxText), Path: valid(path, abi.MaxText), DelayMs: delay.Milliseconds(),
	}
}

func (c *child) position(incarnation uint64, r event.Range) abi.Code {
	if c.inside != inOpen || r.Empty() {
		return abi.EINVAL
	}
	c.held = append(c.held, &pluginpb.Held{Incarnation: incarnation, First: uint64(r.First), Next: uint64(r.Next)})
	return abi.OK
}

func (c *child) secret(handle string, into []byte) abi.Code {
	value, ok := c.secrets[handle]
	if !ok {
		return abi.EACCES
	}
	if len(value) <= len(into) {
		copy(into, value)
	}
	return abi.Code(len(value))
}

// valid cuts s, and makes it what protobuf takes for a string.
func valid(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "\uFFFD") }

// reports is what the instance has logged and measured and the agent has not been told. It may be used by many goroutines.
type reports struct {
	mu      *sync.Mutex
	wake    chan struct{} // a token: there are lines; never closed
	pending *pluginpb.Report
	metrics map[string]*pluginpb.Metric
	missed  *int // lines, since one was kept
}

func newReports() reports {
	return reports{
		mu: new(sync.Mutex), wake: make(chan struct{}, 1), pending: new(pluginpb.Report),
		metrics: map[string]*pluginpb.Metric{}, missed: new(int),
	}
}

func (r reports) log(level int, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending.Lines) >= maxLines {
		*r.missed++
		return
	}
	r.pending.Lines = append(r.pending.Lines, &pluginpb.LogLine{Level: int32(level), Text: valid(string(text), abi.MaxText)})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r reports) metric(kind int, name string, value float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := valid(name, abi.MaxKey)
	m := r.metrics[key]
	if m == nil {
		m = &pluginpb.Metric{Kind: pluginpb.Metric_Kind(kind), Name: key}
		r.metrics[key] = m
	}
	if kind == abi.MetricCounter {
		value += m.Value
	}
	m.Value = value
}

// take hands out what there is. Counters start anew.
func (r reports) take() *pluginpb.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &pluginpb.Report{Lines: r.pending.Lines}
	r.pending.Lines = nil
	if *r.missed > 0 {
		out.Lines = append(out.Lines, &pluginpb.LogLine{Level: abi.LevelWarn, Text: "more was logged than the agent took, and is lost"})
		*r.missed = 0
	}
	for _, m := range r.metrics {
		out.Metrics = append(out.Metrics, m)
	}
	clear(r.metrics)
	return out
}

// Reports implements [pluginpb.PluginServer].
func (c *child) Reports(_ *pluginpb.ReportsRequest, to grpc.ServerStreamingServer[pluginpb.Report]) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-to.Context().Done():
			return nil
		case <-c.reports.wake:
		case <-tick.C:
		}
		r := c.reports.take()
		if len(r.Lines)+len(r.Metrics) == 0 {
			continue
		}
		if err := to.Send(r); err != nil {
			return err
		}
	}
}
