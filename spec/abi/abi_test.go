// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// requests are open requests of every shape.
var requests = []OpenRequest{
	{Plugin: "file", Kind: Source, Config: json.RawMessage(`{"paths":["/var/log/*.log"]}`), Instance: Instance{Index: 0, Count: 1}, Cursor: map[string][]byte{}},
	{Plugin: "file", Kind: Sink, Config: json.RawMessage(`{}`), Instance: Instance{Index: 3, Count: 4},
		Stream:       "1b4e28ba2fa111d2883fb9a761bde3fb/7/1",
		Incarnations: []Incarnation{{ID: 1, First: 0}, {ID: math.MaxUint64, First: 1 << 32}},
		Cursor:       map[string][]byte{}},
	{Plugin: "x", Kind: Processor, Config: json.RawMessage(`null`), Cursor: map[string][]byte{
		"": []byte("empty key"), "b": {0, 0xff}, "a": bytes.Repeat([]byte{1}, MaxValue), strings.Repeat("k", MaxKey): {}}},
}

func TestAnOpenRequestIsReadBack(t *testing.T) {
	for _, want := range requests {
		b, err := want.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseOpenRequest(b[len("before"):])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		clear(b)
		if !reflect.DeepEqual(got, want) {
			t.Error("what was read changes with the bytes")
		}
	}
}

func TestACutOpenRequestIsRefused(t *testing.T) {
	for _, r := range requests {
		b, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range b[:min(len(b), 600)] {
			if _, err := ParseOpenRequest(b[:n:n]); err == nil {
				t.Fatalf("%d bytes of %d were taken", n, len(b))
			}
		}
		if _, err := ParseOpenRequest(append(b, 0)); err == nil {
			t.Error("a byte too many was taken")
		}
	}
	if _, err := (OpenRequest{Config: json.RawMessage("{")}).Append(nil); err == nil {
		t.Error("a config that is no JSON was encoded")
	}
	if _, err := ParseOpenRequest([]byte{2, 0, 0, 0, '{', ']', 0, 0, 0, 0}); err == nil {
		t.Error("a request that is no JSON was taken")
	}
}

// The bytes that a guest in any language reads.
func TestTheBytesOfACursorMap(t *testing.T) {
	got := AppendCursor(nil, map[string][]byte{"b": []byte("2"), "a": []byte("one")})
	want := "\x02\x00\x00\x00" + "\x01\x00\x03\x00\x00\x00aone" + "\x01\x00\x01\x00\x00\x00b2"
	if string(got) != want {
		t.Errorf("got %q", got)
	}
	if got := AppendCursor(nil, nil); string(got) != "\x00\x00\x00\x00" {
		t.Errorf("the empty map is %q", got)
	}
}

// entry is one entry of a cursor map with these lengths, whatever follows.
func entry(klen uint16, vlen uint32, rest string) []byte {
	b := binary.LittleEndian.AppendUint16(nil, klen)
	return append(binary.LittleEndian.AppendUint32(b, vlen), rest...)
}

func TestABrokenCursorMapIsRefused(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":                    nil,
		"no room for the count":      {1, 0, 0},
		"more entries than can be":   append([]byte{255, 255, 255, 255}, entry(1, 0, "k")...),
		"one entry too few":          append([]byte{2, 0, 0, 0}, entry(1, 6, "kvvvvvv")...),
		"a key beyond the end":       append([]byte{1, 0, 0, 0}, entry(2, 0, "k")...),
		"a value beyond the end":     append([]byte{1, 0, 0, 0}, entry(1, 2, "kv")...),
		"a value far beyond the end": append([]byte{1, 0, 0, 0}, entry(1, math.MaxUint32, "kv")...),
		"a key over the limit":       append([]byte{1, 0, 0, 0}, entry(MaxKey+1, 0, strings.Repeat("k", MaxKey+1))...),
		"a value over the limit":     append([]byte{1, 0, 0, 0}, entry(1, MaxValue+1, strings.Repeat("v", MaxValue+2))...),
		"a key twice":                slices.Concat([]byte{2, 0, 0, 0}, entry(1, 0, "k"), entry(1, 0, "k")),
		"keys out of order":          slices.Concat([]byte{2, 0, 0, 0}, entry(1, 0, "b"), entry(1, 0, "a")),
	} {
		if m, _, err := ParseCursor(b); err == nil {
			t.Errorf("%s: taken as %q", name, m)
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	for _, r := range requests {
		f.Add(append(AppendCursor(nil, r.Cursor), "rest"...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, rest, err := ParseCursor(b)
		if err != nil {
			return
		}
		if again := AppendCursor(nil, m); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Errorf("%q is read from %q and written as %q", m, b, again)
		}
	})
}

func FuzzParseOpenRequest(f *testing.F) {
	for _, r := range requests {
		b, err := r.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseOpenRequest(b)
		if err != nil {
			return
		}
		again, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r2, err := ParseOpenRequest(again); err != nil || !maps.EqualFunc(r2.Cursor, r.Cursor, bytes.Equal) || r2.Plugin != r.Plugin {
			t.Errorf("%+v, %v after %+v", r2, err, r)
		}
	})
}

