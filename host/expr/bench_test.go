// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

// busy are expressions that must cost no memory, whatever the event is.
var busy = []struct{ name, text string }{
	{"attribute and size", `event.attributes.level == "error" && event.size > 100`},
	{"attribute as a number", `event.attributes.status >= 500`},
	{"one of several", `contains(["error", "fatal"], lower(event.attributes.level))`},
	{"absent", `event.attributes.none == "x" || event.attributes.none != null`},
	{"fails", `event.attributes.none >= 500`},
	{"field of JSON", `event.json.http.status >= 500`},
	{"element of JSON", `contains(event.json.tags, "slow") || event.json.tags[1] == "b"`},
	{"template", `"${event.attributes.level}/${event.attributes.status}" == "ERROR/503"`},
	{"pattern", `matches("^[A-Z]+/[0-9]", event.attributes.path)`},
	{"prefix", `startswith(event.attributes.path, "/api/") || strcontains(event.body, "panic")`},
}

// usual is an event with a body of JSON of some 256 bytes.
func usual() *event.Event {
	return &event.Event{
		Time: 1_700_000_000_000_000_000,
		Attributes: []event.Attribute{
			{Key: "file.path", Value: []byte("/var/log/shop/orders.log")},
			{Key: "status", Value: []byte("503")},
			{Key: "path", Value: []byte("/api/v1/orders")},
			{Key: "level", Value: []byte("error")},
		},
		Body: []byte(`{"msg":"` + strings.Repeat("x", 150) + `","http":{"method":"GET","status":503},"tags":["a","b"],"took":12.5,"user":"müller","ok":false}`),
	}
}

func BenchmarkBool(b *testing.B) {
	for _, c := range busy {
		b.Run(c.name, func(b *testing.B) {
			e := compiled(b, c.text, Bool).Evaluator()
			ev := usual()
			b.ReportAllocs()
			for b.Loop() {
				_, _ = e.Bool(ev)
			}
		})
	}
}

func TestNothingIsAllocatedForAnEvent(t *testing.T) {
	for _, c := range busy {
		t.Run(c.name, func(t *testing.T) {
			e := compiled(t, c.text, Bool).Evaluator()
			ev := usual()
			_, _ = e.Bool(ev) // makes the scratch memory
			if n := testing.AllocsPerRun(100, func() { _, _ = e.Bool(ev) }); n != 0 {
				t.Errorf("%s: %v allocations for each event", c.text, n)
			}
		})
	}
}
