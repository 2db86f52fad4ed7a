// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
)

// side is a configuration of one source, one processor, one channel and one sink, and some edits of it.
func side(edits ...func(*Side)) Side {
	component := func(kind abi.Kind, name string) config.Component {
		return config.Component{
			Name: name, Kind: kind, Ref: config.PluginRef{Name: "std", Source: "builtin:std"},
			Plugin: abi.Plugin{Kind: kind, Name: "file", CursorVersion: 1, Arguments: []abi.Argument{
				{Name: "every", Type: "duration"}, {Name: "room", Type: "size"}, {Name: "word", Type: "string", Sensitive: true}, {Name: "path", Type: "string"},
			}},
			Config: json.RawMessage(`{"every":1000000000,"room":4194304,"path":"/a"}`), Limits: config.Limits{Share: 1},
		}
	}
	s := Side{
		Config: &config.Config{
			Revision:   "1",
			Agent:      config.Agent{Name: "a", DrainTimeout: 30 * time.Second},
			Channels:   []config.Channel{{Kind: "wal", Name: "main", CapacityBytes: 1 << 30, OnFull: "block"}, {Kind: "wal", Name: "dead", CapacityBytes: 1 << 30}},
			Processors: []config.Processor{{Component: component(abi.Processor, "parse"), OnError: "stop"}},
			Sources:    []config.Source{{Component: component(abi.Source, "shop"), Into: "main", Through: []string{"parse"}}},
			Sinks:      []config.Sink{{Component: component(abi.Sink, "orders"), Feed: config.Feed{From: "main"}, Batch: config.Batch{Events: 5000}, Connections: 1, Lanes: 1}},
		},
		Digests:  map[string]string{"source.shop": "9b74aa", "processor.parse": "9b74aa", "sink.orders": "9b74aa"},
		Revealed: map[string]config.Revealed{},
	}
	for _, e := range edits {
		e(&s)
	}
	return s
}

func revealed(config string) func(*Side) {
	return func(s *Side) { s.Revealed["sink.orders"] = revealedAs(config) }
}

func revealedAs(doc string) config.Revealed { return config.Revealed{Config: json.RawMessage(doc)} }

func TestWhatDoesNotChangeIsNotAmongTheSteps(t *testing.T) {
	if p := Compare(side(), side(func(s *Side) { s.Config.Revision = "2" })); !p.Empty() || p.Summary() != "no changes" {
		t.Errorf("%+v", p.Steps)
	}
}

func TestAGroupWhoseMembersChangeHasAStep(t *testing.T) {
	group := func(name string, members ...string) func(*Side) {
		return func(s *Side) { s.Config.Groups = append(s.Config.Groups, config.Group{Name: name, Members: members}) }
	}
	if p := Compare(side(group("g", "a", "b")), side(group("g", "a", "b"))); !p.Empty() {
		t.Errorf("nothing changes: %+v", p.Steps)
	}
	p := Compare(side(group("g", "a", "b"), group("old", "c")), side(group("g", "b", "a"), group("new", "c")))
	if len(p.Steps) != 1 || p.Steps[0].Address != "sink_group.g" || p.Steps[0].Do != Update || p.Steps[0].Changes[0] != (Change{"members", "sink.a, sink.b", "sink.b, sink.a"}) {
		t.Errorf("the order of members changes: %+v", p.Steps)
	}
}

// changeOver is said wherever a sink gets other events.
const changeOver = "\nSinks change over each where it stands: an event that one is past and another is not may go to both, or to none."

// named has the sink read the first case of a route by these names, of two.
func named(s *Side, route, first string) {
	s.Config.Routes = []config.Route{{Name: route, From: "main", All: true, Cases: []config.Case{
		{Name: first, When: &config.Condition{Text: "event.size > 9"}}, {Name: "small", When: &config.Condition{Text: "event.size < 5"}}}}}
	s.Config.Sinks[0].Feed = config.Feed{From: "main", Route: route, Case: first}
}

