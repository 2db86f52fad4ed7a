// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/penstock-io/penstock/host/expr"
)

func TestPositionsAreThoseOfTheProtocol(t *testing.T) {
	for _, c := range []struct {
		text      string
		line, col int
	}{
		{"|", 0, 0},
		{"ab|", 0, 2},
		{"ab\n|", 1, 0},
		{"ab|\r\ncd", 0, 2},
		{"ab\r\n|cd", 1, 0},
		{"ab\r\ncd|\r\n", 1, 2},
		{"ab\r|cd", 1, 0},
		{"é|x", 0, 1},
		{"𝄞|x", 0, 2},
		{"a𝄞é\n𝄞𝄞b|", 1, 5},
		{"\xff\xfe|x", 0, 2},
		{"\n\n|\n", 2, 0},
	} {
		src, at := cut(t, c.text)
		if got := positionAt(src, at); got != (position{c.line, c.col}) {
			t.Errorf("%q is at %+v", c.text, got)
		}
		if got := offsetAt(src, position{c.line, c.col}); got != at {
			t.Errorf("%q: %d:%d is byte %d, not %d", c.text, c.line, c.col, got, at)
		}
	}
}

func TestPositionsThatAreNotThereAreTheNearest(t *testing.T) {
	for _, c := range []struct {
		text      string // | is where it ends up
		line, col int
	}{
		{"ab|\ncd", 0, 99},
		{"ab|\r\ncd", 0, 99},
		{"ab|\rcd", 0, 99},
		{"ab\ncd|", 1, 99},
		{"ab\ncd|", 99, 0},
		{"ab\n|", 7, 7},
		{"|ab", -1, 3},
		{"|ab", 0, -3},
		{"𝄞|x", 0, 1}, // in the middle of it
	} {
		src, at := cut(t, c.text)
		if got := offsetAt(src, position{c.line, c.col}); got != at {
			t.Errorf("%q: %d:%d is byte %d, not %d", c.text, c.line, c.col, got, at)
		}
	}
	if got := positionAt([]byte("ab"), 99); got != (position{0, 2}) {
		t.Errorf("far behind the end: %+v", got)
	}
}

// dealing has a route that is as it is while somebody types.
const dealing = "channel \"wal\" \"main\" {}\nroute \"by_level\" {\n  from = channel.main\n  case \"loud\" {\n    when = true\n  }\n  default \"rest\" {}\n}\n"

func TestCompletion(t *testing.T) {
	names := make([]string, 0, 5)
	for _, f := range expr.Fields() {
		names = append(names, f.Name)
	}
	for _, c := range []struct{ text, want, not string }{
		{"|", "source", "into"},
		{"source \"|", "file", "source"},
		{"source \"file\" \"in\" {\r\n  |\r\n}\r\n", "into", "paths"},
		{"source \"file\" \"in\" {\n  config {\n    |", "paths", "into"},
		{"source \"file\" \"in\" {\n  config {\n    paths = []\n    |", "mode", "paths"},
		{"source \"file\" \"in\" {\n  config {\n    mode = \"|", "fast slow", "file"},
		{"channel \"wal\" \"é𝄞\" {}\nsource \"file\" \"in\" {\n  into = channel.|", "é𝄞", "in"},
		{"processor \"filter\" \"f\" {\n  when = event.|", strings.Join(names, " "), "event"},
		{"# source \"|", "", "file"},
		{dealing + "sink \"file\" \"x\" {\n  from = |\n}", "channel.main route.by_level.loud route.by_level.rest", "sink.x"},
		{dealing + "sink \"file\" \"x\" {\n  from = route.|\n}", "by_level", "loud"},
		{dealing + "sink \"file\" \"x\" {\n  from = route.by_level.|\n}", "loud rest", "by_level"},
		{dealing + "sink_group \"x\" {\n  from = route.by_level.lo|\n}", "loud rest", "by_level"},
		{dealing + "sink \"file\" \"x\" {\n  from = route.nothing.|\n}", "", "loud"},
		{dealing + "route \"x\" {\n  from = |\n}", "channel.main", "route.by_level.loud"},
		{dealing + "sink \"file\" \"x\" {}\nsink_group \"y\" {\n  members = [|]\n}", "sink.x", "channel.main"},
	} {
		src, at := cut(t, c.text)
		got := " " + labelsIn(documentOf(src).complete(at)) + " "
		if !strings.Contains(got, " "+c.want) || c.not != "" && strings.Contains(got, " "+c.not+" ") {
			t.Errorf("%q: %s", c.text, got)
		}
	}
}

