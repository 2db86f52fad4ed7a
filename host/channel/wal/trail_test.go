// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// offsetOf finds the event with that body.
func offsetOf(t *testing.T, dir, body string) (at event.Offset) {
	t.Helper()
	_, err := Browse(dir, "", nil, func(o event.Offset, e event.Event) bool {
		at = o
		return string(e.Body) != body
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// follow must succeed.
func follow(t *testing.T, dir string, o event.Offset) Trail {
	t.Helper()
	trail, err := Follow(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

// fates are those of an event, by reader.
func fates(trail Trail) map[string]Fate {
	all := map[string]Fate{}
	for _, s := range trail.Standings {
		all[s.Reader] = s.Fate
	}
	return all
}

func TestFollowFindsThePutAndWhereItStands(t *testing.T) {
	b := browsable(t)
	for i, body := range allEvents(36) { // while the channel is in use
		o := offsetOf(t, b.o.Dir, body)
		trail := follow(t, b.o.Dir, o)
		p := trail.Put
		if p == nil || trail.Opening == nil || trail.Damage != nil || string(p.Event.Body) != body || p.Range != (event.Range{First: o, Next: o + 1}) || p.Committed.IsZero() {
			t.Fatalf("of %s it finds %+v: %+v", body, trail, p)
		}
		if len(p.Sources) != 1 || p.Sources[0].Source != "source.a" || len(p.Sources[0].Changed) != 1 || trail.Opening.First > o {
			t.Errorf("of %s it finds the sources %+v in %+v", body, p.Sources, trail.Opening)
		}
		if i == 0 && trail.First != o {
			t.Errorf("the oldest is %d, and it says %d", o, trail.First)
		}
	}
	b.close()
	for body, want := range map[int]Fate{0: Done, 19: Done, 20: Waits, 24: Waits, 25: Done, 26: Waits, 35: Waits} {
		trail := follow(t, b.o.Dir, offsetOf(t, b.o.Dir, allEvents(36)[body]))
		if got := fates(trail); got["sink.a"] != want || got["sink.behind"] != Waits || len(got) != 2 {
			t.Errorf("of event %d: %v", body, got)
		}
	}
	last := follow(t, b.o.Dir, offsetOf(t, b.o.Dir, allEvents(36)[35]))
	if a, behind := last.Standings[0], last.Standings[1]; a.Before != 14 || behind.Before != 35 || a.Stream == "" || a.Low == 0 {
		t.Errorf("the last one stands at %+v", last.Standings)
	}
}

func TestFollowSaysWhatIsNotThere(t *testing.T) {
	b := newBench(t, Options{SegmentSize: 600})
	r := b.reader("sink.a")
	for i, body := range allEvents(20) {
		b.put("source.a", fmt.Sprint(i), body)
	}
	first := r.Info().Low
	b.drained(r, allEvents(20)...)
	b.open()
	next := first + 20
	b.put("source.a", "x", "after")
	b.close()
	info, err := Inspect(b.o.Dir)
	b.must(err)
	if info.First <= first || info.First > info.Next-1 {
		t.Fatalf("nothing has left the log: %+v", info)
	}
	for o, given := range map[event.Offset]bool{first: true, info.First - 1: info.First-1 < next, next: false, info.Next - 1: true, info.Next: false, 1 << 60: false} {
		trail := follow(t, b.o.Dir, o)
		if there := o >= info.First && given; (trail.Opening != nil) != given || (trail.Put != nil) != there || trail.Damage != nil {
			t.Errorf("of offset %d: %+v, put %+v", o, trail.Opening, trail.Put)
		}
	}
	if _, err := Follow(t.TempDir(), 1); err == nil {
		t.Error("it follows where there is no channel")
	}
}

func TestFollowKnowsForWhomAnEventIs(t *testing.T) {
	b := newBench(t, Options{})
	b.reader("sink.a")
	b.reader("sink.b")
	for i := range uint32(2) {
		_, err := b.c.Reader(channel.ReaderSpec{Name: fmt.Sprintf("sink.l/%d", i), Lane: channel.Lane{Key: "k", Index: i, Count: 2}})
		b.must(err)
	}
	tx, err := b.c.Begin(t.Context())
	b.must(err)
	b.must(tx.Put(channel.Put{Source: "dead.replay", Batch: batch("for b"), Only: "sink.b"}))
	b.must(tx.Submit()())
	b.put("source.a", "1", "for all")
	_, err = b.c.Reader(channel.ReaderSpec{Name: "sink.late", Start: channel.Now})
	b.must(err)
	b.must(b.c.Handover([]string{"sink.a"}, []channel.ReaderSpec{{Name: "sink.new"}}))
	b.put("source.a", "2", "later")
	b.close()
	for body, want := range map[string]map[string]Fate{
		"for b":   {"sink.a": ForOther, "sink.b": Waits, "sink.late": ForOther, "sink.new": ForOther},
		"for all": {"sink.a": Waits, "sink.b": Waits, "sink.late": Earlier, "sink.new": Earlier},
		"later":   {"sink.a": ForOther, "sink.b": Waits, "sink.late": Waits, "sink.new": Waits},
	} {
		trail := follow(t, b.o.Dir, offsetOf(t, b.o.Dir, body))
		got := fates(trail)
		if lanes := []Fate{got["sink.l/0"], got["sink.l/1"]}; body != "for b" && (slices.Max(lanes) != ForOther || slices.Min(lanes) != Waits) {
			t.Errorf("%s in lanes: %v", body, lanes)
		}
		for reader, fate := range want {
			if got[reader] != fate {
				t.Errorf("%s for %s: %d, want %d", body, reader, got[reader], fate)
			}
		}
		if trail.Put.Only != map[string]string{"for b": "sink.b"}[body] {
			t.Errorf("%s is only for %q", body, trail.Put.Only)
		}
	}
}

func TestFollowNamesTheMemberAndWhatWasGivenUp(t *testing.T) {
	b := newBench(t, Options{})
	g, err := b.c.Reader(channel.ReaderSpec{Name: "sink_group.g", Order: channel.AnyOrder})
	b.must(err)
	b.reader("sink.purged")
	for i := range 4 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	l, err := g.Take(t.Context(), channel.Want{Events: 2, Member: "sink.first"})
	b.must(err)
	l.Rollback()
	r := b.c.readers["sink.purged"]
	l, err = r.Take(t.Context(), channel.Want{Events: 1})
	b.must(err)
	b.must(l.Commit())
	b.must(r.Close())
	_, err = b.c.Purge("sink.purged")
	b.must(err)
	b.put("source.a", "x", "last")
	b.close()
	for body, drops := range map[string]int{"event 0": 0, "event 1": 1, "event 3": 1, "last": 0} {
		trail := follow(t, b.o.Dir, offsetOf(t, b.o.Dir, body))
		if len(trail.Drops) != drops || drops > 0 && (trail.Drops[0].Loss != channel.LostPurge || trail.Drops[0].Reader != "sink.purged" || trail.Drops[0].Events != 3) {
			t.Errorf("%s: given up: %+v", body, trail.Drops)
		}
		member := ""
		if body == "event 0" || body == "event 1" {
			member = "sink.first"
		}
		for _, s := range trail.Standings {
			if s.Reader == "sink_group.g" && (s.Fate != Waits || s.Member != member && body != "event 3" && body != "last") {
				t.Errorf("%s of the group: %+v", body, s)
			}
		}
	}
}

// TestFollowGoesAroundDamage and says where it is, of the event that it struck alone; when it is mended, too.
func TestFollowGoesAroundDamage(t *testing.T) {
	b := browsable(t)
	b.close()
	at := map[string]event.Offset{}
	for _, body := range allEvents(36) {
		at[body] = offsetOf(t, b.o.Dir, body)
	}
	struck, name, place := b.strike()
	look := func() {
		t.Helper()
		for body, o := range at {
			trail := follow(t, b.o.Dir, o)
			if body != struck && (trail.Put == nil || string(trail.Put.Event.Body) != body || trail.Damage != nil) {
				t.Errorf("of %s beside the damage: %+v, put %+v", body, trail.Damage, trail.Put)
			}
			if d := trail.Damage; body == struck && (trail.Put != nil || d == nil || d.File != name || d.Offset != place && !errors.Is(d, errMended)) {
				t.Errorf("of the event that is damaged: %+v, put %+v", d, trail.Put)
			}
		}
	}
	look()
	_, err := Repair(b.o.Dir, false, nil)
	b.must(err)
	look()
	if d := follow(t, b.o.Dir, at[struck]).Damage; d == nil || !errors.Is(d, errMended) {
		t.Errorf("when it is mended: %+v", d)
	}
}

func TestFollowBelievesNoHeaderThatCountsOtherwiseThanTheBatch(t *testing.T) {
	b := newBench(t, Options{})
	b.reader("sink.a")
	b.put("source.a", "1", "one")
	at := offsetOf(t, b.o.Dir, "one")
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
	if trail, err := Follow(b.o.Dir, at); err == nil && (trail.Put != nil || trail.Damage == nil) {
		t.Errorf("it finds %+v", trail.Put)
	}
}
