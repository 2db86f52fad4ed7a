// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/spec/event"
)

// storied is a disk with a channel of many small segments, opened three times, of which sink.behind has
// read nothing; and the bodies by record. With a key it is sealed.
func storied(t *testing.T, keys ...Key) (d *simDisk, bodies map[uint64]string) {
	t.Helper()
	o := Options{SegmentSize: 900}
	if len(keys) > 0 {
		o.Key, o.Compression = &keys[0], S2
	}
	b := newBench(t, o)
	b.reader("sink.behind")
	for i := range 40 {
		if i%10 == 9 {
			b.open()
		}
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d, which is told at some length", i))
	}
	b.close()
	d = b.inMemory()
	for _, name := range []string{positionName("sink.behind"), cleanFile} {
		data, err := os.ReadFile(b.path(name))
		b.must(err)
		d.names[name] = &simFile{data: data}
	}
	bodies = map[uint64]string{}
	for name, f := range d.names {
		if index := segmentIndex(filepath.Base(name)); index > 0 {
			for _, r := range recordsOf(t, index, f.data, keys...) {
				if r.events > 0 {
					for _, e := range event.Trusted(r.bodyBytes(), 0, nil).All() {
						bodies[r.index] = string(e.Body)
					}
				}
			}
		}
	}
	return d, bodies
}

// recordsOf returns the records of a sound segment.
func recordsOf(t *testing.T, index uint64, data []byte, keys ...Key) (all []record) {
	t.Helper()
	s := newScanner(readerAt(data), index, int64(len(data)), event.Heap{}, coderOf(keys))
	defer s.release()
	for s.at < s.end {
		r, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		r.data = bytes.Clone(r.data)
		all = append(all, r)
	}
	return all
}

// copied returns a disk that holds the same.
func (d *simDisk) copied() *simDisk {
	c := newSimDisk()
	for name, f := range d.names {
		c.names[name] = &simFile{data: slices.Clone(f.data)}
	}
	return c
}

