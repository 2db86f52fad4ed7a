// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
)

// shared is a pipeline whose events an exact group shares out among file sinks.
func shared(feed string, members ...string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "sink_group \"all\" {\n  from     = %s\n  members  = [sink.%s]\n  policy   = \"load_balance\"\n  delivery = \"exactly_once\"\n}\n", feed, strings.Join(members, ", sink."))
	for _, m := range members {
		fmt.Fprintf(&s, "sink \"file\" \"%s\" {\n  batch { events = 200 }\n  config { path = \"DIR/%s.log\" }\n}\n", m, m)
	}
	return s.String()
}

// once counts the lines of outputs, each of which must be there once in all of them together.
func (r rig) once(t *testing.T, outputs ...string) int {
	t.Helper()
	where := map[string]string{}
	for _, name := range outputs {
		for _, line := range r.out(t, name) {
			if before := where[line]; before != "" {
				t.Fatalf("%q is in %s and in %s", line, before, name)
			}
			where[line] = name
		}
	}
	return len(where)
}

func TestMembersChangeUnderLoadAndNothingIsLostOrRepeated(t *testing.T) {
	r, put := changing(t, "exactly_once", *rounds)
	if n := r.once(t, "a", "b", "c"); uint64(n) != put || n == 0 {
		t.Errorf("%d events were put, and %d came out", put, n)
	}
}

// TestMembersChangeUnderLoadAndNothingIsLost where the group does not keep whose an event was: what comes twice is no mistake then, as the plan says.
func TestMembersChangeUnderLoadAndNothingIsLost(t *testing.T) {
	r, put := changing(t, "at_least_once", *rounds/2)
	there := map[string]bool{}
	for _, name := range []string{"a", "b", "c"} {
		for _, line := range r.out(t, name) {
			there[line] = true
		}
	}
	if n := len(there); uint64(n) != put || n == 0 {
		t.Errorf("%d events were put, and %d came out", put, n)
	}
}

// changing changes the members of a group under load, until it is stopped with nothing left; put is how many events there were.
func changing(t *testing.T, delivery string, rounds int) (r rig, put uint64) {
	t.Helper()
	const feed = "source \"generate\" \"in\" {\n  into = channel.main\n  config {\n    rate = 10000\n    size = \"40B\"\n  }\n}\nchannel \"wal\" \"main\" {}\n"
	quick := strings.Replace(agentBlock, "150ms", "10ms", 1) + feed
	group := func(members []string) string {
		return quick + strings.Replace(shared("channel.main", members...), "exactly_once", delivery, 1)
	}
	layouts := [][]string{{"a", "b"}, {"b", "a", "c"}, {"c"}, {"c", "b"}, {"a"}, {"a", "b", "c"}}
	r = run(t, t.TempDir(), group(layouts[5]))
	eventually(t, "all of them take", func() bool {
		return r.component("sink.a").Events > 0 && r.component("sink.b").Events > 0 && r.component("sink.c").Events > 0
	})
	for i := range rounds {
		if err := r.reload(t, group(layouts[i%len(layouts)])); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if g := r.Status().Groups[0]; len(g.Members) != len(layouts[i%len(layouts)]) {
			t.Errorf("round %d: the members are %+v", i, g.Members)
		}
	}
	r.act(t, admin.Action{Verb: admin.Drain})
	eventually(t, "drained", func() bool { return r.Status().Groups[0].Waiting == 0 })
	put = r.component("source.in").Events
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	return r, put
}

func TestAGroupSharesOutACaseOfARoute(t *testing.T) {
	r := run(t, t.TempDir(), `
source "generate" "in" {
  into = channel.main
  config { count = 1000 }
}
channel "wal" "main" {}
route "by_end" {
  from = channel.main
  case "zero" {
    when = matches("0$", event.body)
  }
  default "rest" {}
}
sink "file" "rest" {
  from = route.by_end.rest
  config { path = "DIR/rest.log" }
}
`+shared("route.by_end.zero", "a", "b"))
	eventually(t, "all is dealt", func() bool { return r.Status().Groups[0].Waiting == 0 && r.component("sink.rest").Events == 900 })
	r.ends(t, "rest", "123456789", 900)
	lines := append(r.out(t, "a"), r.out(t, "b")...)
	for _, line := range lines {
		if !strings.HasSuffix(line, "0") {
			t.Errorf("%q was not for the group", line)
		}
	}
	if n := r.once(t, "a", "b"); n != 100 {
		t.Errorf("the group has %d events, not 100", n)
	}
}
