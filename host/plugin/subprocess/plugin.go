// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// openTimeout is how long an instance may take to open: a sink that connects and reads what it holds, in a slow database.
const openTimeout = time.Minute

// Plugin is one binary. Its methods may be called by many goroutines.
type Plugin struct {
	runtime  *Runtime
	name     string
	path     string
	args     []string
	manifest abi.Manifest
	digest   string
	stat     identity
	script   bool   // an interpreter runs it, where it lies
	private  string // the copy of the binary that is run, or "": it is run where it is
	metrics  *report.Metrics
}

var _ plugin.Plugin = (*Plugin)(nil)

// Manifest says what the binary holds.
func (p *Plugin) Manifest() abi.Manifest { return p.manifest }

// Digest is the sha256 of the binary, in hex.
func (p *Plugin) Digest() string { return p.digest }

// Close removes the private copy of the binary, if nobody else runs it.
func (p *Plugin) Close() error { return p.runtime.copies.give(p.private) }

// Open starts a child and opens an instance in it. It takes some 30 ms for a small Go program. Errors are *plugin.Error, or ctx's.
func (p *Plugin) Open(ctx context.Context, kind abi.Kind, open plugin.Request) (plugin.Instance, error) {
	if _, ok := p.manifest.Find(kind, open.Plugin); !ok {
		return plugin.Instance{}, &plugin.Error{
			Class: abi.Config, Code: abi.EINVAL,
			Message: fmt.Sprintf("plugin %q has no %s %q", p.name, kind, open.Plugin),
			Hint:    fmt.Sprintf("`penstock plugin inspect %s` lists what it has", p.name),
		}
	}
	if open.Log == nil {
		open.Log = slog.New(slog.DiscardHandler)
	}
	in := p.newInstance(kind, open)
	work, err := os.MkdirTemp(p.runtime.room, "work-")
	if err != nil {
		return plugin.Instance{}, &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: "make a working directory: " + err.Error(), Err: err}
	}
	in.work = work
	if in.connected, err = p.connect(ctx, kind, open, work, in.stdout, in.stderr); err != nil {
		return plugin.Instance{}, errors.Join(err, removeAll(work))
	}
	in.supervise()
	in.calls = newCalls(in, open)
	in.dials.serve(in.process.cmd.Process.Pid, in.calls.Denied)
	made, err := in.open(ctx, open)
	if err != nil {
		_ = in.Close() // what there is to say has been said
		return plugin.Instance{}, err
	}
	return made, nil
}

// open opens the instance and its stream.
func (in *instance) open(ctx context.Context, open plugin.Request) (made plugin.Instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := in.calls.begin(); err != nil {
		return made, err
	}
	request := requestOf(open, in.limit)
	var answer *pluginpb.OpenResponse
	switch in.kind {
	case abi.Source:
		answer, err = pluginpb.NewSourceClient(in.conn).Open(ctx, request)
	case abi.Sink:
		answer, err = pluginpb.NewSinkClient(in.conn).Open(ctx, request)
	default:
		answer, err = pluginpb.NewProcessorClient(in.conn).Open(ctx, request)
	}
	if err != nil {
		return made, in.lost("open", err)
	}
	if answer.Status.GetCode() < 0 {
		return made, failed("open", answer.Status)
	}
	switch in.kind {
	case abi.Source:
		made.Source, err = newSource(in, open, answer.Acks)
	case abi.Sink:
		if made.Held, err = heldOf(answer.Held); err != nil {
			return made, in.broke("open", err.Error())
		}
		made.Sink, err = newSink(in, answer.Prunes)
	default:
		made.Processor, err = newProcessor(in)
	}
	return made, err
}

// requestOf is what an instance is opened with, as a message.
func requestOf(open plugin.Request, limit int) *pluginpb.OpenRequest {
	config := open.Config
	if len(config) == 0 {
		config = []byte("{}")
	}
	r := &pluginpb.OpenRequest{
		Plugin: open.Plugin, Config: config, Index: uint32(open.Instance.Index), Count: uint32(open.Instance.Count),
		Component: open.Component, Cursor: open.Cursor, Stream: open.Stream, Secrets: open.Grants.Secrets,
		Limits: &pluginpb.Limits{BatchEvents: uint32(cmp.Or(open.Limits.BatchEvents, defaultEvents)), BatchBytes: uint32(limit)},
	}
	for _, inc := range open.Incarnations {
		r.Incarnations = append(r.Incarnations, &pluginpb.Incarnation{Id: inc.ID, First: inc.First})
	}
	for _, d := range open.Dirs {
		r.Directories = append(r.Directories, &pluginpb.Directory{Path: d.Path, Write: d.Write})
	}
	return r
}

// maxHeld is how many ranges a sink may report in open: they are few where the sink joins neighbours.
const maxHeld = 1 << 16

func heldOf(ranges []*pluginpb.Held) ([]plugin.Held, error) {
	if len(ranges) > maxHeld {
		return nil, fmt.Errorf("it reports %d ranges that its destination holds, and %d are the most", len(ranges), maxHeld)
	}
	var held []plugin.Held
	for _, h := range ranges {
		r := event.Range{First: event.Offset(h.First), Next: event.Offset(h.Next)}
		if r.Empty() {
			return nil, fmt.Errorf("it reports the range %v as held", r)
		}
		held = append(held, plugin.Held{Incarnation: h.Incarnation, Range: r})
	}
	return held, nil
}
