// SPDX-License-Identifier: Apache-2.0

package httpsink

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestWhatStandsInOneLine(t *testing.T) {
	for text, want := range map[string]bool{
		`{"a": 1, "b":[true,false,null,-1.5e+3,0,"x\"\\\/\b\f\n\r\t"],"c":{}, "":[ ]}`: true,
		`"ä€"`: true, ` 1 `: true, `[]`: true, `12`: true, `0.5`: true,
		"": false, "{": false, `{"a"}`: false, `{"a":}`: false, `{"a":1,}`: false, `[1,]`: false, `[1 2]`: false, `01`: false, `-`: false, `tru`: false,
		`"a`: false, `"\x"`: false, "\"\xff\"": false, "\"a\nb\"": false, "{\n}": false, `{a:1}`: false, `1 2`: false, `nul`: false, `"\`: false,
		`"\u00e4"`: false, // it is, and is left to encoding/json
	} {
		if got := oneLine([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	deep := append(bytes.Repeat([]byte("["), 1000), bytes.Repeat([]byte("]"), 1000)...)
	if oneLine(deep) {
		t.Error("as deep as it likes")
	}
}

func FuzzOneLine(f *testing.F) {
	for _, s := range []string{`{"a":[1,"b\n",null]}`, `-0.5E-7`, `"ä"`, "[1\n]", `[[[["x"]]]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if oneLine(b) && (!json.Valid(b) || bytes.ContainsRune(b, '\n')) {
			t.Errorf("%q is taken for JSON in one line", b)
		}
	})
}
