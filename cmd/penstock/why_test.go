// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// TestWhyOfWhatIsNotThereAnyMore has segments so small that events leave the log, which takes gigabytes otherwise.
func TestWhyOfWhatIsNotThereAnyMore(t *testing.T) {
	t.Chdir(t.TempDir())
	data, err := filepath.Abs("data")
	if err != nil {
		t.Fatal(err)
	}
	ch, err := wal.Open(wal.Options{Dir: agent.ChannelDir(data, "main"), SegmentSize: 600})
	if err != nil {
		t.Fatal(err)
	}
	fillAndPurge(t, ch)
	why := func(arg string, code int, want ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), []string{"why", arg, "--data-dir", data}, nil, &out, &errs); got != code {
			t.Errorf("why %s ends with %d, want %d", arg, got, code)
		}
		for _, text := range want {
			if !strings.Contains(out.String()+errs.String(), text) {
				t.Errorf("why %s does not say %q:\n%s%s", arg, text, &out, &errs)
			}
		}
	}
	info, err := wal.Inspect(agent.ChannelDir(data, "main"))
	if err != nil || info.First < 2 || info.First+2 > info.Next {
		t.Fatalf("%+v, %v", info, err)
	}
	why("main/0", 0, "the event 0 of channel.main has left the log, since all its sinks are past it; the oldest that is there is "+fmt.Sprint(uint64(info.First)))
	why(fmt.Sprintf("main/%d", info.First), 0, "from      source.a, and its cursor with that put: at = ", "sink.slow  given up  purge, offsets ")
	why(fmt.Sprintf("main/%d", info.Next-1), 0, "sink.slow  waiting  0 events before it; no agent runs")
	why(fmt.Sprintf("main/%d", info.Next), 2, "and never had")
}

// fillAndPurge puts events of which most leave the log again, since one reader has them and the other has given them up; the last one waits.
func fillAndPurge(t *testing.T, ch *wal.Channel) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	slow, err := ch.Reader(channel.ReaderSpec{Name: "sink.slow"})
	must(err)
	must(slow.Close())
	put := func(i int) {
		b := &event.Builder{}
		must(b.Append(event.Event{Body: fmt.Appendf(nil, "event %d", i)}))
		tx, err := ch.Begin(t.Context())
		must(err)
		must(tx.Put(channel.Put{Source: "source.a", Batch: b.Batch(), Changed: event.Cursor{"at": fmt.Appendf(nil, "line %d", i)}}))
		must(tx.Submit()())
	}
	for i := range 40 {
		put(i)
	}
	_, err = ch.Purge("sink.slow")
	must(err)
	put(40)
	must(ch.Close())
}

func TestALetterOfAMemberIsOneOfItsGroupThoughItIsNoMemberAnyMore(t *testing.T) {
	q := &inquiry{traced: traced{Letters: []tracedLetter{{letter: letter{Keeper: "channel.rejected", Component: "sink.a", Group: "sink_group.g"}}}}}
	for reader, want := range map[string]string{"sink_group.g": sinkLetter, "sink.a": sinkCommitted} {
		var s tracedSink
		if q.done(&s, wal.Standing{}, reader, "", false); s.State != want {
			t.Errorf("to %s it is %s, want %s", reader, s.State, want)
		}
	}
}
