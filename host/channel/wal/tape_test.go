// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// forge changes the last record of the segment that is being written, whose size stays, and gives it right checksums.
func (b *bench) forge(change func(h *header, body []byte) []byte) (where string) {
	b.Helper()
	for len(b.c.ring.list) > 0 {
		b.c.ring.drop()
	}
	path := b.segmentFiles()[0]
	data, err := os.ReadFile(path)
	b.must(err)
	all := recordsOf(b.T, segmentIndex(filepath.Base(path)), data)
	last := all[len(all)-1]
	h, tlv := last.header, last.storedTLV()
	body := change(&h, last.storedBody())
	h.body, h.raw, h.bodyCRC = uint32(len(body)), uint32(len(body)), checksum(body)
	record := append(append(make([]byte, headerSize), body...), tlv...)
	h.put(record)
	clear(data[last.at:])
	copy(data[last.at:], segmentOf(record))
	b.must(os.WriteFile(path, data, filePerms))
	return fmt.Sprintf("%s/%s at byte ", logDir, filepath.Base(path))
}

// TestARecordThatIsNotWhatTheChannelKnowsOfItStopsTheReader whatever its checksums say: it is told where that is.
func TestARecordThatIsNotWhatTheChannelKnowsOfItStopsTheReader(t *testing.T) {
	for name, change := range map[string]func(h *header, body []byte) []byte{
		"a body that is no batch": func(_ *header, _ []byte) []byte { return []byte("no batch") },
		"an event too many":       func(h *header, body []byte) []byte { h.events++; return body },
		"an event too few":        func(h *header, body []byte) []byte { h.events = 1; return body },
	} {
		b := newBench(t, Options{})
		r := b.reader("sink.a")
		b.put("source.a", "1", "event 1", "event 2")
		l, err := r.Take(t.Context(), channel.Want{Events: 1})
		b.must(err)
		b.must(l.Commit())
		where := b.forge(change)
		got, err := drain(r)
		if _, damage := errors.AsType[*Damage](err); !damage || !strings.Contains(err.Error(), where) {
			t.Errorf("%s: it got %q, and %v", name, got, err)
		}
		b.must(b.c.Close())
		b.c = nil
	}
}

// TestDamageInWhatIsCommittedStopsNobody: it is passed over, and not read.
func TestDamageInWhatIsCommittedStopsNobody(t *testing.T) {
	b, body, _, _ := struck(t, Stop)
	var n int
	_, err := fmt.Sscanf(body, "event %d", &n)
	b.must(err)
	r := b.reader("sink.behind")
	low := r.Info().Low
	b.must(r.Finish(event.Range{First: low, Next: low + event.Offset(n) + 1}))
	b.drained(r, allEvents(36)[n+1:]...)
}

// TestWhatIsTakenAgainIsNoCopy, though more has come since, which is for the next lease.
func TestWhatIsTakenAgainIsNoCopy(t *testing.T) {
	b := newBench(t, Options{})
	r := b.reader("sink.a")
	b.put("source.a", "1", "event 1")
	l, err := r.Take(t.Context(), channel.Want{})
	b.must(err)
	first := l.Delivery().Batch.Buffer()
	l.Rollback()
	b.put("source.a", "2", "event 2")
	l, err = r.Take(t.Context(), channel.Want{})
	b.must(err)
	if d := l.Delivery(); d.Batch.Buffer() != first || d.Batch.Len() != 1 {
		t.Errorf("%d events, in their own memory %v", d.Batch.Len(), d.Batch.Buffer() == first)
	}
	b.must(l.Commit())
}

// TestWhatIsNotInMemoryAnyMoreComesFromTheLogAndFirst, though what follows it is in memory.
func TestWhatIsNotInMemoryAnyMoreComesFromTheLogAndFirst(t *testing.T) {
	all := emptyLane()
	all.Index = 1 - all.Index // every event that has no attributes is in it
	for name, lane := range map[string]channel.Lane{"a reader of all": {}, "a lane": all} {
		b := newBench(t, Options{})
		r, err := b.c.Reader(channel.ReaderSpec{Name: "sink.a", Lane: lane})
		b.must(err)
		for i, body := range allEvents(3) {
			b.put("source.a", fmt.Sprint(i), body)
		}
		b.c.ring.drop()
		if got, err := drain(r); err != nil || !slices.Equal(got, allEvents(3)) {
			t.Errorf("%s got %q, %v", name, got, err)
		}
	}
}
