// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// vectorsDir holds golden batches, which the tests of every SDK read.
const vectorsDir = "../vectors"

var update = flag.Bool("update", false, "write the golden batches anew")

// vector is one golden batch. Numbers that JSON readers round are strings; bytes are in hex.
type vector struct {
	File   string        `json:"file"`
	About  string        `json:"about"`
	Parse  bool          `json:"parse"`            // a decoder takes it
	Emit   bool          `json:"emit"`             // a host takes it from a plugin; a builder given the events makes these very bytes
	Reason string        `json:"reason,omitempty"` // in the words of this package, when it is not taken
	Events []vectorEvent `json:"events,omitempty"`
}

type vectorEvent struct {
	Offset     string      `json:"offset"`
	Time       string      `json:"time"`
	Attributes [][2]string `json:"attributes"` // name as it is, value in hex
	Body       string      `json:"body"`
}

// golden is the source of the vectors: about each, and how it is made.
func golden(t testing.TB) (out []vector, data [][]byte) {
	add := func(file, about string, b []byte) {
		v := vector{File: file + ".bin", About: about}
		p, err := Parse(b)
		if v.Parse = err == nil; v.Parse {
			v.Events = vectorEvents(p)
		} else {
			v.Reason = err.Error()
		}
		if _, err := Copy(Heap{}, b, MaxBatch); err == nil {
			v.Emit = true
		} else if v.Parse {
			v.Reason = err.Error()
		}
		out, data = append(out, v), append(data, bytes.Clone(b))
	}
	for _, v := range valid {
		w := Builder{Host: true}
		for _, e := range v.events {
			if err := w.Append(e); err != nil {
				t.Fatal(err)
			}
		}
		add("valid-"+v.name, v.about, w.Bytes())
	}
	for _, v := range hostOnly {
		add("host-"+v.name, "valid as a host delivers it; a plugin may not emit it", v.do(bytes.Clone(small(t))))
	}
	delivered, err := Slice(Heap{}, numbered(t, 1<<33+5, 4), Range{1<<33 + 6, 1<<33 + 8})
	if err != nil {
		t.Fatal(err)
	}
	add("host-slice", "two of four events as a host delivers them: base and deltas give their offsets", delivered.Bytes())
	for _, v := range broken {
		add("broken-"+v.name, "must be refused", v.do(bytes.Clone(small(t))))
	}
	return out, data
}

// valid is what the valid vectors hold.
var valid = []struct {
	name, about string
	events      []Event
}{
	{"empty", "no event", nil},
	{"bare", "one event with nothing in it", []Event{{}}},
	{"small", "two events: one with an attribute and a body, one with neither", []Event{
		{Time: 7, Attributes: []Attribute{{"key", []byte("value")}}, Body: []byte("body")}, {Time: 8}}},
	{"times", "the least and the greatest time", []Event{{Time: -1 << 63}, {Time: -1}, {Time: 1<<63 - 1}}},
	{"attributes", "empty names and values, equal names, names beyond ASCII, values of any bytes", []Event{{Attributes: []Attribute{
		{"", nil}, {"", []byte{0}}, {"same", []byte("first")}, {"same", []byte("second")}, {"ключ", []byte{0xff, 0x00, 0xfe}}, {"名前", []byte("値")}}}}},
	{"attributes-1000", "as many attributes as a plugin may set", []Event{{Attributes: make([]Attribute, GuestAttributes), Body: []byte("x")}}},
	{"attributes-1024", "as many attributes as a decoder takes", []Event{{Attributes: make([]Attribute, MaxAttributes), Body: []byte("x")}}},
	{"reserved-name", "an attribute of the host's", []Event{{Attributes: []Attribute{{"penstock.dead.reason", []byte("schema")}}}}},
	{"bodies", "bodies of 0 to 40 bytes, so that records begin at every alignment", everyBody()},
}

func everyBody() (events []Event) {
	for n := range 41 {
		events = append(events, Event{Time: int64(n), Body: bytes.Repeat([]byte{byte(n)}, n)})
	}
	return events
}

func vectorEvents(b Batch) (out []vectorEvent) {
	for o, e := range b.All() {
		v := vectorEvent{Offset: strconv.FormatUint(uint64(o), 10), Time: strconv.FormatInt(e.Time, 10), Attributes: [][2]string{}, Body: hex.EncodeToString(e.Body)}
		for _, a := range e.Attributes {
			v.Attributes = append(v.Attributes, [2]string{a.Key, hex.EncodeToString(a.Value)})
		}
		out = append(out, v)
	}
	return out
}

// The bytes of a format do not change: what is on disk and in other languages was made by older code.
func TestTheGoldenBatchesAreWhatTheyWere(t *testing.T) {
	vectors, data := golden(t)
	manifest, err := json.MarshalIndent(vectors, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"vectors.json": append(manifest, '\n')}
	for i, v := range vectors {
		if files[v.File] != nil {
			t.Errorf("two vectors are called %s", v.File)
		}
		files[v.File] = append([]byte{}, data[i]...)
	}
	for name, want := range files {
		path := filepath.Join(vectorsDir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%v (-update writes it)", err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what this code makes (-update writes it, but then every SDK changes)", name)
		}
	}
	there, err := filepath.Glob(filepath.Join(vectorsDir, "*.bin"))
	if err != nil || len(there) != len(vectors) {
		t.Errorf("%d files for %d vectors, %v", len(there), len(vectors), err)
	}
}

// What the manifest says holds, read as an SDK reads it.
func TestTheManifestOfTheGoldenBatchesHolds(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(vectorsDir, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		t.Run(strings.TrimSuffix(v.File, ".bin"), func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(vectorsDir, v.File))
			if err != nil {
				t.Fatal(err)
			}
			_, errCopy := Copy(Heap{}, b, MaxBatch)
			p, errParse := Parse(b)
			if (errCopy == nil) != v.Emit || (errParse == nil) != v.Parse {
				t.Fatalf("Parse: %v, Copy: %v; the manifest says %v and %v", errParse, errCopy, v.Parse, v.Emit)
			}
			if v.Emit {
				rebuilt(t, v, b)
			}
			if got := vectorEvents(p); !reflect.DeepEqual(got, v.Events) {
				t.Errorf("events are %v, the manifest has %v", got, v.Events)
			}
		})
	}
}

// rebuilt builds the batch from the manifest alone.
func rebuilt(t *testing.T, v vector, want []byte) {
	t.Helper()
	var w Builder
	for _, e := range v.Events {
		at, err := strconv.ParseInt(e.Time, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		built := Event{Time: at, Body: unhex(t, e.Body)}
		for _, a := range e.Attributes {
			built.Attributes = append(built.Attributes, Attribute{a[0], unhex(t, a[1])})
		}
		if err := w.Append(built); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(w.Bytes(), want) {
		t.Errorf("a builder makes %x of it", w.Bytes())
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
