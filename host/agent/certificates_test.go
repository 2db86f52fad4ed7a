// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
)

func TestWhatExpiresIsSaidInTimeAndOnceADay(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		life, left time.Duration
		want       string // "": nothing is said
	}{
		"a year, with weeks left":          {365 * day, 15 * day, ""},
		"a year, with two weeks left":      {365 * day, 14 * day, "its certificate expires at 2030-01-15T00:00:00Z: put a new one"},
		"a day, just made":                 {day, day, ""},
		"a day, when it is to be renewed":  {day, 8 * time.Hour, ""},
		"a day, and it was not":            {day, 6 * time.Hour, "its certificate expires at 2030-01-01T06:00:00Z"},
		"the moment at which it is over":   {365 * day, 0, "its certificate has expired at 2030-01-01T00:00:00Z"},
		"over":                             {day, -day, "its certificate has expired at 2029-12-31T00:00:00Z: connections are refused"},
		"made for longer than there is":    {1 << 62, 15 * day, ""},
		"made to be over before it begins": {-day, -day, "has expired"},
	} {
		end := now.Add(c.left)
		got := standing("tls.a", endpoint.TLSState{Cert: endpoint.Validity{From: end.Add(-c.life), Until: end}}, now)
		if text := strings.Join(got.Expiry, "|"); !strings.HasPrefix(text, c.want) && !strings.Contains(text, "certificate "+c.want) || (text == "") != (c.want == "") {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
	if got := standing("tls.a", endpoint.TLSState{CA: endpoint.Validity{From: now.Add(-day), Until: now}}, now); len(got.Expiry) != 1 || !strings.HasPrefix(got.Expiry[0], "its ca has expired") {
		t.Errorf("of the authority: %q", got.Expiry)
	}
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := &expiries{agent: &Agent{opts: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}}
		old := []admin.TLS{{Block: "tls.a", Expiry: []string{"its certificate expires"}}}
		for range 2 * 24 * 60 { // two days
			e.say(old, time.Now())
			time.Sleep(time.Minute)
		}
		if n := strings.Count(log.String(), "its certificate expires"); n != 2 || !strings.Contains(log.String(), "tls=tls.a") {
			t.Errorf("in two days it is said %d times:\n%s", n, &log)
		}
		e.say(nil, time.Now())
		e.say(old, time.Now()) // another, which ends soon as well
		if n := strings.Count(log.String(), "its certificate expires"); n != 3 {
			t.Errorf("of another it is said %d times", n-2)
		}
	})
}

// TestFilesAreLookedAtWhileNobodyConnects: they are known to be broken, and a certificate is in use before it is shown, so that one which is renewed each day
// and then broken does not leave that of the first day.
func TestFilesAreLookedAtWhileNobodyConnects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	selfSigned(t, dir, "a")
	renewed := t.TempDir()
	time.Sleep(time.Second) // so that they end at different ones
	selfSigned(t, renewed, "a")
	synctest.Test(t, func(t *testing.T) {
		files, err := endpoint.OpenTLS(endpoint.TLSOptions{Cert: dir + "/a.pem", Key: dir + "/a.key"})
		if err != nil {
			t.Fatal(err)
		}
		a := &Agent{guarded: secured{config.TLS{Name: "a"}, files}, opts: Options{Log: slog.New(slog.DiscardHandler)}}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			(&expiries{agent: a}).run(ctx)
		}()
		first := files.State().Cert.Until
		for _, file := range []string{"/a.pem", "/a.key"} {
			text, err := os.ReadFile(renewed + file)
			if err == nil {
				err = os.WriteFile(dir+file, append(text, '\n'), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(certificatesTurn + time.Second)
		if s := a.certificates(); s[0].CertUntil.Equal(first) || s[0].Broken != "" {
			t.Errorf("the new certificate is not in use: %+v", s)
		}
		if err := os.WriteFile(dir+"/a.pem", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * certificatesTurn)
		if s := a.certificates(); s[0].Broken == "" || s[0].CertUntil.Equal(first) {
			t.Errorf("the file is broken: %+v", s)
		}
		stop()
		<-ended
	})
}

// receiving is a pipeline that takes events from other agents at an address.
func receiving(at string) string {
	return `source "hop" "in" {
  into = channel.main
  tls = tls.both
  config {
    listen = "tls://` + at + `"
    clients = ["near"]
  }
}
channel "wal" "main" {}
sink "discard" "out" {
  from = channel.main
}
` + tlsBlock("far", "near")
}

func TestWhoFailsInAHandshakeIsToldWhyAndWhoIsGoneIsNot(t *testing.T) {
	dir, at := t.TempDir(), fmt.Sprint("127.0.0.1:", addresstest.FreePort(t))
	selfSigned(t, dir, "near")
	selfSigned(t, dir, "far")
	for _, c := range []struct {
		name string
		do   func(net.Conn)
		says string // "": nothing, and nothing is counted
	}{
		{"it hangs up", func(c net.Conn) {}, ""},
		{"it is cut off", func(c net.Conn) { _, _ = c.Write([]byte{22, 3, 1}); _ = c.(*net.TCPConn).SetLinger(0) }, ""},
		{"no TLS", func(c net.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); _, _ = io.ReadAll(c) }, "does not speak TLS"},
		{"no certificate", func(c net.Conn) { _, _ = tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Read(make([]byte, 1)) }, "see its certificate"},
		{"it does not believe", func(c net.Conn) { _ = tls.Client(c, &tls.Config{ServerName: "x"}).Handshake() }, "see the certificate here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := run(t, dir, receiving(at))
			conn, err := net.Dial("tcp", at)
			if err != nil {
				t.Fatal(err)
			}
			c.do(conn)
			_ = conn.Close()
			eventually(t, "the handshake is over", func() bool { l := r.component("source.in").Listeners[0]; return l.Failed+l.Lost == 1 })
			eventually(t, "it is counted", func() bool { return (r.component("source.in").Denied["hop.handshake"] == 1) == (c.says != "") })
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			if said := r.log.String(); c.says != "" && strings.Count(said, c.says) != 1 || c.says == "" && strings.Contains(said, "TLS") {
				t.Error(said)
			}
		})
	}
}

