// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// of is an event with this body, and attributes as "key=value".
func of(body string, attributes ...string) event.Event {
	e := event.Event{Time: 7, Body: []byte(body)}
	for _, a := range attributes {
		key, value, _ := strings.Cut(a, "=")
		e.Attributes = append(e.Attributes, event.Attribute{Key: key, Value: []byte(value)})
	}
	return e
}

// told is an event in one line: body, then attributes by name.
func told(e sdktest.Event) string {
	words := []string{e.Body}
	for _, key := range slices.Sorted(maps.Keys(e.Attributes)) {
		words = append(words, key+"="+e.Attributes[key])
	}
	if e.Time != 7 {
		words = append(words, fmt.Sprint("at ", e.Time))
	}
	return strings.Join(words, " ")
}

type config = map[string]any

// processors are all, with a config that does something.
var processors = map[string]struct {
	create func() sdk.Processor
	config config
}{
	"filter": {NewFilter, config{"matches": "."}},
	"set":    {NewSet, config{"add": config{"a": "b"}, "remove": []string{"x"}, "rename": config{"k": "l"}}},
	"regex":  {NewRegex, config{"pattern": "^(?P<level>[A-Z]+)"}},
	"json":   {NewJSON, config{"otherwise": "pass"}},
	"mask":   {NewMask, config{"pattern": "[0-9]+", "replacement": "#", "attributes": []string{"*"}}},
}

