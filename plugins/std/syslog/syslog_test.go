// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

// told is what was found in a message, in one line.
func told(m message) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d", m.priority)
	if m.hasTime {
		s.WriteString(" " + time.Unix(0, m.time).UTC().Format(time.RFC3339Nano))
	}
	for _, f := range []struct {
		name  string
		value []byte
	}{{"host", m.host}, {"app", m.app}, {"pid", m.pid}, {"id", m.id}, {"data", m.data}} {
		if f.value != nil {
			fmt.Fprintf(&s, " %s=%s", f.name, f.value)
		}
	}
	return s.String() + " | " + string(m.text)
}

func TestMessagesAreRead(t *testing.T) {
	now := time.Date(2026, 1, 3, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]string{
		// RFC 5424, its own examples
		"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed for lonvick": "34 2003-10-11T22:14:15.003Z host=mymachine.example.com app=su id=ID47 | 'su root' failed for lonvick",
		"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.":       "165 2003-08-24T12:14:15.000003Z host=192.0.2.1 app=myproc pid=8710 | %% It's time to make the do-nuts.",
		`<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [a@1 x="3" y="A\"]"][b@1 z="h i"] An event`:              `165 2003-10-11T22:14:15.003Z host=h app=evntslog id=ID47 data=[a@1 x="3" y="A\"]"][b@1 z="h i"] | An event`,
		`<165>1 2003-10-11T22:14:15.003Z h evntslog - ID47 [a@1 x="3"]`:                                             `165 2003-10-11T22:14:15.003Z host=h app=evntslog id=ID47 data=[a@1 x="3"] | `,
		"<0>1 - - - - - -": "0 | ",
		// RFC 3164, its own examples and what programs write
		"<34>Oct 11 22:14:15 mymachine su: 'su root' failed":      "34 2025-10-11T22:14:15Z host=mymachine app=su | 'su root' failed",
		"<13>Jan  3 11:59:59 host app[123]: text: with a colon":   "13 2026-01-03T11:59:59Z host=host app=app pid=123 | text: with a colon",
		"<13>Dec 31 23:59:59 host a/b.c[1]: x":                    "13 2025-12-31T23:59:59Z host=host app=a/b.c pid=1 | x",
		"<13>Jan  3 11:59:59 app[1]: no host":                     "13 2026-01-03T11:59:59Z app=app pid=1 | no host",
		"<13>app: no time":                                        "13 app=app | no time",
		"<13>2026-01-03T10:00:00.5+01:00 host app: a better time": "13 2026-01-03T09:00:00.5Z host=host app=app | a better time",
		"<13>just text":                          "13 | just text",
		"<13>a sentence with words: and a colon": "13 | a sentence with words: and a colon",
		"<13>":                                   "13 | ",
		// what is none
		"no header": "-1 | no header",
		"<192>x":    "-1 | <192>x",
		"<>x":       "-1 | <>x",
		"<1a>x":     "-1 | <1a>x",
		"<13":       "-1 | <13",
		"":          "-1 | ",
		"<13>1 ":    "13 | 1 ",
		"<13>1 2003-10-11T22:14:15.003Z h a p i [x": "13 | 1 2003-10-11T22:14:15.003Z h a p i [x",
		"<13>1 yesterday h a p i - x":               "13 | 1 yesterday h a p i - x",
	} {
		if got := told(parse([]byte(in), now, time.UTC)); got != want {
			t.Errorf("%q\n is %s\nwant %s", in, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"<34>1 2003-10-11T22:14:15.003Z m su - ID47 [a b=\"c\\\"]\"] x", "<34>Oct 11 22:14:15 mymachine su[1]: x", "<13>app: x", "<13>1 - - - - - -", "[", "<",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parse(b, time.Unix(1e9, 0), time.UTC)
		if !strings.HasSuffix(string(b), string(m.text)) {
			t.Errorf("%q is not the end of %q", m.text, b)
		}
	})
}

func settings(listen string) map[string]any {
	return map[string]any{"listen": listen, "max_message": 1000, "body": "text", "zone": "UTC"}
}

func TestMessagesOverConnectionsAreCountedOrLines(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings("tcp://:514"))
	p := s.Net.Connect("listen", "192.0.2.1:1000")
	p.Send("<13>app: one\n18 <14>app: two\nlines5 <15>x<16>app: three\n\n19 <17>app: ")
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"one", "two\nlines", "x", "three"}) {
		t.Errorf("%q", got)
	}
	p.Send("4")
	p.Close()
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"4"}) {
		t.Errorf("%q: what was cut", got)
	}
	want := map[string]string{"syslog.facility": "user", "syslog.severity": "notice", "syslog.app": "app", "syslog.peer": "192.0.2.1:1000"}
	if got := s.Events[0].Attributes; !maps.Equal(got, want) {
		t.Errorf("attributes %v, want %v", got, want)
	}
	for _, bad := range []string{"1001 <13>x", "12345678 x", "12x3"} {
		p := s.Net.Connect("listen", "x")
		p.Send(bad)
		if got := s.Drain(); len(got) > 0 || !p.Closed {
			t.Errorf("%q: %v, closed %v", bad, got, p.Closed)
		}
	}
	if s.Metrics["syslog_broken"] != 3 {
		t.Errorf("metrics %v", s.Metrics)
	}
}

func TestDatagramsAreMessages(t *testing.T) {
	s := sdktest.OpenSource(t, New, settings("udp://:514"))
	s.MaxEvents = 2
	for _, text := range []string{"<13>Jan  3 11:59:59 h app[1]: one\n", "not syslog", "", "<13>1 2003-10-11T22:14:15.003Z h a - - - three"} {
		s.Net.Datagram("listen", "192.0.2.1:514", text)
	}
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"one", "not syslog", "three"}) {
		t.Errorf("%q", got)
	}
	if e := s.Events[2]; e.Time != time.Date(2003, 10, 11, 22, 14, 15, 3e6, time.UTC).UnixNano() || e.Attributes["syslog.host"] != "h" {
		t.Errorf("%+v", e)
	}
	if s.Metrics["syslog_malformed"] != 1 {
		t.Errorf("metrics %v", s.Metrics)
	}
}

func TestTheBodyMayBeTheWholeMessage(t *testing.T) {
	cfg := settings("unixgram:///dev/log")
	cfg["body"], cfg["zone"] = "message", "+01:00"
	s := sdktest.OpenSource(t, New, cfg)
	const text = "<13>Jan  3 11:59:59 app[1]: one"
	s.Net.Datagram("listen", "", text)
	e := s.Drain()[0]
	if e.Body != text || time.Unix(0, e.Time).UTC().Hour() != 10 || e.Attributes["syslog.pid"] != "1" {
		t.Errorf("%+v", e)
	}
	for name, value := range map[string]string{"zone": "Europe/Berlin", "body": "json"} {
		cfg := settings("tcp://:514")
		cfg[name] = value
		s.Configure(cfg)
		if err := s.Restart(); err == nil || !strings.Contains(err.Error(), value) {
			t.Errorf("%s = %s: %v", name, value, err)
		}
	}
}
