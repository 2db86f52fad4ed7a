// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// scrubbing opens a channel of many small segments on a simulated disk, in a bubble of time.
func scrubbing(t *testing.T, policy CorruptPolicy, f func(c *Channel, d *simDisk, said *heard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d, said := newSimDisk(), new(heard)
		c, err := open(Options{SegmentSize: 600, OnCorrupt: policy, Scrub: 24 * time.Hour, Log: slog.New(slog.NewTextHandler(said, nil))}, d.system())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Reader(channel.ReaderSpec{Name: "sink.behind"}); err != nil {
			t.Fatal(err)
		}
		for i := range 36 {
			if err := submit(c, "source.a", fmt.Sprint(i), fmt.Sprintf("event %d", i))(); err != nil {
				t.Fatal(err)
			}
		}
		f(c, d, said)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// heard is a log that several may write.
type heard struct {
	mu   sync.Mutex
	text strings.Builder
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(b)
}

func (h *heard) count(words string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.text.String(), words)
}

// flipped flips a bit of the third record of a segment, and returns where the record begins.
func flipped(t *testing.T, d *simDisk, index uint64) (at int64) {
	t.Helper()
	d.with(func() {
		f := d.names[segmentName(index)]
		r := recordsOf(t, index, slices.Clone(f.data))[2]
		f.data[r.at+r.size-30] ^= 1
		at = r.at
	})
	return at
}

func TestTheScrubFindsDamageThatNobodyHasMet(t *testing.T) {
	scrubbing(t, Stop, func(c *Channel, d *simDisk, said *heard) {
		time.Sleep(scrubDelay + time.Minute)
		sound := c.Stats()
		if sound.Scrubbed != uint64(sound.Segments-1) || sound.Damaged != "" || sound.LastScrub.IsZero() {
			t.Errorf("a sound log: %d of %d, %q, %v", sound.Scrubbed, sound.Segments, sound.Damaged, sound.LastScrub)
		}
		name := segmentName(c.segments[1].index)
		where := fmt.Sprintf("%s at byte %d", name, flipped(t, d, c.segments[1].index))
		for day := range 3 {
			time.Sleep(24 * time.Hour)
			s := c.Stats()
			if !strings.HasPrefix(s.Damaged, where) || s.CorruptRecords != 1 || said.count("will stop") != day+1 {
				t.Errorf("day %d: %q, counted %d, said %d times; it is %s", day, s.Damaged, s.CorruptRecords, said.count("will stop"), where)
			}
		}
		for _, words := range []string{"level=ERROR", "file=" + name, "penstock channel repair"} {
			if said.count(words) == 0 {
				t.Errorf("%q was not said", words)
			}
		}
		if err := submit(c, "source.a", "36", "the channel goes on")(); err != nil {
			t.Error(err)
		}
		if got := c.Stats().Scrubbed - sound.Scrubbed; got != 3*uint64(sound.Segments-2) {
			t.Errorf("read %d segments in three days", got)
		}
	})
}

func TestUnderQuarantineTheScrubSetsAsideWhatItFinds(t *testing.T) {
	scrubbing(t, Quarantine, func(c *Channel, d *simDisk, said *heard) {
		flipped(t, d, c.segments[1].index)
		flipped(t, d, c.segments[2].index)
		time.Sleep(scrubDelay + time.Minute)
		if s := c.Stats(); s.CorruptRecords != 2 || s.Dropped[channel.LostCorrupt] != 2 || s.Damaged != "" || s.QuarantineSize == 0 {
			t.Errorf("%+v", s)
		}
		c.ring.list = nil // so that all comes from the disk
		got, err := drain(c.readers["sink.behind"])
		if err != nil || len(got) != 34 {
			t.Errorf("%d events came, %v", len(got), err)
		}
		time.Sleep(24 * time.Hour)
		if n := said.count("is damaged"); n != 2 {
			t.Errorf("it was said %d times", n)
		}
	})
}

func TestTheScrubIsSlowAndEndsWithTheChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSimDisk()
		c, err := open(Options{SegmentSize: 1 << 20, Scrub: time.Hour}, d.system())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Reader(channel.ReaderSpec{Name: "sink.behind"}); err != nil {
			t.Fatal(err)
		}
		body := strings.Repeat("b", 100<<10)
		for i := 0; len(c.segments) < 33; i++ {
			if err := submit(c, "source.a", fmt.Sprint(i), body)(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(scrubDelay + time.Second)
		if n := c.Stats().Scrubbed; n < 12 || n > 16 {
			t.Errorf("%d MiB were read within a second", n)
		}
		begun := time.Now()
		if err := c.Close(); err != nil || time.Since(begun) > 0 {
			t.Errorf("closed after %v, %v", time.Since(begun), err)
		}
	})
}

// TestTheScrubDoesNotMindWhatIsUnlinkedUnderIt: a reader that commits takes segments away between any two steps.
func TestTheScrubDoesNotMindWhatIsUnlinkedUnderIt(t *testing.T) {
	scrubbing(t, Stop, func(c *Channel, d *simDisk, said *heard) {
		seg, _ := c.sealed(0)
		if _, err := drain(c.readers["sink.behind"]); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if d.has(segmentName(seg.index)) {
			t.Fatal("it is still there")
		}
		c.scrubbed(seg, c.scrubSegment(seg, func(int64) error { return nil }))
		c.scrubbed(seg, &Damage{File: segmentName(seg.index), Cause: errShort})
		c.scrubRound()
		if s := c.Stats(); s.CorruptRecords != 0 || s.Damaged != "" || said.count("ERROR")+said.count("WARN") != 0 {
			t.Errorf("%+v: %s", s, said.text.String())
		}
	})
}

func TestADiskThatCannotBeReadIsTriedAgain(t *testing.T) {
	scrubbing(t, Stop, func(c *Channel, _ *simDisk, said *heard) {
		seg, _ := c.sealed(0)
		c.scrubbed(seg, errors.New("too many open files"))
		if said.count("will try again") != 1 || c.Stats().Damaged != "" {
			t.Errorf("%+v: %s", c.Stats(), said.text.String())
		}
	})
}
