// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// TestWhatRepairWritesAnewOrRemovesIsKeptAsItWas, byte by byte.
func TestWhatRepairWritesAnewOrRemovesIsKeptAsItWas(t *testing.T) {
	pristine, _ := storied(t)
	pos := positionName("sink.behind")
	for name, c := range map[string]struct {
		harm func(d *simDisk)
		kept []string
	}{
		"META of another channel":        {func(d *simDisk) { d.names[metaFile].data = newMeta().text() }, []string{metaFile}},
		"a position that cannot be read": {func(d *simDisk) { clear(d.names[pos].data[:posFixed]); d.names[pos].data[slotSize+9] ^= 1 }, []string{pos}},
		"a log of which nothing is left": {func(d *simDisk) {
			for _, name := range d.segments() {
				delete(d.names, name)
			}
		}, []string{metaFile, pos}},
	} {
		d := pristine.copied()
		c.harm(d)
		before := d.copied()
		done, err := repair(d, event.Heap{}, coderOf(nil), nil)
		if err != nil || len(done) != len(c.kept) {
			t.Fatalf("%s: it did %+v, %v", name, done, err)
		}
		for i, file := range c.kept {
			if kept := d.names[done[i].Kept]; done[i].File != file || kept == nil || !bytes.Equal(kept.data, before.names[file].data) {
				t.Errorf("%s: of %s it kept %q", name, file, done[i].Kept)
			}
		}
	}
}

// TestARepairThatFailsHalfwayLeavesNothingThatOpens as the channel that was lost.
func TestARepairThatFailsHalfwayLeavesNothingThatOpens(t *testing.T) {
	for _, stuck := range []string{metaFile, positionName("sink.behind")} {
		d, _ := storied(t)
		for _, name := range d.segments() {
			delete(d.names, name)
		}
		old, _, err := loadMeta(d)
		if err != nil {
			t.Fatal(err)
		}
		d.failing(func(what, name string) error {
			if what == "remove" && name == stuck {
				return syscall.EIO
			}
			return nil
		})
		if done, err := repair(d, event.Heap{}, coderOf(nil), nil); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s cannot be removed: it did %+v, %v", stuck, done, err)
		}
		d.failing(nil)
		if _, err := open(Options{Dir: "sim"}, d.system()); !errors.Is(err, channel.ErrCorrupt) {
			t.Fatalf("%s could not be removed: opening answered %v", stuck, err)
		}
		if done, err := repair(d, event.Heap{}, coderOf(nil), nil); err != nil || len(done) == 0 {
			t.Errorf("again it did %+v, %v", done, err)
		}
		b := openSim(t, d)
		if b.c.meta.uuid == old.uuid {
			t.Error("it is the same channel")
		}
		b.close()
	}
}

// TestALogOfWhichNothingCanBeReadStaysTheSameChannel: META and the positions are there.
func TestALogOfWhichNothingCanBeReadStaysTheSameChannel(t *testing.T) {
	b, dir, path, at := written(t)
	uuid, stream := b.c.meta.uuid, b.c.readers["sink.a"].Info().Stream
	b.must(os.WriteFile(path, bytes.Repeat([]byte("?"), int(at[len(at)-1])), filePerms))
	_, err := Repair(dir, false, nil)
	b.must(err)
	b = reopened(t, dir)
	if got := b.reader("sink.a").Info().Stream; b.c.meta.uuid != uuid || got != stream {
		t.Errorf("channel %x is %x, the reader %s is %s", uuid, b.c.meta.uuid, stream, got)
	}
}

// TestRepairTellsATornTailFromDamage: of one nobody was told that it is there.
func TestRepairTellsATornTailFromDamage(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(path string, at []int64) error
		want string
	}{
		"its last record is cut": {func(path string, at []int64) error { return os.Truncate(path, at[len(at)-1]-3) }, "it was never acknowledged"},
		"one before is damaged":  {func(path string, at []int64) error { flip(t, path, at[len(at)-3]+20); return nil }, "damaged: "},
	} {
		_, dir, path, at := written(t)
		if err := c.harm(path, at); err != nil {
			t.Fatal(err)
		}
		if done, err := Repair(dir, false, nil); err != nil || len(done) != 1 || !strings.Contains(done[0].What, c.want) {
			t.Errorf("%s: it did %+v, %v", name, done, err)
		}
	}
}

func TestRepairTellsWhatWasWaitedForFromWhatAllHadDelivered(t *testing.T) {
	pristine, _ := storied(t)
	mend := func(segment string, low event.Offset) Mended {
		d := pristine.copied()
		p, ok := parsePosition(d.names[positionName("sink.behind")].data[:slotSize])
		if p.low = low; !ok || p.publish(d, positionName("sink.behind")) != nil {
			t.Fatal("its position cannot be moved")
		}
		data := d.names[segment].data
		clear(data[len(data)/4 : len(data)*3/4])
		done, err := repair(d, event.Heap{}, coderOf(nil), nil)
		if err != nil || len(done) == 0 {
			t.Fatalf("it did %+v, %v", done, err)
		}
		return done[0]
	}
	checked := 0
	for _, segment := range pristine.segments() {
		all := mend(segment, 0)
		if all.Waited != all.Events || all.Lost.Len() != all.Events || all.Events < 3 {
			continue // in some of them the offsets jump, since the channel was opened
		}
		checked++
		for low, want := range map[event.Offset]uint64{
			all.Lost.First: all.Events, all.Lost.First + 1: all.Events - 1, all.Lost.Next - 1: 1, all.Lost.Next: 0, all.Lost.Next + 1: 0,
		} {
			if got := mend(segment, low); got.Lost != all.Lost || got.Waited != want {
				t.Errorf("at %d: %+v, want %d of them", low, got, want)
			}
		}
	}
	if checked == 0 {
		t.Error("there was no such segment")
	}
}

// TestARehearsalIsADirectoryInWhichAllWasDone, of which the real one knows nothing.
func TestARehearsalIsADirectoryInWhichAllWasDone(t *testing.T) {
	d := newSimDisk()
	d.names["log/a"], d.names["log/b"] = &simFile{data: []byte("a")}, &simFile{data: []byte("b")}
	r := &rehearsal{files: d, changed: map[string][]byte{}}
	if err := errors.Join(r.Publish("log/c", []byte("c")), r.Publish("log/a", []byte("A")), r.Remove("log/b")); err != nil {
		t.Fatal(err)
	}
	list, err := r.List(logDir)
	if err != nil || len(list) != 2 || list[0].name != "a" || list[1].name != "c" {
		t.Errorf("it lists %v, %v", list, err)
	}
	for name, want := range map[string]string{"log/a": "A", "log/c": "c"} {
		if got, err := readAll(r, name, 10); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if got, err := readAll(r, "log/b", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed holds %q, %v", got, err)
	}
	if got, err := readAll(d, "log/b", 10); err != nil || string(got) != "b" || d.has("log/c") {
		t.Errorf("the real directory was changed: %q, %v", got, err)
	}
}
