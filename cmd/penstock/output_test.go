// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
)

func TestFiguresAreWrittenForPeople(t *testing.T) {
	for got, want := range map[string]string{
		number(0):                               "0",
		number(999):                             "999",
		number(1000):                            "1 000",
		number(uint64(1234567)):                 "1 234 567",
		number(-1234):                           "-1 234",
		number(-123):                            "-123",
		size(0):                                 "0 B",
		size(1023):                              "1023 B",
		size(1024):                              "1.0 KiB",
		size(1 << 30):                           "1.0 GiB",
		size(1000 << 20):                        "1.0 GiB",
		size(15 << 20):                          "15 MiB",
		size(1<<64 - 1):                         "16 EiB",
		span(340 * time.Millisecond):            "340 ms",
		span(26 * time.Second):                  "26 s",
		span(60 * time.Second):                  "1 min",
		span(2*time.Hour + 5*time.Minute):       "2 h 5 min",
		span(76 * time.Hour):                    "3 d 4 h",
		plural(1, "file"):                       "1 file",
		plural(0, "file"):                       "0 files",
		plural(2000, "file"):                    "2 000 files",
		wrap("one two three four", 9, " "):      " one two\n three\n four",
		wrap("averyverylongword", 5, ""):        "averyverylongword",
		firstSentence("Reads lines. And more."): "Reads lines.",
		firstSentence("Reads lines"):            "Reads lines",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestPipesAreNotPainted(t *testing.T) {
	term := newTerminal(t.Output())
	if got := term.paint(red, "Error:"); got != "Error:" || term.tty {
		t.Errorf("painted %q on a terminal (%v)", got, term.tty)
	}
	term.color = true
	if got := term.paint(red, "Error:"); got != red+"Error:"+plain {
		t.Errorf("painted %q", got)
	}
}

func TestTheLogWritesDurationsAsPeopleDo(t *testing.T) {
	var out bytes.Buffer
	newApp(nil, &out, &out).newLogger("json", "info", admin.NewLog()).Info("draining", "within", 30*time.Second)
	if !strings.Contains(out.String(), `"within":"30s"`) {
		t.Error(out.String())
	}
}

func TestStatusSaysWhatIsDamaged(t *testing.T) {
	var out bytes.Buffer
	s := admin.Status{DataDir: "/data", Channels: []admin.Channel{{Address: "channel.main", Damaged: "log/00000000000000000007 at byte 9"}}}
	printStatus(newTerminal(&out), s, time.Now())
	for _, want := range []string{"channel.main is damaged", "log/00000000000000000007 at byte 9", "penstock channel repair /data/channels/main"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
}

func TestStatusSaysWhyWhatIsTriedAgainFailed(t *testing.T) {
	now := time.Now()
	failed := func(state admin.State, waiting uint64, ago time.Duration) string {
		var out bytes.Buffer
		c := admin.Component{Address: "sink.away", Kind: "sink", State: state, Waiting: waiting, Failure: "no room there", FailedAt: now.Add(-ago)}
		printStatus(newTerminal(&out), admin.Status{Components: []admin.Component{c}}, now)
		return out.String()
	}
	if s, want := failed(admin.Running, 7, 3*time.Second), "\nsink.away tries again. 3 s ago it was retrying: no room there\n"; !strings.Contains(s, want) {
		t.Errorf("%q is not in %s", want, s)
	}
	for _, s := range []string{failed(admin.Running, 0, 3*time.Second), failed(admin.Running, 7, time.Hour), failed(admin.Paused, 7, time.Second)} {
		if strings.Contains(s, "no room") {
			t.Errorf("it is over: %s", s)
		}
	}
}

func TestStatusSaysWhatIsShortOfDisk(t *testing.T) {
	var out bytes.Buffer
	s := admin.Status{Channels: []admin.Channel{{Address: "channel.main", ShortOfDisk: "1.0 MiB of the disk are free"}}}
	printStatus(newTerminal(&out), s, time.Now())
	for _, want := range []string{"channel.main is short of disk", "1.0 MiB of the disk are free", "min_free"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
}

// TestStatusSaysWhatSinksLeaveOut: behind what they were given, and only where one of them leaves anything out.
func TestStatusSaysWhatSinksLeaveOut(t *testing.T) {
	var out bytes.Buffer
	sinks := []admin.Component{{Address: "source.in", Kind: "source", Events: 7}, {Address: "sink.a", Kind: "sink", Events: 3}, {Address: "sink.b", Kind: "sink"}}
	printStatus(newTerminal(&out), admin.Status{Components: sinks}, time.Now())
	if s := out.String(); strings.Contains(s, "FILTERED") || strings.Contains(s, "CONSUMED") {
		t.Errorf("nothing is left out:\n%s", &out)
	}
	out.Reset()
	sinks[2].Filtered = 1234
	printStatus(newTerminal(&out), admin.Status{Components: sinks}, time.Now())
	if s := out.String(); strings.Count(s, "FILTERED") != 1 || !strings.Contains(s, "1 234") {
		t.Errorf("1234 are left out:\n%s", s)
	}
	out.Reset()
	sinks[1].Consumed = 56
	printStatus(newTerminal(&out), admin.Status{Components: sinks}, time.Now())
	for _, line := range []string{"SINK PLUGIN STATE EVENTS FILTERED CONSUMED WAITING RETRIES FROM", "sink.a 3 0 56 0 0", "sink.b 0 1 234 0 0 0"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), line) {
			t.Errorf("%q is not in:\n%s", line, &out)
		}
	}
}

func TestStatusSaysWhatIsTheMatterWithCertificates(t *testing.T) {
	var out bytes.Buffer
	s := admin.Status{TLS: []admin.TLS{{Block: "tls.fine"}, {Block: "tls.a", Broken: "a.pem is cut off"}, {Block: "tls.b", Expiry: []string{"its certificate expires at noon"}}}}
	printStatus(newTerminal(&out), s, time.Now())
	for _, want := range []string{"tls.a has broken files, tls.b needs a new certificate", "\ntls.a the files cannot be used as they are, so what they said before is used on: a.pem is cut off\n",
		"\ntls.b its certificate expires at noon\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %s", want, &out)
		}
	}
	if strings.Contains(out.String(), "tls.fine") {
		t.Errorf("something is said of what is as it should be:\n%s", &out)
	}
}

func TestColumnsStayStraightUnderEmptyCells(t *testing.T) {
	var out bytes.Buffer
	newTerminal(&out).table([][]string{{"GROUP", "IN DOUBT", "POLICY"}, {"a", "-", "failover"}, {"", "-", ""}, {"b", "-", "failover"}})
	want := "GROUP  IN DOUBT  POLICY\na      -         failover\n       -\nb      -         failover\n"
	if out.String() != want {
		t.Errorf("it is\n%s\nnot\n%s", &out, want)
	}
}
