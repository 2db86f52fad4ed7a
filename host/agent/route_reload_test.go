// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/spec/event"
)

// deal is a pipeline under load, in what a reload may change of who gets which event. Every line ends in its number, which is its offset. Its channel has
// room for all that sink extra leaves unread while it is not there.
type deal struct {
	digit, not int  // sink a gets what ends in the one; b nothing that ends in the other
	all        bool // else an event is of the first case that holds
	bare       bool // without a route: both sinks read the channel
	renamed    bool // the case of a
	extra      bool // a case in between for what ends in 5, with a sink of its own
	fallback   bool // what b gets is the default rather than a case
}

func (d deal) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "source \"generate\" \"in\" {\n  into = channel.main\n  config {\n    rate = %d\n    size = \"40B\"\n  }\n}\n", flowRate)
	b.WriteString("channel \"wal\" \"main\" {\n  capacity = \"256MiB\"\n  durability = \"os\"\n}\n")
	name, a, rest := "tenth", "channel.main", "channel.main"
	if d.renamed {
		name = "few"
	}
	if !d.bare {
		a, rest = "route.by_end."+name, "route.by_end.rest"
		b.WriteString("route \"by_end\" {\n  from = channel.main\n")
		if d.all {
			b.WriteString("  match = \"all\"\n")
		}
		fmt.Fprintf(&b, "  case %q {\n    when = matches(\"%d$\", event.body)\n  }\n", name, d.digit)
		if d.extra {
			b.WriteString("  case \"extra\" {\n    when = matches(\"5$\", event.body)\n  }\n")
		}
		if d.fallback {
			b.WriteString("  default \"rest\" {}\n}\n")
		} else {
			b.WriteString("  case \"rest\" {\n    when = event.size > 0\n  }\n  unmatched = \"discard\"\n}\n")
		}
		if d.extra {
			b.WriteString("sink \"discard\" \"extra\" {\n  from = route.by_end.extra\n}\n")
		}
	}
	fmt.Fprintf(&b, "sink \"file\" \"a\" {\n  from = %s\n  where = matches(\"%d$\", event.body)\n  config { path = \"DIR/a.log\" }\n}\n", a, d.digit)
	fmt.Fprintf(&b, "sink \"file\" \"b\" {\n  from = %s\n  where = !matches(\"%d$\", event.body)\n  config { path = \"DIR/b.log\" }\n}\n", rest, d.not)
	return b.String()
}

// has says whether a line that ends in a digit is for a sink.
func (d deal) has(sink string, digit int) bool {
	switch {
	case sink == "a":
		return digit == d.digit
	case digit == d.not:
		return false
	case d.bare, d.all && !d.fallback:
		return true
	}
	return digit != d.digit && !(d.extra && digit == 5)
}

// change makes another one of it. Half of the time it is where of b alone: nothing else would have that sink started again.
func (d deal) change(r *rand.Rand) deal {
	d.not = 2 + (d.not+1)%2
	if r.IntN(2) == 0 {
		return d
	}
	for _, what := range []*bool{&d.all, &d.bare, &d.renamed, &d.extra, &d.fallback} {
		if r.IntN(3) == 0 {
			*what = !*what
		}
	}
	d.digit = r.IntN(2)
	return d
}

// era is from where to where a sink may have been given events by a rule: only by it between sure and over, where they are that way round.
type era struct {
	deal
	from, sure event.Offset // the first that it may have decided, and that it decided for sure
}

// place is where a sink stands: all below low is committed, and nothing from next on has been handed out.
func (r rig) place(sink string) (low, next event.Offset) {
	for _, reader := range r.Status().Channels[0].Readers {
		if reader.Name == sink {
			return reader.Low, reader.Low + event.Offset(reader.Leased)
		}
	}
	return 0, 0
}

// TestRoutesAndFiltersChangeUnderLoadAndEachEventGoesByTheOldOrTheNew: by whichever holds when it is handed out, and once.
func TestRoutesAndFiltersChangeUnderLoadAndEachEventGoesByTheOldOrTheNew(t *testing.T) {
	rounds, seed := 16, rand.Uint64()
	if testing.Short() {
		rounds = 10
	}
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	block := strings.Replace(agentBlock, "150ms", "20ms", 1)
	d := deal{not: 2}
	r := run(t, t.TempDir(), block+d.String())
	eras := map[string][]era{"a": {{deal: d}}, "b": {{deal: d}}}
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 && r.component("sink.b").Events > 0 })
	begun := time.Now()
	for i := range rounds {
		next := d.change(random)
		before := map[string]event.Offset{}
		for sink := range eras {
			before[sink], _ = r.place("sink." + sink)
		}
		if err := r.reload(t, block+next.String()); err != nil {
			t.Fatalf("round %d, of\n%v\nto\n%v\n%v", i, d, next, err)
		}
		for sink := range eras {
			_, sure := r.place("sink." + sink)
			eras[sink] = append(eras[sink], era{next, before[sink], sure})
			eventually(t, "some go by the new for sure", func() bool {
				low, _ := r.place("sink." + sink)
				return low > sure+1000
			})
		}
		d = next
	}
	for sink := range eras {
		t.Logf("%s has %d events waiting", sink, r.component("sink."+sink).Waiting)
	}
	r.act(t, admin.Action{Verb: admin.Drain})
	eventually(t, "drained", func() bool { return r.component("sink.a").Waiting+r.component("sink.b").Waiting == 0 })
	total := r.component("source.in").Events
	t.Logf("%d events in %v", total, time.Since(begun).Round(time.Millisecond))
	for sink := range eras {
		if c := r.component("sink." + sink); c.Events+c.Filtered != total {
			t.Errorf("of %d events, %s was given %d, and %d were not for it", total, sink, c.Events, c.Filtered)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for sink, eras := range eras {
		either := r.byOldOrNew(t, sink, eras, int(total))
		t.Logf("%s: %d events may have gone by the old or the new", sink, either)
	}
}

// byOldOrNew checks what is in an output against the rules that held, and counts the events of which it is not known which one did.
func (r rig) byOldOrNew(t *testing.T, sink string, eras []era, total int) (either int) {
	t.Helper()
	got := make([]bool, total)
	last := -1
	for _, line := range r.out(t, sink) {
		n, err := strconv.Atoi(line[strings.LastIndexFunc(line, func(r rune) bool { return r < '0' || r > '9' })+1:])
		if err != nil || n <= last || n >= total {
			t.Fatalf("%s: number %d comes after %d: %v", sink, n, last, err)
		}
		got[n], last = true, n
	}
	for n, is := range got {
		yes, no := false, false
		for i, e := range eras {
			begun := event.Offset(n) >= e.from
			over := i+1 < len(eras) && event.Offset(n) >= eras[i+1].sure
			if begun && !over {
				yes, no = yes || e.has(sink, n%10), no || !e.has(sink, n%10)
			}
		}
		if yes && no {
			either++
		} else if is != yes {
			t.Fatalf("%s: event %d was given: %v, and the rules that may have held say %v", sink, n, is, yes)
		}
	}
	return either
}
