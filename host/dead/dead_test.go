// SPDX-License-Identifier: Apache-2.0

package dead

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is two channels on disk, of which one keeps letters of the other.
type desk struct {
	*testing.T
	dir          string
	main, keeper *wal.Channel
	Desk
}

func at(t *testing.T, dir string) *desk {
	t.Helper()
	d := &desk{T: t, dir: dir}
	var err error
	if d.main, err = wal.Open(wal.Options{Dir: filepath.Join(dir, "main")}); err != nil {
		t.Fatal(err)
	}
	if d.keeper, err = wal.Open(wal.Options{Dir: filepath.Join(dir, "rejected")}); err != nil {
		t.Fatal(err)
	}
	d.Desk = Desk{
		Keeper: d.keeper, Address: "channel.rejected",
		Browse: func(visit func(event.Offset, event.Event) bool) error {
			_, err := wal.Browse(filepath.Join(dir, "rejected"), Reader, nil, visit)
			return err
		},
		Open: func(uuid string) (*Target, error) {
			if uuid != d.uuid() {
				return nil, errors.New("it is not there")
			}
			return &Target{Address: "channel.main", Channel: d.main, Stats: d.main.Stats}, nil
		},
	}
	return d
}

func (d *desk) close() { d.must(errors.Join(d.main.Close(), d.keeper.Close())) }

func (d *desk) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

func (d *desk) uuid() string {
	for _, info := range d.main.Stats().Readers {
		uuid, _, _ := strings.Cut(info.Stream, "/")
		return uuid
	}
	return ""
}

func (d *desk) put(c *wal.Channel, events ...event.Event) {
	d.Helper()
	var b event.Builder
	b.Host, b.Limit = true, event.MaxBatch
	for _, e := range events {
		d.must(b.Append(e))
	}
	tx, err := c.Begin(d.Context())
	d.must(err)
	d.must(tx.Put(channel.Put{Source: "source.x", Batch: b.Batch()}))
	d.must(tx.Submit()())
}

// took takes all that a reader has, and returns the bodies.
func (d *desk) took(name string) (got []string) {
	d.Helper()
	r, err := d.main.Reader(channel.ReaderSpec{Name: name})
	d.must(err)
	for r.Info().Waiting > 0 {
		soon, cancel := context.WithTimeout(d.Context(), 300*time.Millisecond)
		l, err := r.Take(soon, channel.Want{})
		cancel()
		if errors.Is(err, context.DeadlineExceeded) { // the rest is for others
			break
		}
		d.must(err)
		for _, e := range l.Delivery().Batch.All() {
			if n := slices.IndexFunc(e.Attributes, func(a event.Attribute) bool { return strings.HasPrefix(a.Key, event.DeadPrefix) }); n >= 0 {
				d.Errorf("it still has %s", e.Attributes[n].Key)
			}
			got = append(got, string(e.Body))
		}
		d.must(l.Commit())
	}
	d.must(r.Close())
	return got
}

// letter is what a sink gave up.
func (d *desk) letter(sink string, offset int) event.Event {
	text := func(k, v string) event.Attribute { return event.Attribute{Key: k, Value: []byte(v)} }
	return event.Event{Body: []byte(strconv.Itoa(offset)), Attributes: []event.Attribute{
		text("own", "stays"), text(event.DeadChannel, d.uuid()), text(event.DeadOffset, strconv.Itoa(offset)), text(event.DeadComponent, sink),
		text(event.DeadClass, "reject"), text(event.DeadCode, "EREJECT"),
	}}
}

// filled has n letters, each third of them twice, and two sinks that have gone on.
func filled(t *testing.T, n int) *desk {
	t.Helper()
	d := at(t, t.TempDir())
	for _, name := range []string{"sink.a", "sink.b"} {
		r, err := d.main.Reader(channel.ReaderSpec{Name: name})
		d.must(err)
		d.must(r.Close())
	}
	d.must(d.Recover(t.Context())) // registers the reader
	var events, letters []event.Event
	for i := range n {
		events = append(events, event.Event{Body: []byte(strconv.Itoa(i))})
		sink := "sink.a"
		if i%5 == 0 {
			sink = "sink.b"
		}
		letters = append(letters, d.letter(sink, i))
		if i%3 == 0 {
			letters = append(letters, d.letter(sink, i))
		}
	}
	d.put(d.main, events...)
	d.took("sink.a")
	d.took("sink.b")
	d.put(d.keeper, letters...)
	return d
}

