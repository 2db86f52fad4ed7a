// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// houses is an agent with channels of which nothing but cursors matters: a and b last, m does not.
type houses struct {
	*testing.T
	*Agent
	said strings.Builder
}

func inHouses(t *testing.T, f func(*houses)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := &houses{T: t, Agent: &Agent{dir: dir}}
		h.opts = Options{Log: slog.New(slog.NewTextHandler(&h.said, nil)), Step: func(string) {}}
		h.rev = &revision{Setup: Setup{Config: &config.Config{}}, agent: h.Agent}
		hold := func(s store, address, kind string) {
			c := &openChannel{Channel: s, Operator: s, Seeker: s, address: address, kind: kind, pool: channel.NewPool(0), drops: &dropLog{}, unwatch: func() {}}
			h.rev.channels = append(h.rev.channels, c)
		}
		for _, name := range []string{"a", "b"} {
			c, err := wal.Open(wal.Options{Dir: ChannelDir(dir, name)})
			if err != nil {
				t.Fatal(err)
			}
			hold(c, "channel."+name, "wal")
		}
		hold(memory.New(memory.Options{}), "channel.m", "memory")
		f(h)
		for _, c := range h.channels() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// put gives source.app a cursor in a channel.
func (h *houses) put(name, value string, move uint32) {
	h.Helper()
	p := channel.Put{Source: "source.app", Changed: event.Cursor{"at": []byte(value), value: []byte("own")}, Version: 3, Move: move}
	if err := commit(h.Context(), h.current().channel(name), p); err != nil {
		h.Fatal(err)
	}
}

// fill has the source fill a channel from now on, as after a restart.
func (h *houses) fill(name string) error {
	h.Helper()
	h.moves.places = nil
	if err := h.survey(); err != nil {
		h.Fatal(err)
	}
	return h.fetch(h.Context(), "source.app", name, nil)
}

// stands checks where the source stands in a channel: "" is nowhere.
func (h *houses) stands(name, value string, move uint32) {
	h.Helper()
	p, err := h.current().channel(name).Cursor(context.Background(), "source.app")
	if err != nil {
		h.Fatal(err)
	}
	want := 0
	if value != "" {
		want = 2
	}
	if string(p.Cursor["at"]) != value || p.Move != move || len(p.Cursor) != want {
		h.Fatalf("in %s it stands at %v, move %d; want %q, move %d", name, p.Cursor, p.Move, value, move)
	}
}

func (h *houses) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func TestACursorFollowsItsSource(t *testing.T) {
	inHouses(t, func(h *houses) {
		h.put("a", "1", 0)
		h.must(h.fill("b"))
		h.stands("b", "1", 1)
		h.stands("a", "", 0)
		h.must(h.fill("b"))
		h.stands("b", "1", 1)
		h.must(h.fill("a"))
		h.stands("a", "1", 2)
		h.stands("b", "", 0)
	})
}

func TestTheHigherMoveNumberCounts(t *testing.T) {
	inHouses(t, func(h *houses) {
		h.put("a", "old", 1) // a crash left it there
		h.put("b", "new", 2)
		h.must(h.fill("a"))
		h.stands("a", "new", 3) // and nothing of the old
		h.stands("b", "", 0)
		h.put("b", "old", 1)
		h.must(h.fill("a"))
		h.stands("a", "new", 3)
		h.stands("b", "", 0)
	})
}

func TestACursorIsLentToAChannelThatDoesNotLast(t *testing.T) {
	inHouses(t, func(h *houses) {
		h.put("a", "1", 4)
		h.must(h.fill("m"))
		h.stands("m", "1", 5)
		h.stands("a", "1", 4)
	})
}

func TestWhereNobodyCanLookNothingBeginsAnew(t *testing.T) {
	inHouses(t, func(h *houses) {
		h.must(os.MkdirAll(ChannelDir(h.dir, "empty"), 0o700)) // there is nothing to look at
		h.must(h.fill("b"))
		h.must(os.MkdirAll(filepath.Join(ChannelDir(h.dir, "broken"), "log"), 0o700))
		h.must(os.WriteFile(filepath.Join(ChannelDir(h.dir, "broken"), "log", "00000000000000000001"), []byte("no META"), 0o600))
		err := h.fill("b")
		if plugin.ClassOf(err) != abi.Config || !strings.Contains(err.Error(), "broken") || !strings.Contains(h.said.String(), "move its directory away") {
			t.Errorf("error %v; it said %s", err, h.said.String())
		}
		h.put("a", "1", 0) // it is known where the source is: that is enough
		h.must(h.fill("b"))
		h.stands("b", "1", 1)
	})
}

// left makes a directory of a channel that nobody names, and that has a cursor.
func (h *houses) left(name string) (dir string) {
	h.Helper()
	dir = ChannelDir(h.dir, name)
	c, err := wal.Open(wal.Options{Dir: dir})
	h.must(err)
	h.must(commit(h.Context(), c, channel.Put{Source: "source.app", Changed: event.Cursor{"at": []byte("7"), "7": []byte("own")}, Version: 3}))
	h.must(c.Close())
	return dir
}

func TestADirectoryThatIsMovedAwayOrMendedIsNotInTheWay(t *testing.T) {
	for _, mended := range []bool{false, true} {
		inHouses(t, func(h *houses) {
			broken := ChannelDir(h.dir, "broken")
			h.must(os.MkdirAll(filepath.Join(broken, "log"), 0o700))
			h.must(os.WriteFile(filepath.Join(broken, "log", "00000000000000000001"), []byte("no META"), 0o600))
			if err := h.fill("b"); err == nil {
				t.Fatal("nobody can look into it, and it is no matter")
			}
			h.must(os.RemoveAll(broken)) // as the error says
			if mended {
				h.left("broken")
			}
			h.must(h.fetch(h.Context(), "source.app", "b", nil))
			if mended {
				h.stands("b", "7", 1)
			}
		})
	}
}

func TestADirectoryThatWasRemovedIsNotMadeAgain(t *testing.T) {
	inHouses(t, func(h *houses) {
		left := h.left("left")
		h.moves.places = nil
		h.must(h.survey())
		h.must(os.RemoveAll(left)) // as the log says, when nothing in it is wanted
		h.must(h.fetch(h.Context(), "source.app", "b", nil))
		h.stands("b", "", 0)
		if _, err := os.Stat(left); err == nil {
			t.Error("it is there again")
		}
	})
}

func TestACursorIsFetchedIntoNoChannelThatIsGone(t *testing.T) {
	inHouses(t, func(h *houses) {
		h.put("a", "7", 0)
		if err := h.fill("gone"); err == nil {
			t.Error("it is there")
		}
		h.stands("a", "7", 0)
	})
}

func TestAMoveIntoAFullChannelIsTriedAgain(t *testing.T) {
	inHouses(t, func(h *houses) {
		h.put("a", "1", 0)
		b := h.current().channel("b")
		b.Resize(channel.Capacity{Events: 1})
		var w event.Builder
		h.must(w.Append(event.Event{Body: []byte("waits")}))
		h.must(commit(t.Context(), b, channel.Put{Source: "source.other", Batch: w.Batch()}))
		err := h.fill("b")
		if err == nil || !strings.Contains(err.Error(), "move the cursor of source.app from channel.a to channel.b") || !strings.Contains(err.Error(), "is full") {
			t.Errorf("error %v", err)
		}
		h.stands("a", "1", 0)
		b.Resize(channel.Capacity{})
		h.must(h.fill("b"))
		h.stands("b", "1", 1)
	})
}
