// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatIsNotUTF8IsOneMistake(t *testing.T) {
	wide := "\xff\xfe"
	for _, c := range small {
		wide += string(c) + "\x00"
	}
	for _, c := range []struct{ name, text, says string }{
		{"a.hcl", wide, "The file is in UTF-16"},
		{"a.hcl", strings.Replace(small, "load", "lo\xffad", 1), "The byte 0xff is not text"},
		{"a.hcl.json", strings.Replace(`{"source": {"file": {"a": {"into": "channel.main"}}}}`, "ain", "\xe4in", 1), "The byte 0xe4 is not text"},
	} {
		dir, o := write(t, map[string]string{c.name: c.text})
		if _, _, diags := Load(dir, o); len(diags) != 1 || !strings.Contains(diags[0].Detail, c.says) {
			t.Errorf("%.20q: %d mistakes: %.300v", c.text, len(diags), diags)
		}
	}
	dir, o := write(t, map[string]string{"a.hcl": "\xef\xbb\xbf" + small, "b.hcl.json": "\xef\xbb\xbf{}"})
	if _, _, diags := Load(dir, o); len(diags) > 0 {
		t.Errorf("with byte order marks: %v", diags)
	}
}

func TestALinkThatLeadsNowhereIsCalledOne(t *testing.T) {
	dir, o := write(t, map[string]string{"a.hcl": small})
	if err := os.Symlink("gone.hcl", filepath.Join(dir, "b.hcl")); err != nil {
		t.Fatal(err)
	}
	if _, _, diags := Load(dir, o); len(diags) != 1 || !strings.Contains(diags[0].Detail, `It is a link to "gone.hcl", which is not there.`) {
		t.Errorf("%v", diags)
	}
}
