// SPDX-License-Identifier: Apache-2.0

package line

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/spec/event"
)

func TestEventsAsLines(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 15, 0, 123e6, time.UTC).UnixNano()
	attrs := []event.Attribute{{Key: "k", Value: []byte("v")}, {Key: "k", Value: []byte("again")}, {Key: "bin", Value: []byte{0xff}}}
	for _, c := range []struct {
		f    Format
		e    event.Event
		want string
	}{
		{Raw, event.Event{Time: at, Body: []byte("a\nb"), Attributes: attrs}, "a\nb\n"},
		{JSON, event.Event{Time: at, Body: []byte(`say "a"` + "\n")}, `{"time":"2026-11-22T10:15:00.123Z","attributes":{},"body":"say \"a\"\n"}` + "\n"},
		{JSON, event.Event{Time: at, Body: []byte{0xff, 0}, Attributes: attrs},
			`{"time":"2026-11-22T10:15:00.123Z","attributes":{"k":"v"},"attributes_base64":{"bin":"/w=="},"body_base64":"/wA="}` + "\n"},
	} {
		if got := string(New(c.f).Append(nil, c.e)); got != c.want {
			t.Errorf("line is %q, want %q", got, c.want)
		}
	}
}

func TestTimeOfEachEventIsItsOwn(t *testing.T) {
	c := New(JSON)
	var got []byte
	for _, at := range []int64{0, 0, 1e9, -1} {
		got = c.Append(got, event.Event{Time: at})
	}
	want := ""
	for _, at := range []string{"1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "1969-12-31T23:59:59.999999999Z"} {
		want += fmt.Sprintf(`{"time":%q,"attributes":{},"body":""}`+"\n", at)
	}
	if string(got) != want {
		t.Errorf("lines are\n%swant\n%s", got, want)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	if _, err := Parse("xml"); err == nil {
		t.Error("xml is taken")
	}
}

// FuzzJSON compares with what encoding/json makes of the line.
func FuzzJSON(f *testing.F) {
	for c := range 256 {
		f.Add([]byte(fmt.Sprintf("0123456%c89abcdef%c", c, c)), string(rune(c)))
	}
	f.Add([]byte("\xf0\x9f\x92\xa7 drop"), "\"\\")
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		if !utf8.ValidString(key) {
			t.Skip("keys are UTF-8")
		}
		text := New(JSON).Append(nil, event.Event{Body: body, Attributes: []event.Attribute{{Key: key, Value: body}}})
		var got struct {
			Body       *string           `json:"body"`
			Binary     []byte            `json:"body_base64"`
			Attributes map[string]string `json:"attributes"`
			Values     map[string][]byte `json:"attributes_base64"`
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if utf8.Valid(body) {
			if got.Body == nil || *got.Body != string(body) || got.Attributes[key] != string(body) {
				t.Fatalf("%q became %s", body, text)
			}
		} else if string(got.Binary) != string(body) || string(got.Values[key]) != string(body) {
			t.Fatalf("%q became %s", body, text)
		}
	})
}
