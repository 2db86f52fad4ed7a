// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/host/admin"
)

// benchPlan is one thing to measure: a path of events through one kind of channel.
type benchPlan struct {
	Path       string // "generate" (generate → channel → discard), "file" (file → channel → file) or "tcp" (tcp → channel → tcp)
	Channel    string // "wal" or "memory"
	Durability string // of wal
	Events     int
	Size       int         // of a body, bytes
	Plugin     benchPlugin // of path tcp
	peers      *peers      // of one run of it
}

// benchResult is what one run showed.
type benchResult struct {
	Path    string `json:"path"`
	Channel string `json:"channel"`
	Level   string `json:"durability,omitempty"` // of the channel
	Events  int    `json:"events"`
	Size    int    `json:"size_bytes"`

	EventsPerSecond   float64 `json:"events_per_second"`
	MBPerSecond       float64 `json:"mb_per_second"` // of bodies
	CPUSecondsPerM    float64 `json:"cpu_seconds_per_million"`
	AllCPUSecondsPerM float64 `json:"cpu_seconds_per_million_with_peers,omitempty"` // on path tcp: the sender and the receiver too
	PeakRSSBytes      int64   `json:"peak_rss_bytes"`
	Fsyncs            uint64  `json:"fsyncs"`
	CommitP50Seconds  float64 `json:"commit_p50_seconds"`
	CommitP99Seconds  float64 `json:"commit_p99_seconds"`
	FsyncP50Seconds   float64 `json:"fsync_p50_seconds"`   // as the channel saw it
	FirstEventSeconds float64 `json:"first_event_seconds"` // from the start of the process until a sink has delivered one
}

// channel names the channel, with its level.
func (r benchResult) channel() string { return strings.TrimSpace(r.Channel + " " + r.Level) }

// config writes the pipeline of a plan.
func (p benchPlan) config(dir string) string {
	source := fmt.Sprintf("source \"generate\" \"in\" {\n  into = channel.main\n  config {\n    count = %d\n    size  = \"%dB\"\n  }\n}\n", p.Events, p.Size)
	sink := "sink \"discard\" \"out\" {\n  from = channel.main\n}\n"
	if p.Path == "file" {
		source = fmt.Sprintf("source \"file\" \"in\" {\n  into = channel.main\n  config { paths = [%q] }\n}\n", filepath.Join(dir, "in.log"))
		sink = fmt.Sprintf("sink \"file\" \"out\" {\n  from = channel.main\n  config { path = %q }\n}\n", filepath.Join(dir, "out.log"))
	}
	plugins := ""
	if p.Path == "tcp" {
		plugins, source, sink = p.Plugin.blocks("tcp://"+p.peers.agent, "tcp://"+p.peers.listener.Addr().String())
	}
	level := ""
	if p.Durability != "" {
		level = fmt.Sprintf("  durability = %q\n", p.Durability)
	}
	return fmt.Sprintf("agent \"bench\" {\n  data_dir = %q\n}\n\nchannel %q \"main\" {\n  capacity = \"1GiB\"\n%s}\n\n%s%s\n%s",
		filepath.Join(dir, "data"), p.Channel, level, plugins, source, sink)
}

// measure runs the plan once, with `penstock run` in a process of its own. dir is emptied first, except of
// the modules that were compiled before.
func (p benchPlan) measure(ctx context.Context, dir string) (r benchResult, err error) {
	if err := p.prepare(dir); err != nil {
		return r, err
	}
	if p.Path == "tcp" {
		if p.peers, err = newPeers(); err != nil {
			return r, err
		}
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(ctx)
		before := ownCPU()
		p.peers.run(ctx, p.Events, p.Size)
		defer func() {
			if err != nil {
				stop()
			}
			err = errors.Join(err, p.peers.wait(p.Events))
			stop()
			r.AllCPUSecondsPerM = r.CPUSecondsPerM + (ownCPU()-before).Seconds()/float64(p.Events)*1e6
		}()
	}
	file := filepath.Join(dir, "bench.hcl")
	if err := os.WriteFile(file, []byte(p.config(dir)), 0o600); err != nil {
		return r, err
	}
	return p.runAgent(ctx, dir, file)
}

