// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// marked is the condition of tests: an event whose body ends with "!" is for the processor; with "?" it cannot be said.
type marked struct{ asked int }

func (m *marked) when() func(*event.Event) (bool, error) {
	return func(e *event.Event) (bool, error) {
		m.asked++
		if bytes.HasSuffix(e.Body, []byte("?")) {
			return false, errors.New("x.hcl:3:10: this is null")
		}
		return bytes.HasSuffix(e.Body, []byte("!")), nil
	}
}

// chosen runs a source of one batch through a processor that is for some events.
func chosen(t testing.TB, w *worker, m *marked, policy OnError, bodies ...string) (put, dead []string, did *tallied, err error) {
	t.Helper()
	main, rejected := memory.New(memory.Options{}), memory.New(memory.Options{})
	defer main.Close()
	defer rejected.Close()
	tr := &trace{read: once(plugin.Emission{Seq: 1, Batch: encode(t, bodies...), Changed: event.Cursor{"at": {9}}})}
	s := newSource(tr)
	p, did := w.at(policy)
	p.When = m.when
	s.Channel, s.Through, s.Buffers = main, []Processor{p}, event.Heap{}
	s.Dead = &DeadLetters{Component: "source.a", Address: "channel.rejected", Channel: rejected}
	err = s.Run(t.Context())
	if pos, failed := main.Cursor(t.Context(), "source.a"); err == nil && (failed != nil || len(pos.Cursor) != 1) {
		t.Errorf("the cursor is %v, %v", pos.Cursor, failed)
	}
	return bodiesOf(t, main, "r"), bodiesOf(t, rejected, "r"), did, err
}

func TestEventsThatAProcessorIsNotForPassItByInTheirPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		policy        OnError
		in, put, dead string
		did           Processed
		calls         int
	}{
		"some":     {in: "a b! c d! e", put: "a b!+ c d!+ e", did: Processed{Taken: 2, Given: 2, Skipped: 3}, calls: 1},
		"none":     {in: "a b c", put: "a b c", did: Processed{Skipped: 3}},
		"all":      {in: "a! b!", put: "a!+ b!+", did: Processed{Taken: 2, Given: 2}, calls: 1},
		"not said": {in: "a? b! c", put: "a? b!+ c", did: Processed{Taken: 1, Given: 1, Skipped: 1, Undecided: 1}, calls: 1},
		"dropped and doubled": {in: "a drop,! b double,! c drop,!", put: "a b double,! double,! c",
			did: Processed{Taken: 3, Given: 2, Filtered: 2, Skipped: 3}, calls: 1},
		"all that it is for is dropped": {in: "a drop,! b", put: "a b", did: Processed{Taken: 1, Filtered: 1, Skipped: 2}, calls: 1},
		"rejected": {policy: DeadLetter, in: "reject reject,1! a break,! b!", put: "reject a b!+", dead: "reject,1! break,!",
			did: Processed{Taken: 3, Given: 1, DeadLetter: 2, Skipped: 2}},
		"rejected and passed": {policy: Pass, in: "x reject,1! a list,! b! double,! break,! y", put: "x reject,1! a list,! b!+ double,! double,! break,! y",
			did: Processed{Taken: 5, Given: 6, Passed: 3, Skipped: 3}},
		"rejected and dropped": {policy: Drop, in: "break a reject,1! b break,! c!", put: "break a b c!+", did: Processed{Taken: 3, Given: 1, Dropped: 2, Skipped: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			in := strings.Fields(c.in)
			for i := range in {
				in[i] = strings.ReplaceAll(in[i], ",", " ")
			}
			w, m := &worker{}, &marked{}
			put, dead, did, err := chosen(t, w, m, c.policy, in...)
			shown := func(s []string) string {
				return strings.ReplaceAll(strings.ReplaceAll(strings.Join(s, "|"), " ", ","), "|", " ")
			}
			if err != nil || shown(put) != c.put || shown(dead) != c.dead {
				t.Errorf("put %q, dead %q, %v", shown(put), shown(dead), err)
			}
			if did.Processed != c.did {
				t.Errorf("it did %+v, want %+v", did.Processed, c.did)
			}
			if m.asked != len(in) || c.calls > 0 && w.calls != c.calls || c.did.Taken == 0 && w.calls > 0 {
				t.Errorf("asked %d times of %d events, and called %d times", m.asked, len(in), w.calls)
			}
		})
	}
}