func TestCompletionReplacesWhatIsTyped(t *testing.T) {
	src, at := cut(t, "channel \"wal\" \"main\" {}\r\nsource \"file\" \"𝄞\" {\r\n  into = channel.ma|in\r\n}")
	found := documentOf(src).complete(at).Items
	if want := (span{position{2, 17}, position{2, 19}}); len(found) != 1 || found[0].TextEdit.Range != want {
		t.Errorf("%+v", found)
	}
}

func TestHoverAndDefinition(t *testing.T) {
	const text = "channel \"wal\" \"main\" {}\n" + flow + "\nroute \"r\" {\n  case \"odd\" {\n  }\n}\nsink \"file\" \"s\" {\n  from = route.r.odd\n}\n"
	for _, c := range []struct{ old, mark, hover, definition string }{
		{`"file"`, `"fi|le"`, "Reads files.", "null"},
		{"paths", "pat|hs", "Which files.", "null"},
		{"channel.main", "channel.ma|in", "`channel wal main`, at flow.hcl:1", `"start":{"line":0,"character":0}`},
		{"channel.main", "chan|nel.main", "`channel wal main`, at flow.hcl:1", `"start":{"line":0,"character":0}`},
		{"channel.main", "channel.oth|er", "null", "null"},
		{"a.log", "a.|log", "null", "null"},
		{"route.r.odd", "route.r.od|d", "`case odd`, at flow.hcl:", `"start":{"line":`},
		{"route.r.odd", "route.r|.odd", "`route r`, at flow.hcl:", `"start":{"line":`},
		{"route.r.odd", "route.r.ev|en", "null", "null"},
	} {
		src, at := cut(t, strings.Replace(text, c.old, c.mark, 1))
		d := documentOf(src)
		for what, got := range map[string]any{c.hover: d.hover(at), c.definition: d.definition(at)} {
			if b, err := json.Marshal(got); err != nil || !strings.Contains(string(b), what) {
				t.Errorf("%q: wanted %s: %s", c.mark, what, b)
			}
		}
	}
}

// FuzzDocument asks everything at any place of any text. It never panics, and there and back again a position is the same.
func FuzzDocument(f *testing.F) {
	for _, text := range []string{flow, "channel \"wal\" \"main\" {}\r\n" + flow, "a = \"${var.", "source \"", "x = <<EOT\n${event.", "locals { a = {", "}}})]", "é𝄞 = \"\xff", "\x00"} {
		for _, at := range []int{0, len(text) / 2, len(text)} {
			f.Add([]byte(text), at)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, at int) {
		at = max(0, min(at, len(src)))
		d := documentOf(src)
		for _, i := range d.complete(at).Items {
			if i.TextEdit.Range.Start.Line > i.TextEdit.Range.End.Line {
				t.Errorf("%q replaces %+v", i.Label, i.TextEdit.Range)
			}
		}
		d.hover(at)
		d.definition(at)
		p := positionAt(src, at)
		back := offsetAt(src, p)
		if positionAt(src, back) != p {
			t.Errorf("byte %d is at %+v, which is byte %d, at %+v", at, p, back, positionAt(src, back))
		}
		if inLine := at > 0 && at < len(src) && src[at-1] == '\r' && src[at] == '\n'; back != at && utf8.Valid(src[:at]) && !inLine {
			t.Errorf("byte %d is at %+v, which is byte %d", at, p, back)
		}
	})
}
