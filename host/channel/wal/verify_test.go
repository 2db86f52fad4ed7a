// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// disk is one that holds the log, and META of the channel with that uuid.
func (f *forger) disk(uuid [16]byte) *simDisk {
	d := newSimDisk()
	m := newMeta()
	m.uuid = uuid
	d.names[metaFile] = &simFile{data: m.text()}
	d.names[segmentName(1)] = &simFile{data: f.data}
	return d
}

// verified is what verify says of a disk.
func verified(t *testing.T, d *simDisk, keys ...Key) Report {
	t.Helper()
	r, err := verify(d, event.Heap{}, "", nil, coderOf(keys))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestVerifySeesWhatMayNotStandThere whatever its checksums say, and looks at what is behind it.
func TestVerifySeesWhatMayNotStandThere(t *testing.T) {
	key := testKey(1)
	for name, c := range map[string]struct {
		coder  *coder
		damage func(f *forger)
		want   string // "": nothing
	}{
		"as it should be": {nil, func(f *forger) { f.put(t, "event 1") }, ""},
		"a batch of more events than its header says": {nil, func(f *forger) {
			f.add(header{kind: kindPut, first: 1, events: 1}, encodedBatch(t, "one", "two"))
		}, "the header counts 1 events, the batch holds 2"},
		"a STATE in the middle": {nil, func(f *forger) { f.add(header{kind: kindState, first: 1}, f.state.append(nil)) }, "a STATE stands first"},
		"a STATE in the middle, which cannot be opened": {newCoder(NoCodec, &key), func(f *forger) {
			f.add(header{kind: kindState, first: 1}, f.state.append(nil))
		}, "a STATE stands first"},
		"a log that begins without a STATE": {nil, func(f *forger) {
			*f = forger{state: f.state, index: 1}
			f.put(t, "event 1")
		}, "a segment begins with a STATE"},
		"a log that begins without a STATE, and cannot be opened": {newCoder(NoCodec, &key), func(f *forger) {
			*f = forger{state: f.state, index: 1, coder: f.coder}
			f.put(t, "event 1")
		}, "a STATE stands first"},
	} {
		f := forge(c.coder)
		f.put(t, "event 0")
		c.damage(f)
		at := f.at[len(f.at)-1]
		f.put(t, "behind")
		r := verified(t, f.disk([16]byte{9}))
		if r.Records != uint64(len(f.at)) {
			t.Errorf("%s: it looked at %d records of %d", name, r.Records, len(f.at))
		}
		if c.want == "" && len(r.Damage) == 0 {
			continue
		}
		if len(r.Damage) != 1 || c.want == "" || r.Damage[0].Offset != at || !errors.Is(&r.Damage[0], errContent) || !strings.Contains(r.Damage[0].Error(), c.want) {
			t.Errorf("%s: it found %v", name, r.Damage)
		}
	}
}

func TestVerifySeesALogOfAnotherChannel(t *testing.T) {
	f := forge(nil)
	r := verified(t, f.disk([16]byte{8}))
	if len(r.Damage) != 1 || r.Damage[0].File != segmentName(1) || !strings.Contains(r.Damage[0].Error(), "META says 08") {
		t.Errorf("it found %v", r.Damage)
	}
}

func TestVerifyLooksAtTheLogWhenMETAIsDamaged(t *testing.T) {
	f := forge(nil)
	f.put(t, "event 0")
	f.add(header{kind: kindPut, first: 1, events: 1}, []byte("?"))
	d := f.disk([16]byte{9})
	d.names[metaFile].data[3] ^= 1
	r := verified(t, d)
	if len(r.Damage) != 2 || r.Damage[0].File != metaFile || r.Damage[1].File != segmentName(1) || r.Records != 4 {
		t.Errorf("it found %v in %d records", r.Damage, r.Records)
	}
}

func TestWhereThereIsNoChannelNothingIsReported(t *testing.T) {
	dir := t.TempDir()
	_, verr := Verify(dir, nil)
	_, ierr := Inspect(dir)
	for name, err := range map[string]error{"verify": verr, "inspect": ierr} {
		if err == nil || !strings.Contains(err.Error(), "META is missing") {
			t.Errorf("%s answered %v", name, err)
		}
	}
}

// TestVerifySeesThatRecordsAreMissing between segments of which all records are right.
func TestVerifySeesThatRecordsAreMissing(t *testing.T) {
	pristine, _ := storied(t)
	names := pristine.segments()
	second := names[1]
	all := recordsOf(t, segmentIndex(filepath.Base(second)), pristine.names[second].data)
	cut := all[len(all)-1].at
	for name, c := range map[string]struct {
		harm func(d *simDisk)
		in   []string // where it must say so
	}{
		"the last of a segment":                {func(d *simDisk) { d.names[second].data = d.names[second].data[:cut] }, names[2:3]},
		"a segment":                            {func(d *simDisk) { delete(d.names, second) }, names[2:3]},
		"a segment behind one that is damaged": {func(d *simDisk) { d.names[second].data[cut-1] ^= 1; delete(d.names, names[2]) }, []string{second, names[3]}},
	} {
		d := pristine.copied()
		c.harm(d)
		r := verified(t, d)
		if len(r.Damage) != len(c.in) {
			t.Errorf("%s: it found %v", name, r.Damage)
			continue
		}
		for i, in := range c.in {
			if r.Damage[i].File != in {
				t.Errorf("%s: it found %v", name, r.Damage)
			}
		}
		if last := r.Damage[len(r.Damage)-1].Error(); !strings.Contains(last, "are not what is there") {
			t.Errorf("%s: it said %s", name, last)
		}
	}
}

// TestVerifySeesALastSegmentThatDoesNotFollowTheOneBefore: no STATE behind it could tell.
func TestVerifySeesALastSegmentThatDoesNotFollowTheOneBefore(t *testing.T) {
	d, _ := storied(t)
	last := d.segments()[len(d.segments())-1]
	data := d.names[last].data
	rechain(data, recordsOf(t, segmentIndex(filepath.Base(last)), data), 12345)
	if r := verified(t, d); len(r.Damage) != 1 || r.Damage[0].File != last || r.Damage[0].Offset != 0 || !errors.Is(&r.Damage[0], errChain) {
		t.Errorf("it found %v", r.Damage)
	}
}

// TestVerifyEndsWithASegmentOfWhichTheEndIsDamaged, and goes on with the next.
func TestVerifyEndsWithASegmentOfWhichTheEndIsDamaged(t *testing.T) {
	d, _ := storied(t)
	second := d.segments()[1]
	data := d.names[second].data
	all := recordsOf(t, segmentIndex(filepath.Base(second)), data)
	at := all[len(all)-1].at
	clear(data[at:])
	r := verified(t, d)
	if len(r.Damage) == 0 || r.Damage[0].File != second || r.Damage[0].Offset != at || r.Damage[0].Length != int64(len(data))-at ||
		r.Damage[0].Torn || r.Segments != len(d.segments()) {
		t.Errorf("it found %v in %d segments", r.Damage, r.Segments)
	}
}

// TestVerifyDoesNotLookBehindATornTail: a group of which later pages reached the disk first will be cut off as a whole.
func TestVerifyDoesNotLookBehindATornTail(t *testing.T) {
	f := forge(nil)
	f.put(t, "event 0")
	for range 3 { // one group, that was never flushed
		f.add(header{kind: kindPut, first: f.state.end, events: 1}, encodedBatch(t, "event"))
		f.state.end++
	}
	f.strikeBody(4)
	r := verified(t, f.disk([16]byte{9}))
	if !r.Sound() || len(r.Damage) != 1 || r.Damage[0].Offset != f.at[3] || r.Damage[0].Length != int64(len(f.data))-f.at[3] || r.Records != 3 {
		t.Errorf("it found %+v in %d records", r.Damage, r.Records)
	}
}

func TestVerifyNamesAPositionThatCannotBeRead(t *testing.T) {
	d, _ := storied(t)
	d.names[positionName("sink.behind")].data[posFixed] ^= 1
	d.names[positionName("sink.behind")].data[slotSize+posFixed] ^= 1
	if r := verified(t, d); len(r.Damage) != 1 || r.Damage[0].File != positionName("sink.behind") {
		t.Errorf("it found %v", r.Damage)
	}
}

// TestInspectSaysWhatTheNextOpeningWillCutOff, and what to run where it cannot tell.
func TestInspectSaysWhatTheNextOpeningWillCutOff(t *testing.T) {
	_, dir, path, at := written(t)
	last := at[len(at)-1]
	if info, err := Inspect(dir); err != nil || info.Torn != nil {
		t.Fatalf("it said %+v, %v", info.Torn, err)
	}
	whole, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(bytes.Clone(whole), 200, 1, 'P', 'S', 'W', '1'), filePerms)
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := Inspect(dir); err != nil || info.Torn == nil || !info.Torn.Torn || info.Torn.Offset != last || info.Torn.Length != 6 {
		t.Errorf("it said %+v, %v", info.Torn, err)
	}
	flip(t, path, at[1]+20)
	if _, err := Inspect(dir); !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "run `penstock channel verify "+dir+"`") {
		t.Errorf("it answered %v", err)
	}
}