// TestAnyBatchComesOutInOrder has batches in which events do what they say, to a processor that is for some of them, and compares with what
// becomes of each event by itself.
func TestAnyBatchComesOutInOrder(t *testing.T) {
	alone := map[string][]string{"a": {"+"}, "drop": nil, "double": {"", ""}, "reject": {""}, "list": {""}, "break": {""}, "blame": {""}}
	words := []string{"a", "a", "drop", "double", "reject", "list", "break", "blame"}
	rapid.Check(t, func(rt *rapid.T) {
		policy := rapid.SampledFrom([]OnError{Drop, DeadLetter, Pass}).Draw(rt, "policy")
		var in, put, dead []string
		for i := range rapid.IntRange(1, poisonBudget).Draw(rt, "events") {
			word, mark := rapid.SampledFrom(words).Draw(rt, "word"), rapid.SampledFrom([]string{"", "!", "!", "?"}).Draw(rt, "mark")
			body := fmt.Sprintf("%s %d%s", word, i, mark)
			in = append(in, body)
			failing := slices.Contains([]string{"reject", "list", "break", "blame"}, word)
			switch {
			case mark != "!", failing && policy == Pass:
				put = append(put, body)
			case failing && policy == DeadLetter:
				dead = append(dead, body)
			case failing:
			default:
				for _, suffix := range alone[word] {
					put = append(put, body+suffix)
				}
			}
		}
		gotPut, gotDead, did, err := chosen(t, &worker{}, &marked{}, policy, in...)
		if err != nil || !slices.Equal(gotPut, put) || !slices.Equal(gotDead, dead) {
			rt.Fatalf("%q, policy %d, became\n%q, dead %q, %v, want\n%q, dead %q", in, policy, gotPut, gotDead, err, put, dead)
		}
		if p := did.Processed; p.Taken+p.Skipped+p.Undecided != len(in) || p.Given+p.Skipped+p.Undecided != len(put) || p.DeadLetter != len(dead) {
			rt.Fatalf("%+v does not add up: %d went in, %d came out", p, len(in), len(put))
		}
	})
}

// plain is a processor that hands on what it is given, and keeps how the events were numbered.
type plain struct{ offsets []event.Offset }

func (p *plain) Close() error { return nil }
func (p *plain) Process(_ context.Context, b event.Batch) (event.Batch, plugin.Outcome, error) {
	for o := range b.All() {
		p.offsets = append(p.offsets, o)
	}
	b.Retain()
	return b, plugin.Outcome{}, nil
}

func TestAProcessorIsGivenItsEventsNumberedWithoutGaps(t *testing.T) {
	p := &plain{}
	u := &use{Processor: Processor{Observer: tallier{&tallied{}}}, inst: p, buffers: event.Heap{}, chooser: chooser{ask: (&marked{}).when()}}
	if _, err := u.process(t.Context(), encode(t, "a", "b!", "c", "d!", "e!")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.offsets, []event.Offset{0, 1, 2}) {
		t.Errorf("they were %v", p.offsets)
	}
}

func TestWhatPassesByIsNotCopied(t *testing.T) {
	freed := 0
	data := encode(t, "a", "b", "c").Bytes()
	buf := event.NewBuffer(make([]byte, event.Headroom+len(data)), len(data), func(*event.Buffer) { freed++ })
	copy(buf.Bytes(), data)
	b := event.Trusted(buf.Bytes(), 0, buf)
	did := &tallied{}
	c := &chain{uses: []*use{{Processor: Processor{Observer: tallier{did}}, chooser: chooser{ask: (&marked{}).when()}}}} // without an instance or memory
	out, err := c.process(t.Context(), b)
	if err != nil || &out.Bytes()[0] != &b.Bytes()[0] || did.Skipped != 3 || freed != 0 {
		t.Errorf("%d bytes, %+v, %v, freed %d times", out.Size(), did, err, freed)
	}
	if out.Release(); freed != 1 {
		t.Errorf("freed %d times", freed)
	}
}

func TestTheLogSaysOnceAMinuteThatItCannotBeSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		u := &use{Processor: Processor{Address: "processor.p", Observer: tallier{&tallied{}}}, buffers: event.Heap{}, chooser: chooser{ask: (&marked{}).when()},
			log: slog.New(slog.NewTextHandler(&out, nil))}
		for range 5 {
			if _, err := u.process(t.Context(), encode(t, "a?", "b?")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(25 * time.Second)
		}
		if n := strings.Count(out.String(), "reason=\"x.hcl:3:10: this is null\""); n != 2 { // at 0 s and at 75 s
			t.Errorf("%d times:\n%s", n, &out)
		}
	})
}

// BenchmarkWhen has a processor that hands on what it is given, for all, half or none of the events.
func BenchmarkWhen(b *testing.B) {
	bodies := make([]string, 1000)
	for i := range bodies {
		bodies[i] = strings.Repeat("x", 255) + "ab"[i%2:i%2+1]
	}
	in := encode(b, bodies...)
	for _, c := range []struct {
		name string
		when func(*event.Event) (bool, error)
	}{
		{"without", nil},
		{"all", func(*event.Event) (bool, error) { return true, nil }},
		{"half", func(e *event.Event) (bool, error) { return e.Body[len(e.Body)-1] == 'a', nil }},
		{"none", func(*event.Event) (bool, error) { return false, nil }},
	} {
		b.Run(c.name, func(b *testing.B) {
			u := &use{Processor: Processor{Observer: tallier{&tallied{}}}, inst: &plain{}, buffers: event.Heap{}, chooser: chooser{ask: c.when}}
			u.inst.(*plain).offsets = make([]event.Offset, 0, len(bodies))
			b.ReportAllocs()
			for b.Loop() {
				u.inst.(*plain).offsets = u.inst.(*plain).offsets[:0]
				out, err := u.process(b.Context(), in)
				if err != nil {
					b.Fatal(err)
				}
				out.Release()
			}
			b.ReportMetric(float64(len(bodies))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}