// prepare empties dir, and writes what is to be read.
func (p benchPlan) prepare(dir string) error {
	for _, name := range []string{"data/channels", "in.log", "out.log", "out.log.penstock"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	if p.Path == "file" {
		return writeLines(filepath.Join(dir, "in.log"), p.Events, p.Size)
	}
	return nil
}

// runAgent runs the pipeline file until all events have gone through.
func (p benchPlan) runAgent(ctx context.Context, dir, file string) (benchResult, error) {
	self, err := os.Executable()
	if err != nil {
		return benchResult{}, err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "run", file, "--http", "off")
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return benchResult{}, err
	}
	alive, died := context.WithCancelCause(ctx)
	exited := make(chan error, 1) // one value, when the process has ended
	go func() {
		err := cmd.Wait()
		died(errors.New("it ended by itself"))
		exited <- err
	}()
	r, err := p.watch(alive, start, filepath.Join(dir, "data"))
	if err == nil {
		err = cmd.Process.Signal(syscall.SIGTERM)
	} else {
		err = errors.Join(err, ignoreDone(cmd.Process.Kill()))
	}
	err = errors.Join(err, <-exited)
	if err != nil {
		return benchResult{}, fmt.Errorf("run of %s → %s: %w\n%s", p.Path, p.Channel, err, tailOf(said.Bytes()))
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	r.PeakRSSBytes = usage.Maxrss << maxrssShift
	r.CPUSecondsPerM = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() / float64(p.Events) * 1e6
	return r, nil
}

// ignoreDone forgives that a process has ended before it was told to.
func ignoreDone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// tailOf cuts what a process said to what fits a screen.
func tailOf(b []byte) []byte { return b[max(0, len(b)-2000):] }

// watch asks the agent until the sink has delivered everything, and times it from the first event on.
func (p benchPlan) watch(ctx context.Context, start time.Time, data string) (benchResult, error) {
	const poll = 2 * time.Millisecond
	r := benchResult{Path: p.Path, Channel: p.Channel, Level: p.Durability, Events: p.Events, Size: p.Size}
	var first time.Time
	var before uint64
	for {
		if ctx.Err() != nil {
			return r, context.Cause(ctx)
		}
		s, err := admin.Ask(ctx, data)
		if err != nil && time.Since(start) > 30*time.Second {
			return r, err
		}
		done, read := counted(s)
		if first.IsZero() && read > 0 {
			first, before = time.Now(), done
		}
		if r.FirstEventSeconds == 0 && done > 0 {
			r.FirstEventSeconds = time.Since(start).Seconds()
		}
		if done >= uint64(p.Events) {
			took := time.Since(first).Seconds()
			r.EventsPerSecond = float64(done-before) / took
			r.MBPerSecond = r.EventsPerSecond * float64(p.Size) / 1e6
			return r, p.histograms(ctx, data, &r)
		}
		time.Sleep(poll)
	}
}

// counted reads how many events were delivered, and how many were read.
func counted(s admin.Status) (delivered, read uint64) {
	for _, c := range s.Components {
		switch c.Kind {
		case "sink":
			delivered += c.Events
		case "source":
			read += c.Events + c.Waiting
		}
	}
	return delivered, read
}

// histograms reads from the agent's own metrics what only it can know.
func (p benchPlan) histograms(ctx context.Context, data string, r *benchResult) error {
	text, err := admin.AskMetrics(ctx, data)
	if err != nil {
		return err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read metrics: %w", err)
	}
	commit, fsync := histogramOf(families["penstock_channel_commit_seconds"]), histogramOf(families["penstock_channel_fsync_seconds"])
	r.CommitP50Seconds, r.CommitP99Seconds = quantile(commit, .5), quantile(commit, .99)
	r.FsyncP50Seconds, r.Fsyncs = quantile(fsync, .5), fsync.GetSampleCount()
	return nil
}

func histogramOf(f *dto.MetricFamily) *dto.Histogram {
	if f == nil || len(f.Metric) == 0 {
		return nil
	}
	return f.Metric[0].GetHistogram()
}

// quantile reads a quantile off classic buckets, in a straight line within one.
func quantile(h *dto.Histogram, q float64) float64 {
	rank := q * float64(h.GetSampleCount())
	low, below := 0.0, 0.0
	for _, b := range h.GetBucket() {
		if n := float64(b.GetCumulativeCount()); n >= rank && n > 0 {
			if math.IsInf(b.GetUpperBound(), 1) {
				return low
			}
			return low + (b.GetUpperBound()-low)*(rank-below)/(n-below)
		}
		low, below = b.GetUpperBound(), float64(b.GetCumulativeCount())
	}
	return low
}

// writeLines writes a log of n lines of size bytes, newline not counted.
func writeLines(path string, n, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	line := make([]byte, 0, size+1)
	for i := range n {
		line = appendLine(line[:0], i, size)
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync() // so that its way to the disk is not in what is measured
}

// appendLine appends line number n, of size bytes and a newline.
func appendLine(dst []byte, n, size int) []byte {
	end := len(dst) + size
	dst = append(dst, "2026-07-01T12:00:00.000Z INFO  checkout[4242] order accepted seq="...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	for at := 0; len(dst) < end; at++ {
		dst = append(dst, benchFiller[at%len(benchFiller)])
	}
	return append(dst[:end], '\n')
}

const benchFiller = ` user="j.doe@example.com" path=/api/v1/orders status=201 duration_ms=12.5 trace=4bf92f3577b34da6a3ce929d0e0e4736`

// diskFsync is the median time that the disk below dir takes to make a block of 4 KiB durable.
func diskFsync(dir string) (time.Duration, error) {
	const tries = 101
	f, err := os.CreateTemp(dir, "fsync")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	var times []time.Duration
	for range tries {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		start := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[tries/2], nil
}

// median of each figure on its own.
func median(runs []benchResult) benchResult {
	m := runs[0]
	of := func(f func(*benchResult) *float64) {
		values := make([]float64, len(runs))
		for i := range runs {
			values[i] = *f(&runs[i])
		}
		slices.Sort(values)
		*f(&m) = values[len(values)/2]
	}
	of(func(r *benchResult) *float64 { return &r.EventsPerSecond })
	of(func(r *benchResult) *float64 { return &r.MBPerSecond })
	of(func(r *benchResult) *float64 { return &r.CPUSecondsPerM })
	of(func(r *benchResult) *float64 { return &r.AllCPUSecondsPerM })
	of(func(r *benchResult) *float64 { return &r.CommitP50Seconds })
	of(func(r *benchResult) *float64 { return &r.CommitP99Seconds })
	of(func(r *benchResult) *float64 { return &r.FsyncP50Seconds })
	of(func(r *benchResult) *float64 { return &r.FirstEventSeconds })
	for _, r := range runs {
		m.PeakRSSBytes = max(m.PeakRSSBytes, r.PeakRSSBytes)
	}
	return m
}

// benchTable prints results for people, and how the first of each path compares with the others.
func benchTable(results []benchResult) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%-10s %-19s %12s %9s %9s %9s %8s %11s %11s\n", "path", "channel", "events/s", "MB/s", "CPU-s/M", "RSS MB", "fsyncs", "commit p50", "commit p99")
	for _, r := range results {
		fmt.Fprintf(&s, "%-10s %-19s %12.0f %9.0f %9.2f %9d %8d %11s %11s\n", r.Path, r.channel(), r.EventsPerSecond, r.MBPerSecond,
			r.CPUSecondsPerM, r.PeakRSSBytes>>20, r.Fsyncs, millis(r.CommitP50Seconds), millis(r.CommitP99Seconds))
	}
	return s.String()
}

// ownCPU is the processor time that this process has had.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func millis(seconds float64) string { return fmt.Sprintf("%.2f ms", seconds*1e3) }
