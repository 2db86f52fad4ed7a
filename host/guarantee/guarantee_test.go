// SPDX-License-Identifier: Apache-2.0

package guarantee

import (
	"os"
	"strings"
	"testing"
)

// exact is a path on which everything holds; cases spoil it.
func exact() Path {
	return Path{
		Source: Source{Address: "source.a", Replay: "cursor"},
		Stages: []Stage{{
			Channel: Channel{Address: "channel.main", Durability: "fsync", OnFull: "block"},
			Sink:    Sink{Address: "sink.z", Effects: "transactional", OnLag: "hold"},
		}},
	}
}

// cases are the table of spec/delivery.md §7, each with what is said of it there.
var cases = []struct {
	name  string // a row of the table
	spoil func(p *Path)
	want  Level
	why   string
}{
	{"a source with a cursor, a `wal` at `fsync`, a transactional sink", func(*Path) {},
		ExactlyOnce, "cursor in the record; transactional sink"},
	{"…, an idempotent sink", func(p *Path) { p.Stages[0].Sink.Effects = "idempotent" },
		ExactlyOnce, "cursor in the record; the destination knows what it holds by its key"},
	{"a sink that claims nothing", func(p *Path) { p.Stages[0].Sink.Effects = "none" },
		AtLeastOnce, "a batch is delivered again when its answer is lost"},
	{"a source whose sender waits for the answer", func(p *Path) { p.Source.Replay = "ack" },
		AtLeastOnce, "a sender that missed the answer may send again"},
	{"a source that nobody can ask again", func(p *Path) { p.Source.Replay = "none" },
		AtMostOnce, "what the source had taken and not yet stored is lost at a crash"},
	{"…, and a sink that claims nothing", func(p *Path) { p.Source.Replay, p.Stages[0].Sink.Effects = "none", "none" },
		BestEffort, "what the source had taken and not yet stored is lost at a crash; a batch is delivered again when its answer is lost"},
	{"`durability` below `fsync`", func(p *Path) { p.Stages[0].Channel.Durability = "interval" },
		BestEffort, "the newest events of channel.main may be lost in a power cut, after they were acknowledged"},
	{"…, and a source that nobody can ask again", func(p *Path) { p.Stages[0].Channel.Durability, p.Source.Replay = "os", "none" },
		AtMostOnce, "what the source had taken and not yet stored is lost at a crash"},
	{"a channel in memory", func(p *Path) { p.Stages[0].Channel.Memory = true },
		BestEffort, "what is in memory is lost when the agent ends, and so is where the source stood"},
	{"…, and a source without a cursor", func(p *Path) { p.Stages[0].Channel.Memory, p.Source.Replay = true, "none" },
		AtMostOnce, "what the source had taken and not yet stored is lost at a crash"},
	{"`on_full = \"drop_oldest\"`", func(p *Path) { p.Stages[0].Channel.OnFull = "drop_oldest" },
		AtMostOnce, "channel.main drops its oldest events when it is full"},
	{"`on_full = \"drop_newest\"`", func(p *Path) { p.Stages[0].Channel.OnFull = "drop_newest" },
		AtMostOnce, "channel.main drops what comes when it is full"},
	{"`on_full = \"refuse\"`", func(p *Path) { p.Stages[0].Channel.OnFull = "refuse" },
		ExactlyOnce, "cursor in the record; transactional sink"},
	{"`on_lag = \"skip\"`", func(p *Path) { p.Stages[0].Sink.OnLag = "skip" },
		AtMostOnce, "sink.z skips events when it is far behind"},
	{"`on_lag = \"detach\"`", func(p *Path) { p.Stages[0].Sink.OnLag = "detach" },
		BestEffort, "sink.z is detached when it is far behind, and begins anew"},
	{"a processor with `on_error = \"drop\"`", func(p *Path) { p.Processors = []Processor{{"processor.x", "drop"}} },
		AtMostOnce, "processor.x gives up what it rejects"},
	{"…, on the way to the sink", func(p *Path) { p.Stages[0].Processors = []Processor{{"processor.x", "drop"}} },
		AtMostOnce, "processor.x gives up what it rejects"},
	{"a processor with any other `on_error`", func(p *Path) { p.Processors = []Processor{{"processor.x", "dead_letter"}} },
		ExactlyOnce, "cursor in the record; transactional sink"},
	{"dead letters as safe as the channel", func(p *Path) {
		p.Stages[0].Dead = &Channel{Address: "channel.dead", Durability: "fsync", OnFull: "block"}
	},
		ExactlyOnce, "cursor in the record; transactional sink"},
	{"dead letters in memory", func(p *Path) { p.Stages[0].Dead = &Channel{Address: "channel.dead", Memory: true} },
		AtMostOnce, "of what is rejected: what is in memory is lost when the agent ends"},
	{"dead letters that drop when they are full", func(p *Path) {
		p.Stages[0].Dead = &Channel{Address: "channel.dead", Durability: "fsync", OnFull: "drop_oldest"}
	}, AtMostOnce, "of what is rejected: channel.dead drops its oldest events when it is full"},
	{"a relay into a second channel, both at `fsync`", func(p *Path) {
		relay := p.Stages[0]
		relay.Sink = Sink{Address: "sink.relay", Effects: "transactional", OnLag: "hold"}
		p.Stages = []Stage{relay, p.Stages[0]}
	}, ExactlyOnce, "cursor in the record; transactional sink"},
	{"…, the second in memory", func(p *Path) {
		relay, last := p.Stages[0], p.Stages[0]
		relay.Sink = Sink{Address: "sink.relay", Effects: "transactional", OnLag: "hold"}
		last.Channel.Memory = true
		p.Stages = []Stage{relay, last}
	}, BestEffort, "what is in memory is lost when the agent ends, and so is where the source stood"},
}

