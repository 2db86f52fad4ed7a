// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/plugins/std/textfile"
	"github.com/penstock-io/penstock/sdk/sdktest"
)

// marks tells for each event its body, and "+" for partial or "!" for truncated.
func marks(events []sdktest.Event) []string {
	var out []string
	for _, e := range events {
		s := e.Body
		if e.Attributes[textfile.Partial] != "" {
			s += "+"
		}
		if e.Attributes[textfile.Truncated] != "" {
			s += "!"
		}
		out = append(out, s)
	}
	return out
}

func TestLongLinesAreSplitOrTruncated(t *testing.T) {
	for _, c := range []struct {
		name, how, text string
		start           string // of an event of many lines
		want            []string
	}{
		{name: "a line of the limit is whole", how: "split", text: "1234\n5678\r\n", want: []string{"1234", "5678"}},
		{name: "split into parts", how: "split", text: "123456789\nab\n", want: []string{"1234+", "5678+", "9", "ab"}},
		{name: "split before a \\r\\n", how: "split", text: "12345678\r\n", want: []string{"1234+", "5678"}},
		{name: "a line of twice the limit has two parts", how: "split", text: "12345678\n", want: []string{"1234+", "5678"}},
		{name: "truncated", how: "truncate", text: "123456789\nab\n12345\n", want: []string{"1234!", "ab", "1234!"}},
		{name: "truncated before its end is there", how: "truncate", text: "1234567", want: []string{"1234!"}},
		{name: "split between the lines of an event", how: "split", start: "^S", text: "S\na\nb\nc\nS\nd\nS\n",
			want: []string{"S\na+", "b\nc", "S\nd"}},
		{name: "truncated between the lines of an event", how: "truncate", start: "^S", text: "S\na\nb\nc\nS\nd\nS\n",
			want: []string{"S\na!", "S\nd"}},
		{name: "truncated in the first line of an event", how: "truncate", start: "^S", text: "S12345\nab\nS1\nS\n",
			want: []string{"S123!", "S1"}},
		{name: "a long line of an event that is passed over", how: "truncate", start: "^S", text: "S12345\nabcdefghij\nc\nS1\nS\n",
			want: []string{"S123!", "S1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for step := range len(c.text) {
				cfg := config{MaxLine: 4, OnLongLine: c.how}
				if c.start != "" {
					cfg.Multiline = &multilineConfig{Pattern: c.start, MaxWait: 1000 * time.Hour}
				}
				tailing(t, cfg, func(b *bed) { byPieces(t, b, c.text, step+1, c.want) })
			}
		})
	}
}

// byPieces writes text in steps of so many bytes, with a restart after each, and compares what comes in all.
func byPieces(t *testing.T, b *bed, text string, step int, want []string) {
	t.Helper()
	b.add("app.log", "")
	b.start()
	for piece := range slices.Chunk([]byte(text), step) {
		b.add("app.log", string(piece))
		time.Sleep(2 * defaultScan)
		b.Drain()
		b.restart()
	}
	if got := marks(b.Events); !slices.Equal(got, want) {
		t.Fatalf("in steps of %d: read %q, want %q", step, got, want)
	}
}

func TestLinesJoinIntoEvents(t *testing.T) {
	cfg := config{Multiline: &multilineConfig{Pattern: `^\d`, MaxWait: 10 * time.Second}}
	tailing(t, cfg, func(b *bed) {
		b.add("app.log", "stray\n1 one\r\n  at a\r\n  at b\r\n2 two\n")
		b.start()
		got := b.read("stray", "1 one\r\n  at a\r\n  at b")
		if at := got[1].Attributes["file.position"]; at != "6" {
			t.Errorf("position is %s, want that of the first line", at)
		}
		b.add("app.log", "  at c\n  at")
		b.read()
		time.Sleep(10 * time.Second)
		b.read("2 two\n  at c") // nothing came for max_wait; the last line is not whole
		time.Sleep(time.Hour)
		b.read()
		b.add("app.log", " d\n3 three\n4")
		b.read("  at d")
		b.move("app.log", "app.log.1")
		b.read()
		time.Sleep(time.Minute)
		b.read("3 three", "4")
	})
}