// TestFilesOfTLSAreKnownToStatusAndMetrics: through reloads that change who uses them, also while they are broken, and no longer than somebody does.
func TestFilesOfTLSAreKnownToStatusAndMetrics(t *testing.T) {
	dir, at := t.TempDir(), fmt.Sprint("127.0.0.1:", addresstest.FreePort(t))
	selfSigned(t, dir, "near")
	selfSigned(t, dir, "far")
	pipeline := receiving(at)
	r := run(t, dir, pipeline)
	known := func(when string) {
		t.Helper()
		s := r.Status().TLS
		if len(s) != 1 || s[0].Block != "tls.both" || time.Until(s[0].CertUntil) < 50*time.Minute || s[0].CertUntil.Sub(s[0].CAUntil).Abs() > time.Minute || len(s[0].Expiry) > 0 || s[0].Broken != "" {
			t.Errorf("%s: %+v", when, s)
		}
		families, err := r.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		series := 0
		for _, f := range families {
			if strings.HasPrefix(f.GetName(), "penstock_tls_") {
				series += len(f.GetMetric())
			}
		}
		if series != 3 {
			t.Errorf("%s: there are %d series", when, series)
		}
	}
	known("at the start")
	if err := os.WriteFile(dir+"/far.pem", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Whoever changes goes on with what there is; a file that is broken stops nobody but who needs it anew.
	for when, text := range map[string]string{
		"another is changed": strings.Replace(pipeline, `sink "discard" "out" {`, "sink \"discard\" \"out\" {\n  batch {\n    events = 7\n  }", 1),
		"a user is changed":  strings.Replace(pipeline, `clients = ["near"]`, `clients = ["near", "other"]`, 1),
	} {
		if err := r.reload(t, text); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		known(when)
	}
	err := r.reload(t, strings.ReplaceAll(pipeline, "tls.both", "tls.more")+strings.Replace(tlsBlock("far", "near"), "both", "more", 1))
	if err == nil || !strings.Contains(err.Error(), "far.pem") {
		t.Errorf("a block that is new, and whose file is broken: %v", err)
	}
	known("a reload is refused")
	if err := r.reload(t, "source \"generate\" \"in\" {\n  into = channel.main\n  config {\n    count = 1\n  }\n}\nchannel \"wal\" \"main\" {}\nsink \"discard\" \"out\" {\n  from = channel.main\n}\n"); err != nil {
		t.Fatal(err)
	}
	if s := r.Status().TLS; len(s) != 0 {
		t.Errorf("nobody uses it any more: %+v", s)
	}
}