func TestWhatHoldsOnAPath(t *testing.T) {
	for _, c := range cases {
		p := exact()
		c.spoil(&p)
		if got := p.Level(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := p.Why(); got != c.why {
			t.Errorf("%s: because %q, want %q", c.name, got, c.why)
		}
		for _, f := range p.Faults() {
			if f.Remedy == "" || f.Address == "" || f.Loses == f.Repeats && !f.Loses {
				t.Errorf("%s: a fault says too little: %+v", c.name, f)
			}
		}
	}
}

// TestTheSpecificationHasTheTable keeps what people are told in step with what is computed.
func TestTheSpecificationHasTheTable(t *testing.T) {
	doc, err := os.ReadFile("../../spec/delivery.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		row := "| " + c.name + " | " + c.want.String() + " |"
		if !strings.Contains(string(doc), row) {
			t.Errorf("spec/delivery.md has no row that begins %s", row)
		}
	}
}

func TestAFaultBreaksWhatItIsInTheWayOf(t *testing.T) {
	for _, c := range []struct {
		fault Fault
		wants map[Level]bool
	}{
		{Fault{Loses: true}, map[Level]bool{ExactlyOnce: true, AtLeastOnce: true, AtMostOnce: false, BestEffort: false}},
		{Fault{Repeats: true}, map[Level]bool{ExactlyOnce: true, AtLeastOnce: false, AtMostOnce: true, BestEffort: false}},
	} {
		for level, want := range c.wants {
			if got := c.fault.Breaks(level); got != want {
				t.Errorf("%+v breaks %v: %v, want %v", c.fault, level, got, want)
			}
		}
	}
}

func TestWhatCoversWhat(t *testing.T) {
	all := []Level{BestEffort, AtMostOnce, AtLeastOnce, ExactlyOnce}
	for _, l := range all {
		if !ExactlyOnce.Covers(l) || !l.Covers(BestEffort) || !l.Covers(l) {
			t.Errorf("%v is out of order", l)
		}
		if back, ok := Parse(l.String()); !ok || back != l {
			t.Errorf("%v is read as %v", l, back)
		}
	}
	if AtMostOnce.Covers(AtLeastOnce) || AtLeastOnce.Covers(AtMostOnce) {
		t.Error("to lose and to repeat do not compare")
	}
}

func TestAPathNamesTheCaseThroughWhichItsSinkIsReached(t *testing.T) {
	p := exact()
	p.Stages[0].Case = "route.by_level.loud"
	if got := p.Report().Way(); got != "source.a → channel.main → route.by_level.loud → sink.z" {
		t.Errorf("the way is %s", got)
	}
}

func TestAPathNamesTheGroupThatGivesToItsSink(t *testing.T) {
	p := exact()
	p.Stages[0].Case, p.Stages[0].Processors, p.Stages[0].Sink.Member = "route.by_level.loud", []Processor{{Address: "processor.p"}}, "sink_group.g"
	if got := p.Report().Way(); got != "source.a → channel.main → route.by_level.loud → sink_group.g → processor.p → sink.z" {
		t.Errorf("the way is %s", got)
	}
	if p.Level() != ExactlyOnce {
		t.Errorf("to be a member of a group makes it %v", p.Level())
	}
}

func TestOfManyPathsTheWeakestAreShown(t *testing.T) {
	var reports []Report
	for range maxLines + 10 {
		reports = append(reports, exact().Report())
	}
	weak := exact()
	weak.Source.Replay = "none"
	reports = append(reports, weak.Report())
	var s strings.Builder
	Write(&s, "  ", reports)
	if got := s.String(); !strings.Contains(got, "  source.a → channel.main → sink.z  at most once  (what the source") || !strings.Contains(got, "… and 11 more") {
		t.Errorf("it is shown as\n%s", got)
	}
}
