// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestMistakesOfATrialHaveTheirLine(t *testing.T) {
	for src, want := range map[string]string{
		"sink \"lines\" \"x\" {\n  config {\n    paht = \"x\"\n  }\n}":                      `plugin.test.hcl:3,5-9: Unsupported argument; The plugin lines has no argument "paht". Did you mean "path"?`,
		"source \"numbers\" \"x\" {}":                                                       `plugin.test.hcl:1,1-21: Missing argument`,
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
