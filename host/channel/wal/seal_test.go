// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/spec/event"
)

// testKey is the key of that number.
func testKey(n byte) Key {
	k, err := NewKey(bytes.Repeat([]byte{n}, KeySize))
	if err != nil {
		panic(err)
	}
	return k
}

// storage is a way to store records, as options have it.
type storage struct {
	name  string
	codec Codec
	key   bool
}

var storages = []storage{{"s2", S2, false}, {"zstd", Zstd, false}, {"sealed", NoCodec, true}, {"s2, sealed", S2, true}, {"zstd, sealed", Zstd, true}}

// apply makes options store that way.
func (s storage) apply(o *Options) {
	o.Compression = s.codec
	if s.key {
		k := testKey(1)
		o.Key = &k
	}
}

func TestItKeepsTheLawsHoweverItIsStored(t *testing.T) {
	for _, s := range storages {
		suite := func(t *testing.T, o channeltest.Options) channel.Channel {
			t.Helper()
			own := Options{Dir: o.Dir, Capacity: o.Capacity, OnFull: o.OnFull, Pool: o.Buffers, Observer: o.Observer, ForgetAfter: o.ForgetAfter}
			s.apply(&own)
			c, err := open(own, realSystem(o.Dir))
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		t.Run(s.name, func(t *testing.T) {
			channeltest.RunDurable(t, suite)
			if s.key && s.codec == S2 {
				channeltest.Run(t, suite)
			}
		})
	}
}

// sealed opens a channel with a key, and leaves it closed with these events waiting for sink.a.
func sealedBench(t *testing.T, o Options, bodies ...string) *bench {
	t.Helper()
	b := newBench(t, o)
	b.reader("sink.a")
	for i, body := range bodies {
		b.put("source.a", fmt.Sprint(i), body)
	}
	b.close()
	return b
}

// refuses expects that the channel does not open for want of that key, says so, and is left as it was.
func (b *bench) refuses(want Key) {
	b.Helper()
	before := b.snapshot()
	_, err := Open(b.o)
	k, ok := errors.AsType[*KeyError](err)
	if !ok || k.Key != want.ID() || errors.Is(err, channel.ErrCorrupt) {
		b.Fatalf("opening answered: %v", err)
	}
	for _, say := range []string{want.ID(), "encryption { key = secret.NAME }", "nothing is damaged"} {
		if !strings.Contains(err.Error(), say) {
			b.Errorf("%q is missing from %v", say, err)
		}
	}
	if after := b.snapshot(); after != before {
		b.Errorf("it changed something:\n%s\n%s", before, after)
	}
}

// snapshot is a digest of all files but LOCK, which says who looked.
func (b *bench) snapshot() string {
	b.Helper()
	sum := sha256.New()
	b.must(filepath.WalkDir(b.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == lockFile {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d %x\n", path, len(data), sha256.Sum256(data))
		return err
	}))
	return fmt.Sprintf("%x", sum.Sum(nil))
}

func TestKeysAreTurnedOnChangedAndTurnedOff(t *testing.T) {
	one, two := testKey(1), testKey(2)
	for _, size := range []int{0, 700} { // in one segment, and in many
		b := sealedBench(t, Options{SegmentSize: size, OnCorrupt: Quarantine}, "plain")
		step := func(key *Key, old []Key, body string) {
			b.o.Key, b.o.OldKeys = key, old
			b.open()
			b.put("source.a", body, body)
			b.cursor("source.a", body)
			b.close()
		}
		step(&one, nil, "one")
		b.o.Key = nil
		b.refuses(one)
		b.o.Key = &two
		b.refuses(one)
		step(&two, []Key{one}, "two")
		b.o.OldKeys = nil
		if size == 0 { // else the segments that need the old key are met when they are read
			b.refuses(one)
		}
		step(nil, []Key{one, two}, "plain again")
		b.o.Key, b.o.OldKeys = nil, []Key{two, one}
		b.open()
		b.drained(b.reader("sink.a"), "plain", "one", "two", "plain again")
		b.close()
	}
}

// TestWithoutAKeyDamageIsLeftAloneToo: what could be mended around it waits until the key is there.
func TestWithoutAKeyDamageIsLeftAloneToo(t *testing.T) {
	key := testKey(1)
	b := sealedBench(t, Options{SegmentSize: 900, OnCorrupt: Quarantine}, allEvents(20)...)
	for round := range 3 {
		b.o.Key = &key
		b.open()
		b.put("source.a", "1", strings.Repeat("begins a segment", 60))
		b.put("source.a", "2", "sealed")
		b.put("source.a", "3", "sealed")
		b.close()
		if round != 1 {
			flip(t, b.segmentFiles()[1+round], 100) // in the STATE of a plain one
		}
		if round > 0 {
			flip(t, b.segmentFiles()[len(b.segmentFiles())-1], 100) // in that of the last
		}
		b.o.Key = nil
		b.refuses(key)
		before := b.snapshot()
		if _, err := Repair(b.o.Dir, false, nil); !errors.Is(err, channel.ErrKey) || b.snapshot() != before {
			t.Errorf("repair: %v", err)
		}
		b.o.Key = &key
		b.open()
		if n := b.c.Stats().Dropped[channel.LostCorrupt]; n > 0 {
			t.Errorf("with the key %d events were given up", n)
		}
		b.close()
	}
	m := &mender{files: osFiles{b.o.Dir}, pool: event.Heap{}, coder: newCoder(NoCodec, nil)}
	last := segmentIndex(filepath.Base(b.segmentFiles()[len(b.segmentFiles())-2]))
	if st, err := m.stateOf(last); !errors.Is(err, channel.ErrKey) {
		t.Errorf("a STATE that cannot be opened was taken for one that is damaged: %v, %v", st, err)
	}
}

// TestRepairLooksForKeysBeforeItChangesAnything: here the last records alone are sealed.
func TestRepairLooksForKeysBeforeItChangesAnything(t *testing.T) {
	key := testKey(1)
	b := sealedBench(t, Options{SegmentSize: 1200}, allEvents(20)...)
	b.o.Key = &key
	b.open()
	b.close()
	flip(t, b.segmentFiles()[1], 100)
	before := b.snapshot()
	if _, err := Repair(b.o.Dir, false, nil); !errors.Is(err, channel.ErrKey) || b.snapshot() != before {
		t.Errorf("without its key: %v", err)
	}
	if done, err := Repair(b.o.Dir, false, nil, key); err != nil || len(done) != 1 {
		t.Errorf("with it: %v, %v", done, err)
	}
}

// TestAReaderThatMeetsASealedRecordWithoutItsKeySaysSo: the segment began before encryption was turned on.
func TestAReaderThatMeetsASealedRecordWithoutItsKeySaysSo(t *testing.T) {
	key := testKey(1)
	b := sealedBench(t, Options{SegmentSize: 1200, OnCorrupt: Quarantine}, "plain")
	b.o.Key = &key
	b.open()
	b.put("source.a", "1", "sealed")
	b.o.Key, b.o.OldKeys = nil, []Key{key}
	b.open()
	for i := range 20 {
		b.put("source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))
	}
	b.o.OldKeys = nil
	b.open()
	before := b.c.Stats()
	got, err := drain(b.reader("sink.a"))
	if !errors.Is(err, channel.ErrKey) || !strings.Contains(err.Error(), "encryption { old = [secret.NAME] }") || !slices.Equal(got, []string{"plain"}) {
		t.Fatalf("got %q, %v", got, err)
	}
	if after := b.c.Stats(); after.QuarantineSize != before.QuarantineSize || after.CorruptRecords > 0 || after.Dropped[channel.LostCorrupt] > 0 {
		t.Errorf("it was taken for damage: %+v", after)
	}
	b.o.OldKeys = []Key{key}
	b.open()
	if got, err := drain(b.reader("sink.a")); err != nil || len(got) != 21 {
		t.Errorf("with the key got %q, %v", got, err)
	}
}

// TestNoFileHoldsWhatIsSealed looks for bodies, cursors and names in all that is in the directory, also after a tail was torn.
func TestNoFileHoldsWhatIsSealed(t *testing.T) {
	key := testKey(1)
	secrets := []string{"a body that nobody may see", "source.confidential", "cursor-of-it", "sink.hidden"}
	for _, on := range []bool{false, true} {
		o := Options{SegmentSize: 900}
		var keys []Key
		if on {
			o.Key, keys = &key, []Key{key}
		}
		b := newBench(t, o)
		_, err := b.c.Reader(channel.ReaderSpec{Name: secrets[3]})
		b.must(err)
		var tail string
		var data []byte
		for n := 0; n < 12 || len(data) == 0; n++ { // a segment that was just rolled to has no tail
			b.put(secrets[1], secrets[2], secrets[0])
			tail = b.segmentFiles()[len(b.segmentFiles())-1]
			data, err = os.ReadFile(tail)
			b.must(err)
		}
		b.close()
		b.must(os.WriteFile(tail, data[:len(data)-40], 0o600)) // as a power cut would
		b.must(os.Remove(b.path(cleanFile)))
		b.open()
		b.close()
		if kept, err := os.ReadDir(b.path(quarantineDir)); err != nil || len(kept) == 0 {
			t.Fatalf("nothing is in quarantine: %v", err)
		}
		flip(t, b.segmentFiles()[1], 100) // in its STATE, which is made anew
		_, err = Repair(b.o.Dir, false, nil, keys...)
		b.must(err)
		found := b.grep(secrets...)
		if on && len(found) > 0 {
			t.Errorf("found %q", found)
		}
		if !on && len(found) < len(secrets) {
			t.Errorf("this search finds nothing at all: %q", found)
		}
	}
}

// grep says which words are in any file of the channel.
func (b *bench) grep(words ...string) (found []string) {
	b.Helper()
	b.must(filepath.WalkDir(b.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, w := range words {
			if bytes.Contains(data, []byte(w)) {
				found = append(found, w+" in "+path)
			}
		}
		return err
	}))
	return found
}

func TestCommandsWorkOnASealedLogWithItsKeyAndRefuseWithoutIt(t *testing.T) {
	key, wrong := testKey(1), testKey(2)
	b := sealedBench(t, Options{SegmentSize: 900, Key: &key, Compression: Zstd}, allEvents(20)...)
	dir := b.o.Dir
	commands := map[string]func(keys ...Key) error{
		"inspect": func(keys ...Key) error { _, err := Inspect(dir, keys...); return err },
		"browse": func(keys ...Key) error {
			var got []string
			_, err := Browse(dir, "sink.a", nil, func(_ event.Offset, e event.Event) bool {
				got = append(got, string(e.Body))
				return true
			}, keys...)
			if err == nil && !slices.Equal(got, allEvents(20)) {
				err = fmt.Errorf("it showed %q", got)
			}
			return err
		},
		"repair": func(keys ...Key) error { _, err := Repair(dir, false, nil, keys...); return err },
		"forget": func(keys ...Key) error { return Forget(dir, "sink.a", keys...) },
	}
	for _, name := range []string{"inspect", "browse", "repair", "forget"} {
		before := b.snapshot()
		for _, keys := range [][]Key{nil, {wrong}} {
			if err := commands[name](keys...); !errors.Is(err, channel.ErrKey) || !strings.Contains(err.Error(), key.ID()) {
				t.Errorf("%s with %v: %v", name, keys, err)
			}
		}
		if b.snapshot() != before {
			t.Errorf("%s without the key changed something", name)
		}
		if err := commands[name](key); err != nil {
			t.Errorf("%s with the key: %v", name, err)
		}
	}
}

func TestVerifyNeedsNoKeyForChecksums(t *testing.T) {
	key := testKey(1)
	b := sealedBench(t, Options{SegmentSize: 900, Key: &key}, allEvents(20)...)
	b.must(os.Remove(b.path(metaFile))) // what is sealed is bound to what it says
	b.open()
	b.close()
	blind, err := Verify(b.o.Dir, nil)
	b.must(err)
	seeing, err := Verify(b.o.Dir, nil, key)
	b.must(err)
	if !blind.Sound() || blind.Closed != blind.Records || blind.Events != 20 || seeing.Closed != 0 || !seeing.Sound() || seeing.Records != blind.Records {
		t.Errorf("without the key %+v\nwith it %+v", blind, seeing)
	}
	for _, at := range []int{100, 300} { // in its STATE, and behind
		again := b.copyDir()
		flip(t, filepath.Join(again, logDir, filepath.Base(b.segmentFiles()[1])), int64(at))
		for _, keys := range [][]Key{nil, {key}} {
			if r, err := Verify(again, nil, keys...); err != nil || len(r.Damage) != 1 || r.Events < 19 {
				t.Errorf("with %v found %+v, %v", keys, r, err)
			}
		}
	}
}

// TestChangesThatMendTheirChecksumsAreSeen: by somebody who has the disk and not the key.
func TestChangesThatMendTheirChecksumsAreSeen(t *testing.T) {
	key := testKey(1)
	pristine, bodies := storied(t, key)
	last := pristine.segments()[len(pristine.segments())-1]
	for _, name := range []string{pristine.segments()[1], last} {
		data := pristine.names[name].data
		all := recordsOf(t, segmentIndex(filepath.Base(name)), data, key)
		i := slices.IndexFunc(all, func(r record) bool { return r.events > 0 })
		for what, change := range map[string]func(h *header, stored []byte){
			"a bit of the body":     func(_ *header, b []byte) { b[headerSize+nonceSize] ^= 1 },
			"a bit of the cursors":  func(h *header, b []byte) { b[headerSize+int(h.body)+nonceSize] ^= 1 },
			"the length":            func(h *header, _ []byte) { h.raw-- },
			"the kind":              func(h *header, _ []byte) { h.kind = kindGap },
			"the key, for no key":   func(h *header, _ []byte) { h.key = 0 },
			"the body for cursors":  func(h *header, b []byte) { h.body, h.tlv = h.tlv, h.body; swap(b[headerSize:], int(h.tlv)) },
			"a length beyond bound": func(h *header, _ []byte) { h.raw = 1 << 31 },
		} {
			d := pristine.copied()
			r := all[i]
			stored := d.names[name].data[r.at+r.size-r.length() : r.at+r.size]
			h := r.header
			change(&h, stored)
			h.bodyCRC, h.tlvCRC = checksum(stored[headerSize:headerSize+h.body]), checksum(stored[headerSize+h.body:])
			h.put(stored)
			forged := d.copied()
			rechain(forged.names[name].data, all[i+1:], h.crc)
			got, _, _, err := drainDisk(forged, Stop, key)
			if !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), fmt.Sprintf("%s at byte %d", name, r.at)) {
				t.Errorf("%s in %s: got %d events, %v", what, name, len(got), err)
			}
			if want := without(bodies, func(uint64) bool { return false }); !slices.Equal(got, want[:len(got)]) {
				t.Errorf("%s in %s: got %q", what, name, got)
			}
		}
	}
}

