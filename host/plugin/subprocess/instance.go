// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

const (
	// closeTimeout is how long an instance may take to close: what it has not stored then comes again.
	closeTimeout = 5 * time.Second
	// exitGrace is how long a child may take to end once its standard input is closed.
	exitGrace = time.Second
	// interruptGrace is how long a call may go on that was asked to come back.
	interruptGrace = 2 * time.Second
	// lostGrace is how long it is waited for why a child ended, when its connection broke before: a machine that is short of memory kills, and is slow.
	lostGrace = 10 * time.Second
	// sampleEvery is how often it is looked at what a child takes, and healthEvery how often it is asked whether it is well. healthTimeout
	// is long enough for a machine that is short of memory or processors.
	sampleEvery   = time.Second
	sampleCalls   = sampleEvery / 10 // as long as it is called
	healthEvery   = 5 * time.Second
	healthTimeout = 10 * time.Second
	// maxReason bounds the reason of one rejection: 4096 of them must not weigh more than the batch.
	maxReason = 1 << 10
)

// instance is one child: the part that source, sink and processor share.
type instance struct {
	*connected
	plugin    *Plugin
	kind      abi.Kind
	component string
	metrics   plugin.Metrics // nil: nobody counts
	buffers   event.Buffers
	limit     int    // bytes, of one emitted batch
	memory    uint64 // that the child may have resident, 0: any
	names     int    // of metrics, of all instances of the plugin
	log       *report.Log
	stdout    io.Writer
	stderr    io.Writer
	work      string // the child's working directory
	calls     *calls
	ctx       context.Context
	cancel    context.CancelFunc // of its streams
	watching  sync.WaitGroup
	dead      atomic.Pointer[plugin.Error]
	closing   atomic.Bool // it is told to close
	closed    atomic.Bool

	sampling sync.Mutex
	sampled  time.Time
	used     usage
	cpu      time.Duration // that was not counted with a call yet
	once     sync.Once
}

func (p *Plugin) newInstance(kind abi.Kind, open plugin.Request) *instance {
	in := &instance{
		plugin: p, kind: kind, component: open.Component, metrics: open.Metrics, buffers: open.Buffers,
		limit: cmp.Or(open.Limits.BatchBytes, event.DefaultBatch),
		names: cmp.Or(open.Limits.Metrics, abi.DefaultMetrics),
		log:   report.NewLog(open.Log),
	}
	if m := open.Limits.MemoryBytes; m > 0 && len(p.runtime.launcher) > 0 {
		in.memory = m + programMemory
	}
	in.log.Bound(cmp.Or(open.Limits.LogRate, abi.DefaultLogRate), func() { in.count(plugin.LimitLogRate) })
	in.stderr = &report.Lines{Log: in.log, Stream: "stderr"}
	in.stdout = open.Stdout
	if in.stdout == nil {
		in.stdout = &report.Lines{Log: in.log, Stream: "stdout"}
	}
	if in.buffers == nil {
		in.buffers = event.Heap{}
	}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	return in
}

// supervise starts what watches the child until it is closed.
func (in *instance) supervise() {
	in.watching.Go(in.follow)
	in.watching.Go(in.watch)
}

// watch looks at what the child takes, and whether it answers, until it is over. One that does not is killed: whoever waits for it
// is told why.
func (in *instance) watch() {
	times := in.plugin.runtime.times
	tick := time.NewTicker(times.sample)
	defer tick.Stop()
	health := grpc_health_v1.NewHealthClient(in.conn)
	for asked := time.Now(); ; {
		select {
		case <-in.ctx.Done():
			return
		case <-in.process.over:
			in.bury(in.process.state)
			return
		case <-tick.C:
		}
		in.sample(times.sample)
		if in.hogs() {
			in.process.kill()
			continue
		}
		if time.Since(asked) < times.health {
			continue
		}
		asked = time.Now()
		ctx, cancel := context.WithTimeout(in.ctx, times.answer)
		answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: pluginpb.HealthService})
		cancel()
		if in.ctx.Err() == nil && (err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING) {
			in.bury(fmt.Sprintf("it did not say within %v that it is well (%s), and was killed", times.answer, cmp.Or(status.Convert(err).Message(), answer.GetStatus().String())))
			in.process.kill()
		}
	}
}

// sample tells what the child takes, if that was not told for so long.
func (in *instance) sample(every time.Duration) {
	if in.metrics == nil && in.memory == 0 {
		return
	}
	in.sampling.Lock()
	defer in.sampling.Unlock()
	if time.Since(in.sampled) < every {
		return
	}
	in.sampled = time.Now()
	if now, ok := usageOf(in.process.cmd.Process.Pid); ok {
		in.cpu += max(0, now.cpu-in.used.cpu)
		in.used = now
		if in.metrics != nil {
			in.metrics.Memory(in.component, now.memory)
		}
	}
}

// hogs buries a child that has more memory than it may.
func (in *instance) hogs() bool {
	in.sampling.Lock()
	defer in.sampling.Unlock()
	if in.memory == 0 || in.used.memory <= in.memory {
		return false
	}
	in.count(plugin.LimitMemory)
	in.bury(fmt.Sprintf("it has %d MiB of memory, and was killed: limits.memory and what a process has beside it (%d MiB) are %d MiB",
		in.used.memory>>20, programMemory>>20, in.memory>>20))
	return true
}

// account counts a call.
func (in *instance) account(began time.Time) {
	if in.metrics == nil {
		return
	}
	in.sample(sampleCalls)
	in.sampling.Lock()
	cpu := in.cpu
	in.cpu = 0
	in.sampling.Unlock()
	in.metrics.Call(in.component, time.Since(began), cpu)
}

