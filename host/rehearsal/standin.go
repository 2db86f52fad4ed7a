// SPDX-License-Identifier: Apache-2.0

package rehearsal

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// record is an event that came.
type record struct {
	body       string
	attributes map[string]string
}

func recordOf(e event.Event) record {
	r := record{string(e.Body), map[string]string{}}
	for _, a := range e.Attributes {
		r.attributes[strings.Clone(a.Key)] = string(a.Value) // keys are in the memory of the batch
	}
	return r
}

// standIn is what stand-ins have in common as plugins.
type standIn struct{}

func (standIn) Manifest() abi.Manifest { return abi.Manifest{Name: "test", Version: "0.0.0"} }
func (standIn) Digest() string         { return "" }
func (standIn) Close() error           { return nil }

// feeder is the plugin of a source that brings what a test says.
type feeder struct {
	standIn
	batches [][]event.Event
}

func newFeeder(source string, inputs []config.TestInput) *feeder {
	f := &feeder{}
	for _, in := range inputs {
		if in.Source != source {
			continue
		}
		var attributes []event.Attribute
		for _, name := range sortedKeys(in.Attributes) {
			attributes = append(attributes, event.Attribute{Key: name, Value: []byte(in.Attributes[name])})
		}
		var batch []event.Event
		for i, body := range in.Bodies {
			batch = append(batch, event.Event{Time: in.Time.Add(time.Duration(i) * in.Every).UnixNano(), Attributes: attributes, Body: []byte(body)})
			if len(batch) == in.Batch || i == len(in.Bodies)-1 {
				f.batches, batch = append(f.batches, batch), nil
			}
		}
	}
	return f
}

// cursorKey is the entry of a feeder's cursor: how many batches are durable.
const cursorKey = "batches"

// Open implements [plugin.Plugin].
func (f *feeder) Open(_ context.Context, _ abi.Kind, r plugin.Request) (plugin.Instance, error) {
	s := &feed{feeder: f, buffers: r.Buffers}
	if at := r.Cursor[cursorKey]; len(at) == 8 {
		s.next = int(binary.LittleEndian.Uint64(at))
	}
	return plugin.Instance{Source: s}, nil
}

// feed is an instance.
type feed struct {
	*feeder
	buffers event.Buffers
	next    int
	seq     uint64
}

// Read implements [plugin.Source].
func (s *feed) Read(context.Context) (plugin.Emission, error) {
	if s.next >= len(s.batches) {
		return plugin.Emission{}, io.EOF
	}
	var w event.Builder
	for _, e := range s.batches[s.next] {
		if err := w.Append(e); err != nil {
			return plugin.Emission{}, &plugin.Error{Class: abi.Config, Message: "the events of the test do not fit", Err: err}
		}
	}
	b, err := event.Copy(s.buffers, w.Bytes(), event.MaxBatch)
	if err != nil {
		return plugin.Emission{}, &plugin.Error{Class: abi.Config, Message: "the events of the test do not fit", Err: err}
	}
	s.next++
	s.seq++
	return plugin.Emission{Seq: s.seq, Batch: b, Changed: event.Cursor{cursorKey: binary.LittleEndian.AppendUint64(nil, uint64(s.next))}}, nil
}

// Ack implements [plugin.Source].
func (s *feed) Ack(context.Context, uint64, error) error { return nil }

// recorder is the plugin of a sink that takes down what it is given, and behaves as a test says. Its instances may be several.
type recorder struct {
	standIn
	config.TestSink
	transactional bool
	group         *tape // of all members of its group; nil: it is in none

	mu      sync.Mutex
	events  []record
	refused int // deliveries
}

// hopelessAfter is how often a sink must have refused that is down, until nothing more is waited for.
const hopelessAfter = 3

// hopeless says whether it will never take more. A nil recorder is a sink whose own plugin runs.
func (r *recorder) hopeless() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Down && r.refused >= hopelessAfter
}

// down says whether it has refused, and always will.
func (r *recorder) down() bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Down && r.refused > 0
}

// Open implements [plugin.Plugin].
func (r *recorder) Open(context.Context, abi.Kind, plugin.Request) (plugin.Instance, error) {
	return plugin.Instance{Sink: recording{r}}, nil
}

// recording is an instance.
type recording struct{ *recorder }

// Write implements [plugin.Sink].
func (r recording) Write(ctx context.Context, _ event.Range, b event.Batch) (plugin.Outcome, error) {
	select {
	case <-time.After(r.Delay):
	case <-ctx.Done():
		return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "the delivery was not over in time"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Down || r.refused < r.Fail {
		r.refused++
		return plugin.Outcome{}, &plugin.Error{Class: abi.Retry, Message: "the test has it refuse"}
	}
	var out plugin.Outcome
	var good []record
	i := 0
	for _, e := range b.All() {
		if of := recordOf(e); r.Reject != nil && r.Reject.MatchString(of.body) {
			out.Rejected = append(out.Rejected, plugin.Rejection{Index: i, Code: abi.EREJECT, Reason: fmt.Sprintf("the test has it reject %s", r.Reject)})
		} else {
			good = append(good, of)
		}
		i++
	}
	if len(out.Rejected) > 0 && r.transactional {
		return out, plugin.ErrRejected
	}
	r.events = append(r.events, good...)
	r.group.add(good)
	return out, nil
}
