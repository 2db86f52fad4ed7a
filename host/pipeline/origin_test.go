// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// originated runs a source of one batch whose events are given an origin, and tells that of each, with its body.
func originated(t *testing.T, keep bool, through []Processor, b event.Batch) (list []string) {
	t.Helper()
	c := memory.New(memory.Options{})
	defer c.Close()
	s := newSource(&trace{read: func(n int) (plugin.Emission, error) {
		if n > 1 {
			return plugin.Emission{}, io.EOF
		}
		return plugin.Emission{Seq: 1, Batch: b}, nil
	}})
	s.Channel, s.Through, s.Buffers, s.Origin = c, through, event.Heap{}, &Origin{Agent: "edge-1", Keep: keep}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := c.Reader(channel.ReaderSpec{Name: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lease, err := r.Take(t.Context(), channel.Want{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range lease.Delivery().Batch.All() {
		stream, _ := e.Attribute(event.OriginStream)
		number, _ := e.Attribute(event.OriginNumber)
		list = append(list, string(stream)+" "+string(number)+" "+string(e.Body))
	}
	return list
}

func TestEachEventThatIsPutHasAnOriginOfItsOwn(t *testing.T) {
	w, _ := new(worker).at(Stop)
	run := regexp.MustCompile(`^edge-1/source\.a/[0-9a-f]{16} `)
	var runs []string
	for range 2 {
		got := originated(t, false, []Processor{w}, encode(t, "a", "double", "drop", "b"))
		for i, each := range got {
			if !run.MatchString(each) {
				t.Fatalf("it is of %q", each)
			}
			runs = append(runs, run.FindString(each))
			got[i] = run.ReplaceAllString(each, "")
		}
		if want := []string{"0 a+", "1 double", "2 double", "3 b+"}; strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("they are %q", got)
		}
	}
	if slices.Sort(runs); len(slices.Compact(runs)) != 2 {
		t.Errorf("the runs are %q", runs)
	}
}

func TestAnOriginIsKeptOfWhatAnotherAgentSendsAlone(t *testing.T) {
	var w event.Builder
	had := []event.Attribute{{Key: event.OriginStream, Value: []byte("other/source.x/1")}, {Key: event.OriginNumber, Value: []byte("9")}}
	if err := errors.Join(w.Append(event.Event{Attributes: had, Body: []byte("a")}), w.Append(event.Event{Body: []byte("b")})); err != nil {
		t.Fatal(err)
	}
	if got := originated(t, true, nil, w.Batch()); len(got) != 2 || got[0] != "other/source.x/1 9 a" || !strings.HasPrefix(got[1], "edge-1/") || !strings.HasSuffix(got[1], " 0 b") {
		t.Errorf("kept: %q", got)
	}
	if got := originated(t, false, nil, w.Batch()); len(got) != 2 || !strings.HasPrefix(got[0], "edge-1/") || !strings.HasPrefix(got[1], "edge-1/") {
		t.Errorf("of a plugin: %q", got)
	}
}
