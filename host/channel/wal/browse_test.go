// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// browsed is what Browse shows, at most so many events.
func browsed(t *testing.T, dir, reader string, most int) (bodies []string, passed []Damage) {
	t.Helper()
	passed, err := Browse(dir, reader, nil, func(_ event.Offset, e event.Event) bool {
		bodies = append(bodies, string(e.Body))
		return len(bodies) < most
	})
	if err != nil {
		t.Fatal(err)
	}
	return bodies, passed
}

// browsable is a channel of many segments, of which sink.a has committed the first twenty events and one more.
func browsable(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, Options{SegmentSize: 600})
	b.reader("sink.behind")
	r, err := b.c.Reader(channel.ReaderSpec{Name: "sink.a", Order: channel.AnyOrder})
	b.must(err)
	for i, body := range allEvents(36) {
		b.put("source.a", string(rune('a'+i%26)), body)
	}
	for i := range 26 {
		l, err := r.Take(t.Context(), channel.Want{Events: 1})
		b.must(err)
		if i < 20 || i == 25 {
			b.must(l.Commit())
		} else {
			defer l.Rollback()
		}
	}
	return b
}

func TestBrowseShowsWhatWaitsForOneReaderOrAll(t *testing.T) {
	b := browsable(t)
	b.close()
	want := append(allEvents(36)[20:25], allEvents(36)[26:]...)
	for reader, want := range map[string][]string{"": allEvents(36), "sink.behind": allEvents(36), "sink.a": want} {
		if got, passed := browsed(t, b.o.Dir, reader, 99); !slices.Equal(got, want) || len(passed) > 0 {
			t.Errorf("%q: %q, %+v", reader, got, passed)
		}
		if got, _ := browsed(t, b.o.Dir, reader, 3); !slices.Equal(got, want[:3]) {
			t.Errorf("%q: of three it showed %q", reader, got)
		}
	}
	_, err := Browse(b.o.Dir, "sink.none", nil, nil)
	if !errors.Is(err, channel.ErrNoReader) {
		t.Errorf("of a reader that is not there it said %v", err)
	}
}

func TestBrowseLeavesOutWhatIsForAnotherReader(t *testing.T) {
	b := newBench(t, Options{})
	b.reader("sink.a")
	b.reader("sink.b")
	tx, err := b.c.Begin(t.Context())
	b.must(err)
	b.must(tx.Put(channel.Put{Source: "source.a", Batch: batch("for b"), Only: "sink.b"}))
	b.must(tx.Submit()())
	b.put("source.a", "1", "for all")
	b.close()
	for reader, want := range map[string][]string{"": {"for b", "for all"}, "sink.b": {"for b", "for all"}, "sink.a": {"for all"}} {
		if got, _ := browsed(t, b.o.Dir, reader, 99); !slices.Equal(got, want) {
			t.Errorf("%q: %q", reader, got)
		}
	}
}

// TestBrowseGoesAroundDamage and says where it is, but for what a reader has committed, and for a torn tail.
func TestBrowseGoesAroundDamage(t *testing.T) {
	b := browsable(t)
	b.close()
	body, name, at := b.strike()
	got, passed := browsed(t, b.o.Dir, "sink.behind", 99)
	want := slices.DeleteFunc(allEvents(36), func(e string) bool { return e == body })
	if !slices.Equal(got, want) || len(passed) != 1 || passed[0].File != name || passed[0].Offset != at || passed[0].Length == 0 {
		t.Errorf("it showed %q, and passed over %+v", got, passed)
	}
	if got, passed := browsed(t, b.o.Dir, "sink.a", 99); len(got) != 15 || len(passed) > 0 {
		t.Errorf("to who is behind the damage it showed %q, and passed over %+v", got, passed)
	}
	segments := b.segmentFiles()
	last := segments[len(segments)-1]
	data, err := os.ReadFile(last)
	b.must(err)
	b.must(os.WriteFile(last, append(data, 200, 1, 'P', 'S', 'W', '1'), filePerms))
	if _, passed := browsed(t, b.o.Dir, "", 99); len(passed) != 1 {
		t.Errorf("with a torn tail it passed over %+v", passed)
	}
}

func TestBrowseBelievesNoHeaderThatCountsOtherwiseThanTheBatch(t *testing.T) {
	b := newBench(t, Options{})
	b.reader("sink.a")
	b.put("source.a", "1", "one")
	b.put("source.a", "2", "two")
	b.close()
	path := b.segmentFiles()[0]
	data, err := os.ReadFile(path)
	b.must(err)
	all := recordsOf(t, segmentIndex(filepath.Base(path)), data)
	r := all[len(all)-2]
	h := r.header
	h.events = 2
	h.put(data[r.at+r.size-r.length():])
	b.must(os.WriteFile(path, data, filePerms))
	got, passed := browsed(t, b.o.Dir, "", 99)
	if slices.Contains(got, "one") || len(passed) == 0 {
		t.Errorf("it showed %q, and passed over %+v", got, passed)
	}
}

func TestForgetOfAClosedChannelClosesItAgain(t *testing.T) {
	b := browsable(t)
	b.close()
	b.must(Forget(b.o.Dir, "sink.behind"))
	b.open()
	if _, there := b.c.Stats().Readers["sink.behind"]; there {
		t.Error("it is still there")
	}
}