func (d *simDisk) segments() (names []string) {
	for name := range maps.Keys(d.names) {
		if segmentIndex(filepath.Base(name)) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// size is that of log and quarantine together.
func (d *simDisk) size() (n int) {
	for name, f := range d.names {
		if strings.HasPrefix(name, logDir) || strings.HasPrefix(name, quarantineDir) {
			n += len(f.data)
		}
	}
	return n
}

// drainDisk opens the channel on d and delivers all that sink.behind is waiting for.
func drainDisk(d *simDisk, policy CorruptPolicy, keys ...Key) (got []string, stats channel.Stats, said string, err error) {
	var log bytes.Buffer
	o := Options{Dir: "/sim", SegmentSize: 900, OnCorrupt: policy, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if len(keys) > 0 {
		o.Key, o.OldKeys = &keys[0], keys
	}
	c, err := open(o, d.system())
	if err != nil {
		return nil, stats, log.String(), err
	}
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.behind"})
	if err == nil {
		got, err = drain(r)
	}
	stats = c.Stats()
	return got, stats, log.String(), errors.Join(err, c.Close())
}

// without is what a log holds that lost those records.
func without(bodies map[uint64]string, lost func(index uint64) bool) (want []string) {
	for _, index := range slices.Sorted(maps.Keys(bodies)) {
		if !lost(index) {
			want = append(want, bodies[index])
		}
	}
	return want
}

// TestInQuarantineAnyFlippedByteCostsItsRecordAlone goes through the bytes of every segment, the last one too.
func TestInQuarantineAnyFlippedByteCostsItsRecordAlone(t *testing.T) {
	for _, c := range []struct {
		stored string
		step   int64
		keys   []Key
	}{{"plain", 5, nil}, {"sealed", 11, []Key{testKey(1)}}} {
		t.Run(c.stored, func(t *testing.T) { flipAll(t, c.stored, c.step, c.keys...) })
	}
}

// flipAll flips a bit of every so manyth byte.
func flipAll(t *testing.T, stored string, step int64, keys ...Key) {
	pristine, bodies := storied(t, keys...)
	names := pristine.segments()
	if len(names) < 4 {
		t.Fatalf("%d segments", len(names))
	}
	flips, of := 0, 0
	for _, name := range names {
		data := pristine.names[name].data
		of += len(data)
		for _, r := range recordsOf(t, segmentIndex(filepath.Base(name)), data, keys...) {
			for at := r.at; at < r.at+r.size; at += step {
				flips++
				d := pristine.copied()
				d.names[name].data[at] ^= 0x04
				checkQuarantine(t, d, fmt.Sprintf("%s byte %d, in record %d of kind %d", name, at, r.index, r.kind),
					without(bodies, func(i uint64) bool { return i == r.index }), keys...)
			}
		}
	}
	reliability.Report(t, reliability.Row{Part: reliability.Flip, What: stored + ", on_corrupt = quarantine: its record is reported, all else comes out", Tried: flips, Of: of})
}

// TestInQuarantineACutSegmentCostsWhatWasBehindTheCut cuts sealed segments at many places.
func TestInQuarantineACutSegmentCostsWhatWasBehindTheCut(t *testing.T) {
	pristine, bodies := storied(t)
	names := pristine.segments()
	for n, name := range names[:len(names)-1] {
		data := pristine.names[name].data
		next := segmentIndex(filepath.Base(names[n+1]))
		for at := 0; at < len(data); at += 37 {
			first := uint64(0)
			for _, r := range recordsOf(t, segmentIndex(filepath.Base(name)), data) {
				if r.at+r.size > int64(at) {
					first = r.index
					break
				}
			}
			d := pristine.copied()
			d.names[name].data = d.names[name].data[:at]
			checkQuarantine(t, d, fmt.Sprintf("%s cut at %d", name, at), without(bodies, func(i uint64) bool { return first <= i && i < next }))
		}
	}
}

// checkQuarantine expects that all but what is damaged is delivered, that the loss is counted and said, that nothing
// is thrown away before it is delivered, and that the log is sound again.
func checkQuarantine(t *testing.T, d *simDisk, what string, want []string, keys ...Key) {
	t.Helper()
	const all = 40
	before := d.copied()
	got, stats, said, err := drainDisk(d, Quarantine, keys...)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%s: got %d of %d events, %v\n%q\n%s", what, len(got), len(want), err, got, said)
	}
	torn := strings.Contains(said, "as after a power cut")
	if !torn && int(stats.Dropped[channel.LostCorrupt]) != all-len(want) {
		t.Fatalf("%s: counted %d events as dropped, not %d\n%s", what, stats.Dropped[channel.LostCorrupt], all-len(want), said)
	}
	if stats.CorruptRecords == 0 && len(want) < all {
		t.Fatalf("%s: nothing was counted", what)
	}
	bytesBefore := before.size()
	done, err := repair(before, event.Heap{}, coderOf(keys), nil)
	if before.size() < bytesBefore {
		t.Fatalf("%s: of %d bytes %d are left", what, bytesBefore, before.size())
	}
	if err != nil {
		t.Fatalf("%s: repair: %v", what, err)
	}
	checkSound(t, before, what, want, keys...)
	if again, err := repair(before, event.Heap{}, coderOf(keys), nil); err != nil || len(again) > 0 || len(done) == 0 {
		t.Fatalf("%s: the first repair did %+v, the second %+v, %v", what, done, again, err)
	}
}

// checkSound expects that a log is sound, opens without any policy, and delivers that.
func checkSound(t *testing.T, d *simDisk, what string, want []string, keys ...Key) {
	t.Helper()
	report, err := verify(d, event.Heap{}, "", nil, coderOf(keys))
	if err != nil || len(report.Damage) > 0 {
		t.Fatalf("%s: after repair verify found %v, %v", what, report.Damage, err)
	}
	c := d.copied()
	got, _, said, err := drainDisk(c, Stop, keys...)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("%s: after repair got %d of %d events, %v\n%q\n%s", what, len(got), len(want), err, got, said)
	}
	got, _, said, err = drainDisk(c, Stop, keys...)
	if err != nil || len(got) > 0 {
		t.Fatalf("%s: at the next opening got %q, %v\n%s", what, got, err, said)
	}
}
