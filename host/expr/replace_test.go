// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

func TestAPatternOfReplaceIsWrittenInTheConfigurationAndBounded(t *testing.T) {
	for text, want := range map[string]string{
		`replace(event.body, "/(a)(b)?/", "<$1$2>") == "<a><ab>c"`:              "true",
		`replace(event.body, "/", "x") == "aabc"`:                               "true",
		`replace(event.body, event.attributes.pattern, "") == ""`:               "fails",
		`replace(event.attributes.long, "/x*/", "") == ""`:                      "fails",
		`replace(event.attributes.long, "/(.*)/", event.attributes.many) == ""`: "fails",
	} {
		e := event.Event{Body: []byte("aabc"), Attributes: []event.Attribute{
			{Key: "pattern", Value: []byte("/a/")}, {Key: "long", Value: []byte(strings.Repeat("y", 1<<17))}, {Key: "many", Value: []byte(strings.Repeat("$1", 1<<10))},
		}}
		if got := result(t, text, &e); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