// Numbers that cross the boundary are for ever: who changes one breaks plugins that are built.
func TestCodesKeepTheirNumbersAndClasses(t *testing.T) {
	want := []struct {
		code  Code
		name  string
		class Class
	}{
		{0, "OK", Retry}, {-1, "EAGAIN", Retry}, {-2, "EINTR", Retry}, {-3, "EOF", Retry}, {-4, "ETIMEDOUT", Retry}, {-5, "EIO", Retry},
		{-6, "EINVAL", Config}, {-7, "EACCES", Config}, {-8, "ETOOBIG", Reject}, {-9, "ENOENT", Retry}, {-10, "EREJECT", Reject}, {-11, "ENOSYS", Config},
	}
	for i, w := range want {
		if w.code != Code(-i) || w.code.String() != w.name || w.code.Class() != w.class {
			t.Errorf("%d is %s, %s", w.code, w.code, w.code.Class())
		}
	}
	if len(codes) != len(want) {
		t.Errorf("%d codes, the test has %d", len(codes), len(want))
	}
	for _, c := range []Code{1, -12, -1000, math.MinInt32} {
		if c.String() != "EUNKNOWN" || c.Class() != Retry {
			t.Errorf("%d is %s, %s; what is unknown may pass", c, c, c.Class())
		}
	}
	for c, name := range map[Class]string{Retry: "retry", Reject: "reject", Config: "config", Fatal: "fatal", 9: "unknown"} {
		if c.String() != name {
			t.Errorf("class %d is %s", c, c)
		}
	}
}

func TestAManifestIsReadAndItsPluginsFound(t *testing.T) {
	m, err := ParseManifest([]byte(`{"name":"std","version":"1.2.3","later":true,"plugins":[
		{"kind":"source","name":"file","later":[1],"replay":"cursor","cursor_version":2,"reads":[1],"limits":{"memory":1},
		 "arguments":[{"name":"paths","type":"list(string)","required":true,"min":1}],"needs":[{"handle":"dirs","kind":"dir","value":"config.paths"}]},
		{"kind":"sink","name":"file","effects":"transactional"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	source, ok := m.Find(Source, "file")
	if !ok || source.Replay != "cursor" || source.CursorVersion != 2 || *source.Arguments[0].Min != 1 || source.Needs[0].Kind != "dir" || source.Limits.MemoryBytes != 1 {
		t.Errorf("the source is %+v, %v", source, ok)
	}
	if sink, ok := m.Find(Sink, "file"); !ok || sink.Effects != "transactional" {
		t.Errorf("the sink is %+v, %v", sink, ok)
	}
	if p, ok := m.Find(Processor, "file"); ok {
		t.Errorf("found %+v", p)
	}
	if _, err := ParseManifest([]byte(`{"name":`)); err == nil {
		t.Error("a manifest that is no JSON was taken")
	}
}

// spec/abi.md is for those who write guests: it must name all that is in the code.
func TestTheABIInWordsIsComplete(t *testing.T) {
	words, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("abi.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^\s+(?:Export|Import)\w+\s*= "(\w+)"`).FindAllStringSubmatch(string(code), -1)
	if len(names) < 20 {
		t.Fatalf("found only %d names in the code", len(names))
	}
	for _, n := range names {
		if !strings.Contains(string(words), "`"+n[1]) {
			t.Errorf("spec/abi.md does not have %s", n[1])
		}
	}
	for c := range codes {
		if !strings.Contains(string(words), "`"+c.String()+"`") {
			t.Errorf("spec/abi.md does not have %s", c)
		}
	}
	manifest := reflect.TypeFor[Manifest]()
	for _, typ := range []reflect.Type{manifest, reflect.TypeFor[Plugin](), reflect.TypeFor[Argument](), reflect.TypeFor[Need](), reflect.TypeFor[OpenRequest]()} {
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name != "-" && !strings.Contains(string(words), "`"+name) {
				t.Errorf("spec/abi.md does not have %s of %s", name, typ.Name())
			}
		}
	}
}

func TestNobodyIsLeftAloneForLongerThanAnHour(t *testing.T) {
	for ms, want := range map[int64]time.Duration{
		-1: 0, 0: 0, 1500: 1500 * time.Millisecond, MaxDelay.Milliseconds(): MaxDelay, MaxDelay.Milliseconds() + 1: MaxDelay,
		math.MaxInt64: MaxDelay, math.MinInt64: 0,
	} {
		if got := Delay(ms); got != want {
			t.Errorf("%d ms: %v, want %v", ms, got, want)
		}
	}
}