// bury makes every later call answer why the instance is dead. The first reason stays.
func (in *instance) bury(why string) {
	in.dead.CompareAndSwap(nil, &plugin.Error{Class: abi.Fatal, Message: why})
}

// died is the error of a call into an instance that is dead, or died in it.
func (in *instance) died(doing string) error {
	e := *in.dead.Load()
	if !in.closed.Load() {
		e.Message = "the plugin broke in " + doing + ": " + e.Message
	}
	return &e
}

// broke buries an instance that does not keep the contract, and kills it.
func (in *instance) broke(doing, what string) error {
	in.bury(what)
	in.process.kill()
	return in.died(doing)
}

// lost says why a call did not come back, and kills the child if it is not over.
func (in *instance) lost(doing string, err error) error {
	t := time.NewTimer(lostGrace)
	defer t.Stop()
	select {
	case <-in.process.over:
		return in.broke(doing, in.process.state)
	case <-t.C:
		return in.broke(doing, status.Convert(err).Message())
	}
}

// Close lets the instance close, and ends the child. The second time it does nothing.
func (in *instance) Close() (err error) {
	in.once.Do(func() { err = in.shut() })
	return err
}

func (in *instance) shut() error {
	var err error
	grace := time.Duration(0)
	if in.dead.Load() == nil {
		grace, err = exitGrace, in.sayClose()
	}
	in.closed.Store(true)
	in.bury("the plugin has been closed")
	in.cancel()
	in.connected.close(grace)
	in.watching.Wait()
	in.calls.close()
	return errors.Join(err, removeAll(in.work))
}

// sayClose has the instance close.
func (in *instance) sayClose() error {
	in.closing.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var answer *pluginpb.CloseResponse
	var err error
	switch in.kind {
	case abi.Source:
		answer, err = pluginpb.NewSourceClient(in.conn).Close(ctx, &pluginpb.CloseRequest{})
	case abi.Sink:
		answer, err = pluginpb.NewSinkClient(in.conn).Close(ctx, &pluginpb.CloseRequest{})
	default:
		answer, err = pluginpb.NewProcessorClient(in.conn).Close(ctx, &pluginpb.CloseRequest{})
	}
	if err != nil {
		return in.lost("close", err)
	}
	in.tell(answer.Last)
	if answer.Status.GetCode() < 0 && abi.Code(answer.Status.Code) != abi.ENOSYS {
		return failed("close", answer.Status)
	}
	return nil
}

// follow passes on what the instance logs and measures.
func (in *instance) follow() {
	stream, err := pluginpb.NewPluginClient(in.conn).Reports(in.ctx, &pluginpb.ReportsRequest{})
	for err == nil {
		var r *pluginpb.Report
		if r, err = stream.Recv(); err == nil {
			in.tell(r)
		}
	}
}

// tell passes on a report, as far as its limits go.
func (in *instance) tell(r *pluginpb.Report) {
	for _, line := range r.GetLines() {
		level := slog.Level(min(max(line.Level, abi.LevelDebug), abi.LevelError))
		if in.log.To.Enabled(in.ctx, level) && in.log.Allow() {
			in.log.To.Log(in.ctx, level, text(line.Text, abi.MaxText))
		}
	}
	for _, m := range r.GetMetrics() {
		name, code := in.plugin.metrics.Admit([]byte(m.Name), int(m.Kind), in.names)
		switch {
		case code == abi.OK && in.metrics != nil && m.Value-m.Value == 0: // neither infinite nor no number
			in.metrics.Plugin(in.component, int(m.Kind), name, m.Value)
		case code == abi.ETOOBIG:
			in.count(plugin.LimitMetrics)
			if in.log.Once("limit " + plugin.LimitMetrics) {
				in.log.To.Warn("plugin is at its limit", slog.String("limit", "limits."+plugin.LimitMetrics),
					slog.String("what", fmt.Sprintf("it reports more than %d metrics, the rest is dropped", in.names)))
			}
		}
	}
}

func (in *instance) count(capability string) {
	if in.metrics != nil {
		in.metrics.Denied(in.component, capability)
	}
}

// failed makes an error of what a plugin answered.
func failed(doing string, s *pluginpb.Status) *plugin.Error {
	code := abi.Code(s.Code)
	message, hint, _ := strings.Cut(text(s.Message, abi.MaxText), "\n")
	return &plugin.Error{
		Class: code.Class(), Code: code, Path: text(s.Path, abi.MaxText), Hint: strings.TrimSpace(hint),
		Message: cmp.Or(message, doing+" answered without saying why"),
		Delay:   abi.Delay(s.DelayMs),
	}
}

// text cuts what a plugin says.
func text(s string, most int) string {
	return strings.ToValidUTF8(s[:min(len(s), most)], "\uFFFD")
}

// rejections checks what a plugin rejects of a batch of so many events.
func rejections(list []*pluginpb.Rejection, events int) ([]plugin.Rejection, error) {
	if len(list) > events {
		return nil, fmt.Errorf("it rejects %d of %d events", len(list), events)
	}
	var out []plugin.Rejection
	for _, r := range list {
		if int(r.Index) >= events || r.Code >= 0 {
			return nil, fmt.Errorf("it rejects event %d of %d with code %d", r.Index, events, r.Code)
		}
		out = append(out, plugin.Rejection{Index: int(r.Index), Code: abi.Code(r.Code), Reason: text(r.Reason, maxReason)})
	}
	return out, nil
}