// swap exchanges the first n bytes of b and the rest.
func swap(b []byte, n int) { copy(b, slices.Concat(b[n:], b[:n])) }

// rechain makes records follow one with that CRC.
func rechain(data []byte, records []record, crc uint32) {
	for _, r := range records {
		stored := data[r.at+r.size-r.length():]
		r.prev = crc
		r.header.put(stored)
		crc = r.crc
	}
}

func TestARecordOfAnotherChannelIsSeen(t *testing.T) {
	key := testKey(1)
	one := sealedBench(t, Options{Key: &key}, "mine")
	two := sealedBench(t, Options{Key: &key}, "hers")
	from, err := os.ReadFile(two.segmentFiles()[0])
	two.must(err)
	path := one.segmentFiles()[0]
	to, err := os.ReadFile(path)
	one.must(err)
	mine, hers := recordsOf(t, 1, to, key), recordsOf(t, 1, from, key)
	i := slices.IndexFunc(mine, func(r record) bool { return r.events > 0 })
	h, stored := hers[i].header, to[mine[i].at+mine[i].size-mine[i].length():]
	copy(stored, hers[i].data)
	h.prev = mine[i].prev
	h.put(stored)
	rechain(to, mine[i+1:], h.crc)
	one.must(os.WriteFile(path, to, 0o600))
	if _, err := Open(one.o); !errors.Is(err, channel.ErrCorrupt) || !strings.Contains(err.Error(), "comes from another channel") {
		t.Errorf("it was opened: %v", err)
	}
}

// TestAnyFlippedByteOfASealedLogGivesAPrefix goes through all of them.
func TestAnyFlippedByteOfASealedLogGivesAPrefix(t *testing.T) {
	key := testKey(1)
	pristine, bodies := storied(t, key)
	all := without(bodies, func(uint64) bool { return false })
	flips := 0
	for _, name := range pristine.segments() {
		for at := range pristine.names[name].data {
			flips++
			d := pristine.copied()
			d.names[name].data[at] ^= 0x10
			got, _, said, err := drainDisk(d, Stop, key)
			if len(got) > len(all) || !slices.Equal(got, all[:len(got)]) {
				t.Fatalf("%s byte %d: got %q, %v", name, at, got, err)
			}
			if err == nil && len(got) < len(all) && !strings.Contains(said, "as after a power cut") {
				t.Fatalf("%s byte %d: got %d events of %d, and nothing was said", name, at, len(got), len(all))
			}
		}
	}
	reliability.Report(t, reliability.Row{Part: reliability.Flip, What: "sealed, on_corrupt = stop: a prefix comes out, or it is refused", Tried: flips, Of: flips})
}