func TestLinesOfAMebibyte(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		long := strings.Repeat("0123456789abcde\n", 1<<16)
		long = strings.ReplaceAll(long, "\n", "-")
		b.add("app.log", "short\n"+long+"\n"+long+"-\nshort\n")
		b.start()
		b.MaxBytes = 4 << 20
		got := b.read("short", long, long, "-", "short")
		if got[2].Attributes[textfile.Partial] != "true" || got[3].Attributes[textfile.Partial] != "" {
			t.Error("of a line of 1 MiB and one byte, the first part must be marked and the second not")
		}
	})
}

func TestLineThatDoesNotFitTheBatchIsSplit(t *testing.T) {
	tailing(t, config{}, func(b *bed) {
		line := strings.Repeat("x", 5000)
		b.add("app.log", line+"\nend\n")
		b.start()
		b.MaxBytes = 4096
		time.Sleep(2 * defaultScan)
		got := b.Drain()
		if all := strings.Join(sdktest.Bodies(got), ""); all != line+"end" || len(got) != 3 {
			t.Fatalf("read %d events of %d bytes", len(got), len(all))
		}
	})
}

// TestAnyHistoryIsReadOnceAndInOrder lets a file grow, rotate and be killed at random.
func TestAnyHistoryIsReadOnceAndInOrder(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			b := &bed{t: t, dir: dir, cfg: config{Paths: []string{dir + "/app.log"}}}
			h := history{bed: b, rnd: rnd}
			h.write()
			b.start()
			b.Drain()
			for range 150 {
				h.step()
			}
			h.finishLine()
			time.Sleep(time.Minute)
			b.Drain()
			if got := sdktest.Bodies(b.Events); !slices.Equal(got, h.want) {
				i := 0
				for i < min(len(got), len(h.want)) && got[i] == h.want[i] {
					i++
				}
				t.Fatalf("seed %d: read %d lines, want %d; they differ at %d: %q, want %q\nhistory: %s", seed, len(got), len(h.want), i,
					got[i:min(i+3, len(got))], h.want[i:min(i+3, len(h.want))], strings.Join(h.did, " "))
			}
		})
	}
}

type history struct {
	*bed
	rnd      *rand.Rand
	want     []string
	half     string // a line without its newline
	lines, n int
	writes   int
	did      []string
}

func (h *history) step() {
	switch h.rnd.IntN(9) {
	case 0, 1, 2:
		h.write()
	case 3:
		h.note("rotate")
		if h.half != "" { // a writer ends its line before it lets go of a file
			h.finishLine()
		}
		h.n++
		h.move("app.log", fmt.Sprintf("app.log.%d", h.n))
		h.write()
	case 4:
		h.note("kill")
		h.restart()
	case 5, 6:
		h.MaxEvents = 1 + h.rnd.IntN(5)
		h.note("poll")
		if _, err := h.Poll(); err != nil {
			h.t.Fatal(err)
		}
		if h.rnd.IntN(3) > 0 {
			h.note("commit")
			h.Commit()
		}
	case 7:
		time.Sleep(time.Duration(h.rnd.IntN(3000)) * time.Millisecond)
	case 8:
		h.finishLine()
	}
}

func (h *history) note(s string) { h.did = append(h.did, s) }

func (h *history) finishLine() {
	h.note("newline")
	h.add("app.log", "\n")
	h.want = append(h.want, h.half)
	h.half = ""
	h.stamp()
}

// stamp makes each write a second later than the one before: the real clock would not tell them apart.
func (h *history) stamp() {
	h.writes++
	h.age("app.log", -time.Duration(h.writes)*time.Second)
}

func (h *history) write() {
	var text strings.Builder
	for range h.rnd.IntN(6) {
		line := fmt.Sprintf("line %d", h.lines)
		h.lines++
		text.WriteString(line + "\n")
		h.want = append(h.want, h.half+line)
		h.half = ""
	}
	if h.rnd.IntN(3) == 0 {
		text.WriteString("half ")
		h.half += "half "
	}
	h.note(fmt.Sprintf("write %q", text.String()))
	h.add("app.log", text.String())
	h.stamp()
}
