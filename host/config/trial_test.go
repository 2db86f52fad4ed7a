// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/penstock-io/penstock/spec/abi"
)

var triedManifest = abi.Manifest{Name: "tried", Version: "1.0.0", Plugins: []abi.Plugin{
	{Kind: abi.Sink, Name: "lines", Arguments: []abi.Argument{{Name: "path", Type: "string", Required: true}},
		Needs: []abi.Need{{Handle: "path", Kind: abi.NeedDir, Value: "config.path", Access: "write"}}},
	{Kind: abi.Source, Name: "numbers"},
	{Kind: abi.Processor, Name: "upper"},
}}

func TestATrialIsOpenedInItsDirectory(t *testing.T) {
	trials, _, diags := ParseTrials([]byte(`
sink "lines" "appends" {
  config {
    path = "out/lines"
  }
  refuses {
    path = ""
  }
  file "out/old" {
    content = "old"
  }
  stored = "out/lines"
}
`), "plugin.test.hcl", triedManifest)
	if len(diags) > 1 || trials == nil {
		t.Fatal(diags)
	}
	trial := trials.List[0]
	c, diags := trials.Component(&trial, "/world", false)
	if diags.HasErrors() || string(c.Config) != `{"path":"/world/out/lines"}` || len(c.Dirs) != 1 || c.Dirs[0] != (Dir{"/world/out", true}) {
		t.Errorf("%s %v %v", c.Config, c.Dirs, diags)
	}
	if trial.Files["out/old"] != "old" || trial.Stored != "out/lines" || !trial.Refuses {
		t.Errorf("%+v", trial)
	}
	more, left := trials.Defaults()
	if len(more) != 1 || more[0].Plugin != "upper" || !cmp.Equal(left, []string{"source numbers"}) {
		t.Errorf("%v %v", more, left)
	}
}

func TestATrialHasOtherEnds(t *testing.T) {
	m := abi.Manifest{Name: "tried", Version: "1.0.0", Plugins: []abi.Plugin{
		{Kind: abi.Source, Name: "in", Arguments: []abi.Argument{{Name: "listen", Type: "string"}, {Name: "serve", Type: "string"}}, Needs: []abi.Need{
			{Handle: "listen", Kind: abi.NeedListen, Value: "config.listen"}, {Handle: "http", Kind: abi.NeedServe, Value: "config.serve"}}},
		{Kind: abi.Sink, Name: "out", Arguments: []abi.Argument{{Name: "url", Type: "string"}},
			Needs: []abi.Need{{Handle: "url", Kind: abi.NeedHTTP, Value: "config.url"}}},
	}}
	trials, _, diags := ParseTrials([]byte(`
source "in" "is told" {
  config {
    listen = "0.0.0.0:514"
    serve  = "0.0.0.0:80"
  }
  client "listen" {
    send    = ["a", "b\n"]
    receive = "ok"
  }
  request "http" {
    path   = "/in?x"
    header = { a = "b" }
    body   = "c"
    status = 202
  }
  request "http" {
  }
  output = ["ab", "c"]
}

sink "out" "tells" {
  config {
    url = "https://example.org/in"
  }
  server "url" {
    format = "json"
    fail   = 0
  }
}
`), "plugin.test.hcl", m)
	if trials == nil || len(diags) > 0 {
		t.Fatal(diags)
	}
	in, out := trials.List[0], trials.List[1]
	want := Trial{
		Kind: abi.Source, Plugin: "in", Name: "is told", Files: map[string]string{}, Events: 2, Output: []string{"ab", "c"},
		Clients: []TrialClient{{"listen", []string{"a", "b\n"}, "ok"}},
		Requests: []TrialRequest{
			{"http", "POST", "/in?x", map[string]string{"a": "b"}, "c", 202}, {"http", "POST", "/", map[string]string{}, "", 200}},
	}
	if diff := cmp.Diff(want, in, cmpopts.IgnoreUnexported(Trial{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]TrialServer{{"url", "json", 0}}, out.Servers); diff != "" {
		t.Error(diff)
	}
	if c, _ := trials.Component(&out, "/", false); len(c.Handles) != 1 || c.Handles[0].Address.String() != "https://example.org/in" {
		t.Errorf("%+v", c.Handles)
	}
}

func TestMistakesOfATrialHaveTheirLine(t *testing.T) {
	for src, want := range map[string]string{
		"sink \"lines\" \"x\" {\n  config {\n    paht = \"x\"\n  }\n}":                      `plugin.test.hcl:3,5-9: Unsupported argument; The plugin lines has no argument "paht". Did you mean "path"?`,
		"source \"numbers\" \"x\" {}":                                                       `plugin.test.hcl:1,1-21: Missing argument; A source block needs the argument "events" or "output"`,
		"sink \"line\" \"x\" {}":                                                            `There is no sink plugin "line". Did you mean "lines"?`,
		"sink \"lines\" \"x\" {\n  config {\n    path = \"x\"\n  }\n  stored = \"../x\"\n}": `stays in the directory of the trial; this is "../x"`,
		"processor \"upper\" \"x\" {\n  file \"/etc/passwd\" {\n    content = \"\"\n  }\n}": `stays in the directory of the trial; this is "/etc/passwd"`,
		"channel \"main\" {}":                                                               "",
	} {
		trials, _, diags := ParseTrials([]byte(src), "plugin.test.hcl", triedManifest)
		if trials != nil || !strings.Contains(diags.Error(), want) {
			t.Errorf("%s\n%v, want %q", src, diags, want)
		}
	}
}