func TestEachEventIsReplayedOnceWhereverItIsKilled(t *testing.T) {
	const n = 700 // more than one put of each sink
	var want [2][]string
	for i := range n {
		to := min(i%5, 1) // 0 is of sink.b
		want[1-to] = append(want[1-to], strconv.Itoa(i))
	}
	d := filled(t, n)
	defer d.close()
	var steps []string
	copies := map[int]string{}
	d.Step = func(name string) {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(d.dir)); err != nil { // as kill -9 leaves it here
			t.Error(err)
		}
		copies[len(steps)] = dir
		steps = append(steps, name)
	}
	out, err := d.Replay(t.Context(), Order{})
	d.must(err)
	if out.Events != n || out.Letters != n+(n+2)/3 || len(steps) < 8 {
		t.Errorf("%+v, steps %v", out, steps)
	}
	for i, step := range steps {
		if step != [2]string{"dead-put", "dead-finish"}[i%2] {
			t.Fatalf("the steps are %v", steps)
		}
		killed := at(t, copies[i])
		_, err := killed.Replay(t.Context(), Order{})
		killed.must(err)
		for i, sink := range []string{"sink.a", "sink.b"} {
			if got := killed.took(sink); !slices.Equal(got, want[i]) {
				t.Errorf("killed before step %s: %s got %d events, not %d", step, sink, len(got), len(want[i]))
			}
		}
		if s := killed.keeper.Stats().Readers[Reader]; s.Waiting != 0 {
			t.Errorf("killed before step %s: %d letters are kept", step, s.Waiting)
		}
		killed.close()
	}
}

func TestWhatStaysAndWhy(t *testing.T) {
	d := filled(t, 10)
	defer d.close()
	elsewhere := d.letter("sink.a", 1)
	elsewhere.Attributes[1].Value = []byte("feed")
	onTheWay := d.letter("source.x", 0)
	onTheWay.Attributes = slices.Delete(onTheWay.Attributes, 1, 3)
	d.put(d.keeper, d.letter("sink.gone", 3), elsewhere, onTheWay, d.letter("sink.a", 10), d.letter("sink.gone", 4))
	out, err := d.Replay(t.Context(), Order{})
	d.must(err)
	var said strings.Builder
	for _, r := range out.Refused {
		fmt.Fprintf(&said, "%s %d %.30s\n", r.Component, r.Events, r.Why)
	}
	const want = "sink.gone 2 channel.main has no reader sin\nsink.a 1 it is not there\nsource.x 1 source.x gave it up before it \nsink.a 1 it may still come to its sink \n"
	if out.Events != 10 || said.String() != want {
		t.Errorf("%d events were replayed; there stay:\n%s", out.Events, said.String())
	}
	d.took("sink.b")
	out, err = d.Replay(t.Context(), Order{To: "sink.b", Filter: Filter{Component: "sink.gone"}})
	d.must(err)
	if got := d.took("sink.b"); out.Events != 2 || !slices.Equal(got, []string{"3", "4"}) {
		t.Errorf("%d were replayed to another sink, which got %v", out.Events, got)
	}
}

func TestTooManyPlacesAreRefusedAndNothingIsDone(t *testing.T) {
	d := at(t, t.TempDir())
	defer d.close()
	d.must(d.Recover(t.Context()))
	var letters []event.Event
	for i := range 2*maxScattered + 2 {
		letters = append(letters, d.letter([]string{"sink.a", "sink.b"}[i%2], i))
	}
	d.put(d.keeper, letters...)
	if _, err := d.Drop(t.Context(), Order{Filter: Filter{Component: "sink.b"}}); !errors.Is(err, ErrScattered) {
		t.Errorf("it was answered: %v", err)
	}
	if out, err := d.Drop(t.Context(), Order{Filter: Filter{Component: "sink.b", Limit: 100}}); err != nil || out.Events != 100 {
		t.Errorf("of some: %+v, %v", out, err)
	}
	if s := d.keeper.Stats(); s.Dropped[channel.LostPicked] != 100 || s.Readers[Reader].Waiting != uint64(len(letters)-100) {
		t.Errorf("stats are %+v", s)
	}
}

func TestWhatTwoMembersOfAGroupGaveUpIsOneEventAndComesNotBeforeTheGroupIsPastIt(t *testing.T) {
	d := at(t, t.TempDir())
	defer d.close()
	r, err := d.main.Reader(channel.ReaderSpec{Name: "sink_group.g", Order: channel.AnyOrder})
	d.must(err)
	d.must(r.Close())
	d.must(d.Recover(t.Context()))
	d.put(d.main, event.Event{Body: []byte("0")})
	for _, sink := range []string{"sink.a", "sink.b"} {
		l := d.letter(sink, 0)
		l.Attributes = append(l.Attributes, event.Attribute{Key: event.DeadGroup, Value: []byte("sink_group.g")})
		d.put(d.keeper, l)
	}
	if out, err := d.Replay(t.Context(), Order{}); err != nil || out.Events != 0 || len(out.Refused) != 1 || !strings.Contains(out.Refused[0].Why, "by itself") {
		t.Errorf("before the group is past it: %+v, %v", out, err)
	}
	d.took("sink_group.g")
	if out, err := d.Replay(t.Context(), Order{}); err != nil || out.Events != 1 || out.Letters != 2 {
		t.Errorf("of two letters of one event: %+v, %v", out, err)
	}
	if got := d.took("sink_group.g"); len(got) != 1 {
		t.Errorf("the group got %v", got)
	}
}