func TestEachChangeHasItsStep(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Side)
		want string // the text, but for blanks
	}{
		"a batch": {func(s *Side) { s.Config.Sinks[0].Batch.Events = 10000 },
			"~ sink.orders restart of this sink only; channel.main keeps filling\nbatch.events 5000 → 10000"},
		"a duration of the plugin": {func(s *Side) {
			s.Config.Sinks[0].Config = json.RawMessage(`{"every":2000000000,"room":1048576,"path":"/a"}`)
		}, "~ sink.orders restart of this sink only; channel.main keeps filling\nconfig.every 1s → 2s\nconfig.room 4MiB → 1MiB"},
		"an argument that goes": {func(s *Side) { s.Config.Sinks[0].Config = json.RawMessage(`{"every":1000000000,"room":4194304}`) },
			"~ sink.orders restart of this sink only; channel.main keeps filling\nconfig.path \"/a\" → (not set)"},
		"a secret": {revealed(`{"every":1000000000,"room":4194304,"path":"/a","word":"hunter3"}`),
			"~ sink.orders restart of this sink only; channel.main keeps filling\nconfig.word (secret) → (secret)"},
		"a capacity": {func(s *Side) { s.Config.Channels[0].CapacityBytes = 2 << 30 },
			"~ channel.main in place; nothing stops\ncapacity 1GiB → 2GiB"},
		"dead letters": {func(s *Side) { s.Config.Channels[0].DeadLetter = "dead" },
			"~ channel.main in place; nothing stops\ndead_letter (not set) → dead\n" +
				"~ source.shop restart of this source only; channel.main is drained meanwhile (for channel.main)\n" +
				"~ sink.orders restart of this sink only; channel.main keeps filling (for channel.main)"},
		"a policy": {func(s *Side) { s.Config.Channels[0].OnFull = "refuse" },
			"~ channel.main in place; nothing stops\non_full block → refuse\n" +
				"refused: channel.main: on_full cannot change while the agent runs (block → refuse): stop the agent and start it again, or put it back"},
		"the data": {func(s *Side) { s.Config.Agent.DataDir = "/x" },
			"~ agent in place; components take it up when they start\ndata_dir (not set) → /x\n" +
				"refused: agent: data_dir cannot change while the agent runs ((not set) → /x): stop the agent and start it again, or put it back"},
		"a processor": {func(s *Side) { s.Config.Processors[0].OnError = "drop" },
			"~ processor.parse restart with what goes through it\non_error stop → drop\n" +
				"~ source.shop restart of this source only; channel.main is drained meanwhile (for processor.parse)"},
		"a plugin": {func(s *Side) { s.Digests["processor.parse"] = "c0decafe" },
			"~ processor.parse restart with what goes through it\nplugin std sha256:9b74aa → sha256:c0deca…\n" +
				"~ source.shop restart of this source only; channel.main is drained meanwhile (for processor.parse)"},
		"a permission": {func(s *Side) { s.Config.Sinks[0].Dirs = []config.Dir{{Path: "/b"}} },
			"~ sink.orders restart of this sink only; channel.main keeps filling\ngrant.dir.0 (not set) → /b read\n+ permission read /b ← NEW PERMISSION"},
		"a sink that comes": {func(s *Side) {
			s.Config.Sinks = append(s.Config.Sinks, s.Config.Sinks[0])
			s.Config.Sinks[1].Name = "more"
		}, "+ sink.more new; takes from channel.main"},
		"a sink that is held": {func(s *Side) {}, "~ sink.orders restart of this sink only; channel.main keeps filling (it is held, and is tried again)"},
		"a filter": {func(s *Side) { s.Config.Sinks[0].Where = &config.Condition{Text: "event.size > 1"} },
			"~ sink.orders restart of this sink only; channel.main keeps filling\nwhere (not set) → event.size > 1" + changeOver},
		"a case of a route": {func(s *Side) {
			s.Config.Routes = []config.Route{{Name: "by_size", From: "main", Cases: []config.Case{
				{Name: "large", When: &config.Condition{Text: "event.size > 9"}}, {Name: "rest", Default: true}}}}
			s.Config.Sinks[0].Feed = config.Feed{From: "main", Route: "by_size", Case: "rest"}
		}, "~ sink.orders restart of this sink only; channel.main keeps filling\nfrom channel.main → route.by_size.rest\nroute.by_size.from (not set) → channel.main\n" +
			"route.by_size.large (not set) → event.size > 9\nroute.by_size.rest.default (not set) → true" + changeOver},
		"a sink that goes": {func(s *Side) { s.Config.Sinks = nil }, "- sink.orders removed"},
		"a source that cannot come back": {func(s *Side) { s.Config.Sources[0].Plugin.CursorVersion, s.Config.Sources[0].Through = 2, nil },
			"~ source.shop restart of this source only; channel.main is drained meanwhile\nthrough processor.parse → (not set)\n" +
				"no way back: the new version writes its cursor in form 2, and the old one reads form 1: once it has read something, there is no way back, and a failure holds it"},
	} {
		t.Run(name, func(t *testing.T) {
			from := side(revealed(`{"every":1000000000,"room":4194304,"path":"/a","word":"hunter2"}`))
			if name == "a sink that is held" {
				from.Held = map[string]bool{"sink.orders": true}
			}
			p := Compare(from, side(revealed(`{"every":1000000000,"room":4194304,"path":"/a","word":"hunter2"}`), func(s *Side) {
				s.Config.Revision = "2"
				c.edit(s)
				if name != "a secret" {
					s.Revealed, from.Revealed = nil, nil
				}
			}))
			if name == "a plugin" && len(p.Asks()) > 0 {
				t.Errorf("code alone asks: %q", p.Asks())
			}
			p.Paths = nil // see TestWhatHoldsThenIsToldWithWhatHeldBefore
			var out strings.Builder
			p.Write(&out, nil)
			if got := blanks(out.String()); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
			doc, err := json.Marshal(p)
			if err != nil || bytes.Contains(doc, []byte("hunter")) {
				t.Errorf("%s, %v", doc, err)
			}
		})
	}
}