func TestProcessorsDoWhatTheirConfigSays(t *testing.T) {
	shop := of(`{"level":"warn","log":{"file":"a.go","line":7,"x":{"deep":[1, {"a":"}"}]}},"ok":true,"none":null,"said":"a\n\"b\""}`)
	for name, c := range map[string]struct {
		create   func() sdk.Processor
		config   config
		in       []event.Event
		out      []string
		rejected []int
	}{
		"filter keeps what matches": {NewFilter, config{"matches": "^(ERROR|FATAL) "},
			[]event.Event{of("ERROR a"), of("INFO b"), of("FATAL c")}, []string{"ERROR a", "FATAL c"}, nil},
		"filter drops what matches": {NewFilter, config{"action": "drop", "matches": "b"},
			[]event.Event{of("a"), of("b"), of("c", "k=v")}, []string{"a", "c k=v"}, nil},
		"filter keeps by attribute": {NewFilter, config{"attribute": "level", "equals": []string{"error", "fatal"}},
			[]event.Event{of("1", "level=error"), of("2", "level=errors"), of("3"), of("4", "x=y", "level=fatal")},
			[]string{"1 level=error", "4 level=fatal x=y"}, nil},
		"filter drops by attribute": {NewFilter, config{"action": "drop", "attribute": "path", "matches": "health"},
			[]event.Event{of("1", "path=/health"), of("2"), of("3", "path=/shop")}, []string{"2", "3 path=/shop"}, nil},
		"set removes, renames and adds": {NewSet, config{"remove": []string{"secret"}, "rename": config{"a": "b", "gone": "c"}, "add": config{"team": "shop"}},
			[]event.Event{of("x", "secret=1", "a=2", "b=3"), of("y", "secret=1", "team=other")}, []string{"x b=2 team=shop", "y team=shop"}, nil},
		"set lets two change places": {NewSet, config{"rename": config{"a": "b", "b": "a"}},
			[]event.Event{of("x", "a=1", "b=2"), of("y", "a=1")}, []string{"x a=2 b=1", "y b=1"}, nil},
		"set leaves alone what is there": {NewSet, config{"add": config{"team": "shop"}, "overwrite": false},
			[]event.Event{of("x", "team=other"), of("y")}, []string{"x team=other", "y team=shop"}, nil},
		"regex takes named groups": {NewRegex, config{"pattern": `^(?P<ip>\S+) (?:"(?P<path>[^"]*)")?( [0-9]+)?`, "prefix": "http."},
			[]event.Event{of(`10.0.0.1 "/a" 200`), of(`10.0.0.2 x`, "http.path=/old"), of("y")},
			[]string{`10.0.0.1 "/a" 200 http.ip=10.0.0.1 http.path=/a`, "10.0.0.2 x http.ip=10.0.0.2 http.path=/old", "y"}, nil},
		"regex rejects what does not match": {NewRegex, config{"pattern": "(?P<n>[0-9]+)", "otherwise": "reject"},
			[]event.Event{of("a"), of("1"), of("b")}, []string{"1 n=1"}, []int{0, 2}},
		"regex drops what does not match": {NewRegex, config{"pattern": "(?P<n>[0-9]+)", "otherwise": "drop", "attribute": "k"},
			[]event.Event{of("1"), of("x", "k=22")}, []string{"x k=22 n=22"}, nil},
		"json takes the fields that are wanted": {NewJSON, config{"fields": config{"level": "level", "line": "log.line", "file": "log.file", "log": "log.x", "no": "log.no", "none": "none", "said": "said", "deeper": "level.x"}},
			[]event.Event{shop}, []string{string(shop.Body) + ` file=a.go level=warn line=7 log={"deep":[1, {"a":"}"}]} said=a` + "\n" + `"b"`}, nil},
		"json takes all at the top": {NewJSON, config{"prefix": "j.", "otherwise": "reject"},
			[]event.Event{of(` {"a" : 1.5e3, "b":[] ,"c":{},"penstock.x":"fine"} `), of("{}"), of("no"), of("{} {}"), of(`{"a":}`), of(`{"a":1`), of(`{"a":tru}`), of(`{1:2}`), of(`["a"]`), of("")},
			[]string{` {"a" : 1.5e3, "b":[] ,"c":{},"penstock.x":"fine"}  j.a=1.5e3 j.b=[] j.c={} j.penstock.x=fine`, "{}"}, []int{2, 3, 4, 5, 6, 7, 8, 9}},
		"json passes what is none": {NewJSON, config{"otherwise": "pass", "attribute": "j"},
			[]event.Event{of("x", `j={"a":"b","penstock.y":1}`), of("y")}, []string{`x a=b j={"a":"b","penstock.y":1}`, "y"}, nil},
		"mask replaces in the body": {NewMask, config{"pattern": `\b[0-9]{12}([0-9]{4})\b`, "replacement": "************$1"},
			[]event.Event{of("card 1234567890123456 ok", "card=1234567890123456"), of("none")}, []string{"card ************3456 ok card=1234567890123456", "none"}, nil},
		"mask replaces in attributes": {NewMask, config{"pattern": "secret", "replacement": "***", "body": false, "attributes": []string{"a"}},
			[]event.Event{of("secret", "a=my secret", "b=secret")}, []string{"secret a=my *** b=secret"}, nil},
		"mask replaces in all attributes": {NewMask, config{"pattern": "secret", "replacement": "", "attributes": []string{"*"}},
			[]event.Event{of("secret", "a=secret", "b=xsecret")}, []string{" a= b=x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := sdktest.OpenProcessor(t, c.create, c.config)
			got, err := p.Process(c.in...)
			var lines []string
			for _, e := range got {
				lines = append(lines, told(e))
			}
			if err != nil || !slices.Equal(lines, c.out) {
				t.Errorf("%v\n got %q\nwant %q", err, lines, c.out)
			}
			if rejected := slices.Sorted(maps.Keys(p.Rejected)); !slices.Equal(rejected, c.rejected) {
				t.Errorf("rejected %v, want %v", rejected, c.rejected)
			}
		})
	}
}

func TestWrongArgumentsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		create func() sdk.Processor
		config config
		path   string
	}{
		"filter without a question":   {NewFilter, config{}, "matches"},
		"filter with two":             {NewFilter, config{"matches": "a", "equals": []string{"b"}}, "matches"},
		"filter with no expression":   {NewFilter, config{"matches": "("}, "matches"},
		"set that does nothing":       {NewSet, config{}, "add"},
		"set of the host's":           {NewSet, config{"add": config{"penstock.x": "y"}}, "add"},
		"set to the host's":           {NewSet, config{"rename": config{"x": "penstock.x"}}, "rename"},
		"set to no name":              {NewSet, config{"rename": config{"x": ""}}, "rename"},
		"regex without a named group": {NewRegex, config{"pattern": "(a)"}, "pattern"},
		"regex with no expression":    {NewRegex, config{"pattern": "("}, "pattern"},
		"regex to the host's":         {NewRegex, config{"pattern": "(?P<x>a)", "prefix": "penstock."}, "prefix"},
		"regex otherwise":             {NewRegex, config{"pattern": "(?P<x>a)", "otherwise": "keep"}, "otherwise"},
		"json to the host's":          {NewJSON, config{"fields": config{"penstock.x": "y"}}, "fields"},
		"json otherwise":              {NewJSON, config{"otherwise": "keep"}, "otherwise"},
		"mask without a pattern":      {NewMask, config{}, "pattern"},
		"mask with no expression":     {NewMask, config{"pattern": "("}, "pattern"},
	} {
		t.Run(name, func(t *testing.T) {
			p := reopened(t, c.create)
			p.Configure(c.config)
			err := p.Restart()
			if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != abi.EINVAL || e.Path != c.path {
				t.Errorf("%v", err)
			}
		})
	}
}

// reopened is a processor of that kind, with a config that is right.
func reopened(t *testing.T, create func() sdk.Processor) *sdktest.Processor {
	t.Helper()
	for _, p := range processors {
		if fmt.Sprintf("%T", p.create()) == fmt.Sprintf("%T", create()) {
			return sdktest.OpenProcessor(t, create, p.config)
		}
	}
	t.Fatal("no such processor")
	return nil
}

func TestABatchInTwoHalvesComesOutTheSame(t *testing.T) {
	var in []event.Event
	for i := range 100 {
		in = append(in, of(fmt.Sprintf(`WARN {"n":%d}`, i), fmt.Sprint("k=", i), "x=y"), of(fmt.Sprintf(`{"n":%d,"s":"é"}`, i), fmt.Sprint("l=", i)))
	}
	for name, p := range processors {
		whole := sdktest.OpenProcessor(t, p.create, p.config)
		want, err := whole.Process(in...)
		if err != nil || len(want) == 0 {
			t.Fatalf("%s: %v", name, err)
		}
		halves := sdktest.OpenProcessor(t, p.create, p.config)
		first, err1 := halves.Process(in[:77]...)
		second, err2 := halves.Process(in[77:]...)
		if got := slices.Concat(first, second); err1 != nil || err2 != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, %v", name, err1, err2)
		}
	}
}

func TestAnEventThatGetsTooLargeIsRejectedAlone(t *testing.T) {
	p := sdktest.OpenProcessor(t, NewMask, config{"pattern": "x", "replacement": strings.Repeat("y", 1<<10)})
	got, err := p.Process(of("a"), of(strings.Repeat("x", 1<<15)), of("b"))
	if err != nil || len(got) != 2 || len(p.Rejected) != 1 || p.Rejected[1] == "" {
		t.Errorf("%d events, rejected %v, %v", len(got), p.Rejected, err)
	}
	many := slices.Repeat([]event.Event{of(strings.Repeat("x", 1<<12))}, 5)
	if _, err := p.Process(many...); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a batch that gets too large: %v", err)
	} else if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Code != abi.ETOOBIG {
		t.Errorf("a batch that gets too large is %v", err)
	}
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"a":{"b":1},"c":"\u00e9"}`, `{"a":[1,{"b":"]"}]}`, `{`, `{"a":"\`, `{"a" 1}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		p := sdktest.OpenProcessor(t, NewJSON, config{"fields": config{"x": "a.b", "y": "c"}, "otherwise": "reject"})
		_, err := p.Process(of(body))
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &object) == nil && object != nil && len(p.Rejected) > 0 && !strings.Contains(p.Rejected[0], "deep") {
			t.Errorf("%q is an object, and was rejected: %v", body, p.Rejected)
		}
	})
}
