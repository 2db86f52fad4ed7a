// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/penstock-io/penstock/spec/event"
)

// FuzzCompile has any text as an expression, over any event. It answers the same twice, and says why when it does not.
func FuzzCompile(f *testing.F) {
	for _, c := range busy {
		f.Add(c.text, "error", `{"http":{"status":503},"tags":["a"]}`)
	}
	for _, c := range refusals {
		f.Add(c.text, "", "")
	}
	for _, text := range []string{`regex("(a)(?:b)*", event.body)[0]`, `split("", event.body)[3]`, `replace(event.body, "", event.body)`, `join(event.body, event.json.a)`,
		`substr(event.body, -9223372036854775808, 9223372036854775807)`, `event.json[event.attributes.a][0.5]`, `"%{ if event.json.a }x%{ endif }${length(event.json)}"`} {
		f.Add(text, "5", `{"a":[1,"b",null,{}]}`)
	}
	f.Fuzz(func(t *testing.T, text, attribute, body string) {
		x, diags := hclsyntax.ParseExpression([]byte(text), "x.hcl", hcl.InitialPos)
		if diags.HasErrors() || len(text) > 1<<12 {
			return
		}
		ev := &event.Event{Attributes: []event.Attribute{{Key: "a", Value: []byte(attribute)}, {Key: "level", Value: []byte(attribute)}}, Body: []byte(body)}
		for _, want := range []Want{Bool, Text} {
			p, diags := Compile(x, loaded(), want)
			if diags.HasErrors() {
				if p != nil {
					t.Fatalf("%s: a program in spite of %v", text, diags)
				}
				continue
			}
			e := p.Evaluator()
			run := func() (string, string) {
				if want == Text {
					s, err := e.Text(ev)
					return strings.Clone(s), said(t, err)
				}
				b, err := e.Bool(ev)
				if b {
					return "true", said(t, err)
				}
				return "false", said(t, err)
			}
			a, why := run()
			if b, again := run(); a != b || why != again {
				t.Fatalf("%s: %q, %s and then %q, %s", text, a, why, b, again)
			}
			if string(ev.Body) != body {
				t.Fatalf("%s changes the event", text)
			}
		}
	})
}

func said(t *testing.T, err error) string {
	if err == nil {
		return ""
	}
	f, ok := errors.AsType[*Failure](err)
	if !ok || f.Reason == "" || f.At.Filename == "" {
		t.Fatalf("no reason: %v", err)
	}
	return err.Error()
}

// FuzzPick holds what is picked out of JSON against encoding/json.
func FuzzPick(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"b":[1,2,{"c":"\u00e4\ud83d\ude00\ud800"}]},"a":5}`, `[]`, ` [ 1 , -0.5e+3 , "x\n" ] `, `{"a":}`, `{"a":1,}`, `[1,]`, `01`, `-`, `1.`, `1e`, `"\x"`, "\"\x01\"", `nul`, `{"a" "b"}`,
		`{"\u0061":"b"}`, strings.Repeat("[", 300), strings.Repeat(`{"a":`, 255) + "1" + strings.Repeat("}", 255), `"` + strings.Repeat("x", 15) + `"`} {
		f.Add(s, "a", 1)
	}
	f.Fuzz(func(t *testing.T, doc, name string, index int) {
		index &= 0xff
		all, there, valid := pick(doc, nil)
		if want := json.Valid([]byte(doc)); valid != want && !(want && deep(doc)) {
			t.Fatalf("%q: valid = %v", doc, valid)
		}
		if !valid {
			return
		}
		if !there {
			t.Fatalf("%q is not there as a whole", doc)
		}
		d := json.NewDecoder(strings.NewReader(doc))
		d.UseNumber()
		var whole any
		if err := d.Decode(&whole); err != nil {
			t.Fatal(err)
		}
		same(t, all, whole)
		switch in := whole.(type) {
		case map[string]any:
			field, is := in[name]
			found, there, _ := pick(doc, []step{{name: name}})
			if there != is {
				t.Fatalf("%q, field %q: there = %v", doc, name, there)
			}
			if is {
				same(t, found, field)
			}
			if n := fields(all); n != int64(len(in)) && bytes.Equal([]byte(doc), bytes.ToValidUTF8([]byte(doc), nil)) {
				t.Fatalf("%q has %d fields, %d counted", doc, len(in), n)
			}
		case []any:
			found, there, _ := pick(doc, []step{{index: index, elem: true}})
			if there != (index < len(in)) {
				t.Fatalf("%q, element %d: there = %v", doc, index, there)
			}
			if there {
				same(t, found, in[index])
			}
		}
	})
}

func deep(doc string) bool { return strings.Count(doc, "[")+strings.Count(doc, "{") > maxDepth }

// same compares a scalar with what encoding/json makes of it.
func same(t *testing.T, doc string, want any) {
	t.Helper()
	v := (&vm{}).decoded(doc, 0)
	ok := true
	switch want := want.(type) {
	case string:
		ok = v.kind == text && strings.ToValidUTF8(v.s, "\uFFFD") == strings.ToValidUTF8(want, "\uFFFD") || strings.Contains(want, "\uFFFD")
	case bool:
		ok = v.kind == boolean && v.isTrue() == want
	case nil:
		ok = v.kind == null
	case json.Number:
		f, _, err := big.ParseFloat(string(want), 10, 64, big.ToNearestEven)
		rounded, _ := f.Float64()
		ok = err != nil || v.kind == failed || v.isNumber() && v.float64() == rounded
	}
	if !ok {
		t.Fatalf("%q is %+v, and %#v for encoding/json", doc, v, want)
	}
}
