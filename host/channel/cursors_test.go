// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

// many is a cursor of n entries with keys of 80 bytes.
func many(n int) event.Cursor {
	c := event.Cursor{}
	for i := range n {
		c[fmt.Sprintf("%080d", i)] = []byte("0123456789abcdef")
	}
	return c
}

func TestACommitCostsWhatItChangesHoweverManyEntriesThereAre(t *testing.T) {
	costs := map[int]float64{}
	for _, n := range []int{2, 20_000} {
		c := NewCursors()
		c.Change(&CursorChange{Source: "source.a", Changed: many(n)}, 1)
		two := []CursorChange{{Source: "source.a", Changed: many(2)}}
		costs[n] = testing.AllocsPerRun(10, func() {
			if err := c.Fit(two); err != nil {
				t.Fatal(err)
			}
			c.Change(&two[0], 2)
		})
		if len(c.Entries("source.a")) != n {
			t.Fatalf("%d entries of %d", len(c.Entries("source.a")), n)
		}
	}
	if costs[2] != costs[20_000] || costs[2] != 0 {
		t.Errorf("allocations by number of entries: %v", costs)
	}
}

func TestWhatIsOverALimitIsRefusedInWordsThatHelp(t *testing.T) {
	c := NewCursors()
	full := many(22_000)
	for _, want := range []string{"source.logs", fmt.Sprint(22_000 * 96), fmt.Sprint(MaxCursor), "narrower paths", "nothing is lost"} {
		if err := c.Fit([]CursorChange{{Source: "source.logs", Changed: full}}); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	for _, name := range []string{"source.a", "source.b"} {
		c.Change(&CursorChange{Source: name, Changed: many(20_000)}, 1)
	}
	for _, want := range []string{"source.logs", fmt.Sprint(MaxCursors), "another channel"} {
		if err := c.Fit([]CursorChange{{Source: "source.logs", Changed: many(20_000)}}); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if err := c.Fit([]CursorChange{{Source: "source.a", Changed: many(20_000)}}); err != nil {
		t.Errorf("to set all entries again was refused: %v", err)
	}
}

func TestACursorCanBeReplacedAsAWhole(t *testing.T) {
	c := NewCursors()
	c.Change(&CursorChange{Source: "source.a", Changed: event.Cursor{"old": []byte("1")}}, 1)
	c.Change(&CursorChange{Source: "source.b", Changed: many(20_000)}, 1)
	anew := []CursorChange{{Source: "source.b", Removed: true}, {Source: "source.b", Move: 3, Changed: many(20_001)}}
	if err := c.Fit(anew); err != nil {
		t.Fatal(err)
	}
	for i := range anew {
		c.Change(&anew[i], 2)
	}
	if got := c.Position("source.b"); got.Move != 3 || len(got.Cursor) != 20_001 {
		t.Errorf("move %d, %d entries", got.Move, len(got.Cursor))
	}
	if want := 20_001*96 + 4; c.Bytes() != want {
		t.Errorf("%d bytes, want %d", c.Bytes(), want)
	}
}

func TestEntriesComeInOrderAndCanBeRestored(t *testing.T) {
	c := NewCursors()
	c.Change(&CursorChange{Source: "source.a", Version: 4, Move: 5, Changed: many(100)}, 1)
	c.Change(&CursorChange{Source: "source.a", Version: 4, Move: 5, Changed: event.Cursor{fmt.Sprintf("%080d", 7): nil, "z": []byte("last")}}, 9)
	again := NewCursors()
	if err := again.Restore("source.a", 4, 5, c.Entries("source.a")); err != nil {
		t.Fatal(err)
	}
	a, b := c.Position("source.a"), again.Position("source.a")
	if !maps.EqualFunc(a.Cursor, b.Cursor, slices.Equal) || len(b.Cursor) != 100 || c.Bytes() != again.Bytes() || a.Move != b.Move {
		t.Errorf("%d entries in %d bytes came back as %d in %d", len(a.Cursor), c.Bytes(), len(b.Cursor), again.Bytes())
	}
	list := c.Entries("source.a")
	if last := list[len(list)-1]; last.Key != "z" || last.Set != 9 || list[0].Set != 1 {
		t.Errorf("the last of %d entries is %+v", len(list), last)
	}
	slices.Reverse(list)
	if again.Restore("source.a", 0, 0, list) == nil {
		t.Error("entries out of order were taken")
	}
}