// TestASinkKeepsItsPlaceWhenItsRouteChanges: it is started again, and is the same reader. What others of the route get is nothing to it, unless it is the one that
// counts what is of no case.
func TestASinkKeepsItsPlaceWhenItsRouteChanges(t *testing.T) {
	const restart = "~ sink.orders restart of this sink only; channel.main keeps filling\n"
	first := func(s *Side) { named(s, "by_size", "large") }
	for name, c := range map[string]struct {
		from, to func(*Side)
		want     string
	}{
		"another name of its case": {first, func(s *Side) { named(s, "by_size", "huge") },
			restart + "from route.by_size.large → route.by_size.huge\nroute.by_size.huge (not set) → event.size > 9\nroute.by_size.large event.size > 9 → (not set)" + changeOver},
		"another name of its route": {first, func(s *Side) { named(s, "by_length", "large") },
			restart + "from route.by_size.large → route.by_length.large\nroute.by_length.from (not set) → channel.main\nroute.by_length.match = all (not set) → true\n" +
				"route.by_length.large (not set) → event.size > 9\nroute.by_size.from channel.main → (not set)\nroute.by_size.match = all true → (not set)\n" +
				"route.by_size.large event.size > 9 → (not set)" + changeOver},
		"a route that goes": {first, func(*Side) {},
			restart + "from route.by_size.large → channel.main\nroute.by_size.from channel.main → (not set)\nroute.by_size.match = all true → (not set)\n" +
				"route.by_size.large event.size > 9 → (not set)" + changeOver},
		"another case of all": {first, func(s *Side) { first(s); s.Config.Routes[0].Cases[1].When.Text = "event.size < 3" }, ""},
		"another case of all, for who counts": {func(s *Side) { first(s); s.Config.Sinks[0].Case = "small" },
			func(s *Side) {
				first(s)
				s.Config.Sinks[0].Case, s.Config.Routes[0].Cases[0].When.Text = "small", "event.size > 8"
			},
			restart + "route.by_size.large event.size > 9 → event.size > 8" + changeOver},
	} {
		p := Compare(side(c.from), side(c.to, func(s *Side) { s.Config.Revision = "2" }))
		p.Paths = nil
		var out strings.Builder
		p.Write(&out, nil)
		if got := blanks(out.String()); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

// blanks makes one blank of many, and no lines of blanks.
func blanks(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}

func TestWhatHoldsThenIsToldWithWhatHeldBefore(t *testing.T) {
	exact := func(s *Side) {
		s.Config.Sources[0].Plugin.Replay, s.Config.Sinks[0].Plugin.Effects = "cursor", "transactional"
		s.Config.Channels[0].Durability, s.Config.Channels[0].DeadLetter = "fsync", "dead"
		s.Config.Channels[1].Durability = "fsync"
	}
	for name, c := range map[string]struct {
		from, to func(*Side)
		want     string
	}{
		"the same": {exact, exact, "Delivery:\nsource.shop → processor.parse → channel.main → sink.orders exactly once (cursor in the record; transactional sink)"},
		"weaker": {exact, func(s *Side) { exact(s); s.Config.Sinks[0].OnLag = "skip" },
			"Delivery:\nsource.shop → processor.parse → channel.main → sink.orders at most once (sink.orders skips events when it is far behind)\n" +
				"weaker: source.shop → processor.parse → channel.main → sink.orders exactly once → at most once (sink.orders skips events when it is far behind)"},
		"weaker, through the channel of dead letters": {exact, func(s *Side) { exact(s); s.Config.Channels[1].OnFull = "drop_oldest" },
			"Delivery:\nsource.shop → processor.parse → channel.main → sink.orders at most once (of what is rejected: channel.dead drops its oldest events when it is full)\n" +
				"weaker: source.shop → processor.parse → channel.main → sink.orders exactly once → at most once (of what is rejected: channel.dead drops its oldest events when it is full)"},
		"neither": {func(s *Side) { exact(s); s.Config.Sinks[0].Plugin.Effects = "none" }, func(s *Side) { exact(s); s.Config.Sinks[0].OnLag = "skip" },
			"Delivery:\nsource.shop → processor.parse → channel.main → sink.orders at most once (sink.orders skips events when it is far behind)\n" +
				"weaker: source.shop → processor.parse → channel.main → sink.orders at least once → at most once (sink.orders skips events when it is far behind)"},
		"stronger": {func(s *Side) { exact(s); s.Config.Sinks[0].OnLag = "skip" }, exact,
			"Delivery:\nsource.shop → processor.parse → channel.main → sink.orders exactly once (cursor in the record; transactional sink)"},
		"under another name": {exact, func(s *Side) {
			exact(s)
			s.Config.Sinks[0].Name, s.Config.Sinks[0].OnLag = "bills", "skip"
			s.Config.Moved = []config.Move{{From: "sink.orders", To: "sink.bills"}}
		}, "Delivery:\nsource.shop → processor.parse → channel.main → sink.bills at most once (sink.bills skips events when it is far behind)\n" +
			"weaker: source.shop → processor.parse → channel.main → sink.bills exactly once → at most once (sink.bills skips events when it is far behind)"},
	} {
		p := Compare(side(c.from), side(c.to))
		p.Steps, p.Refused = nil, nil
		var out strings.Builder
		p.Write(&out, nil)
		if got := blanks(out.String()); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestTheHashIsThatOfWhatIsDone(t *testing.T) {
	edit := func(s *Side) { s.Config.Revision, s.Config.Sinks[0].Batch.Events = "2", 1 }
	a, b := Compare(side(), side(edit)), Compare(side(), side(edit))
	b.Status.Pending["sink.x"] = 1
	if a.Hash != b.Hash || a.Hash == Compare(side(), side()).Hash || a.Hash != a.hash() {
		t.Errorf("%s and %s", a.Hash, b.Hash)
	}
}

func TestOnlyPeopleDecideWhatOthersVouchedFor(t *testing.T) {
	for says, edit := range map[string]func(*Side){
		"its sha256 is another":          func(s *Side) { s.Config.Sinks[0].Ref.SHA256 = "ff" },
		"it runs in another way":         func(s *Side) { s.Config.Sinks[0].Ref.Subprocess = true },
		"bounds its processor time":      func(s *Side) { s.Config.Sinks[0].Ref.Trusted = true },
		"may read /b":                    func(s *Side) { s.Config.Sinks[0].Dirs = []config.Dir{{Path: "/b"}} },
		"it comes from somewhere else":   func(s *Side) { s.Config.Secrets = []config.Secret{{Name: "pg", From: "env:B"}} },
		"another program runs, outside ": func(s *Side) { s.Config.Sinks[0].Ref.Subprocess, s.Config.Sinks[0].Ref.Source = true, "/bin/x" },
	} {
		from := side(func(s *Side) { s.Config.Secrets = []config.Secret{{Name: "pg", From: "env:A"}} })
		to := side(func(s *Side) { s.Config.Secrets = from.Config.Secrets }, edit)
		if asks := strings.Join(Compare(from, to).Asks(), "; "); !strings.Contains(asks, says) {
			t.Errorf("%s: %q", says, asks)
		}
	}
	if asks := Compare(side(), side(func(s *Side) { s.Config.Sinks[0].Batch.Events, s.Digests["sink.orders"] = 1, "new" })).Asks(); len(asks) > 0 {
		t.Errorf("a batch and a module ask: %q", asks)
	}
}

// Each field of a configuration that is not the same must show: one that nobody compares would be ignored by a reload.
func TestEveryFieldIsCompared(t *testing.T) {
	// What follows from other fields, or says nothing of what is opened.
	free := []string{
		"Component.Name", "Component.Kind", "Component.DeclRange", "Component.Plugin", "Component.open", "Component.hidden", "Component.secretHandles",
		"Ref.Name", "Ref.Kept", "Ref.TrustedWith", "Channel.Name", "Channel.DeclRange", "TLS.Name", "TLS.DeclRange", "Component.Handles", "Component.Config",
	}
	visit := func(name string, of func(*Side) any) {
		typ := reflect.TypeOf(of(ptr(side()))).Elem()
		for i := range typ.NumField() {
			f := typ.Field(i)
			full := name + "." + f.Name
			if slices.Contains(free, full) || f.Type.Kind() == reflect.Struct {
				continue
			}
			changed := side(func(s *Side) { alter(reflect.ValueOf(of(s)).Elem().Field(i)) })
			if Compare(side(), changed).Empty() {
				t.Errorf("%s is not compared", full)
			}
		}
	}
	visit("Channel", func(s *Side) any { return &s.Config.Channels[0] })
	visit("Processor", func(s *Side) any { return &s.Config.Processors[0] })
	visit("Source", func(s *Side) any { return &s.Config.Sources[0] })
	visit("Sink", func(s *Side) any { return &s.Config.Sinks[0] })
	visit("Batch", func(s *Side) any { return &s.Config.Sinks[0].Batch })
	visit("Retry", func(s *Side) any { return &s.Config.Sinks[0].Retry })
	visit("Component", func(s *Side) any { return &s.Config.Sinks[0].Component })
	visit("Ref", func(s *Side) any { return &s.Config.Sinks[0].Ref })
	visit("Limits", func(s *Side) any { return &s.Config.Sinks[0].Limits })
	visit("Listen", func(s *Side) any { return &s.Config.Sinks[0].Limits.Listen })
	visit("Serve", func(s *Side) any { return &s.Config.Sinks[0].Limits.Serve })
	visit("Agent", func(s *Side) any { return &s.Config.Agent })
}

func ptr(s Side) *Side { return &s }

// alter sets a field to something else.
func alter(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("altered")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 7_000_000_000)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(v.Uint() + 7)
	case reflect.Float64:
		v.SetFloat(v.Float() + 0.5)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
		if e := v.Index(v.Len() - 1); e.Kind() == reflect.String {
			e.SetString("altered")
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"altered": "x"}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	default:
		panic(fmt.Sprint("no way to alter a ", v.Type()))
	}
}

func TestWhatARemovedSinkLeavesIsSaidWithHowToGiveItUp(t *testing.T) {
	p := Compare(side(), side(func(s *Side) { s.Config.Sinks = s.Config.Sinks[1:] }))
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Do == Remove })
	if i < 0 {
		t.Fatalf("nothing is removed: %+v", p.Steps)
	}
	sink := p.Steps[i]
	for pending, want := range map[uint64]bool{0: false, 3: true} {
		p.Status.Pending[sink.Address] = pending
		var text strings.Builder
		p.Write(&text, nil)
		command := "penstock channel forget " + strings.TrimPrefix(sink.Channel, "channel.") + " " + sink.Address
		if strings.Contains(text.String(), command) != want {
			t.Errorf("with %d events pending:\n%s", pending, &text)
		}
	}
}

func TestAChannelInMemoryDoesNotGoTogetherWithTheWayBack(t *testing.T) {
	temp := func(s *Side) {
		s.Config.Channels = append(s.Config.Channels, config.Channel{Kind: "memory", Name: "temp"})
	}
	form := func(s *Side) { s.Config.Sources[0].Plugin.CursorVersion, s.Digests["source.shop"] = 2, "c0de" }
	for _, c := range []struct {
		name    string
		to      Side
		refused int
	}{{"both", side(form), 1}, {"the way back", side(temp, form), 0}, {"the channel", side(), 0}} {
		if p := Compare(side(temp), c.to); len(p.Refused) != c.refused {
			t.Errorf("%s: refused %q", c.name, p.Refused)
		}
	}
}
