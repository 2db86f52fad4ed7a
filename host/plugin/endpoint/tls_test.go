// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// serial is that of the certificate which a server shows now.
func serial(t *testing.T, server *tls.Config) string {
	t.Helper()
	cfg, err := server.GetConfigForClient(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Certificates[0].Leaf.SerialNumber.String()
}

// fileHarms are what can befall one of the files, and what is said then; harm is nil where it goes away.
var fileHarms = map[string]struct {
	file string
	harm func(old, other []byte) []byte
	want string
}{
	"a certificate is cut off":     {"server.pem", func(old, _ []byte) []byte { return old[:len(old)/2] }, "server.pem is cut off"},
	"the rest of a chain is":       {"server.pem", func(old, other []byte) []byte { return append(old, other[:len(other)/2]...) }, "of 2 parts in PEM form 1 are whole"},
	"a key is":                     {"server.key", func(old, _ []byte) []byte { return old[:len(old)-5] }, "server.key is cut off"},
	"a bundle of authorities is":   {"ca.pem", func(old, other []byte) []byte { return append(old, other[:100]...) }, "ca.pem is cut off"},
	"a certificate is of another":  {"server.pem", func(_, other []byte) []byte { return other }, "private key does not match"}, // or its key is: they are two files
	"a file is empty":              {"server.pem", func(_, _ []byte) []byte { return nil }, "server.pem"},
	"authorities are no PEM":       {"ca.pem", func(_, _ []byte) []byte { return []byte("x") }, "ca.pem holds no certificate"},
	"a file is not there any more": {"server.key", nil, "no such file"},
}

// read is what is in a file, and when it was written.
func read(t *testing.T, name string) ([]byte, time.Time) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return text, info.ModTime()
}

func TestFilesThatCannotBeUsedLeaveTheOldOnesInUseAndAreToldOnce(t *testing.T) {
	for name, c := range fileHarms {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"server", "other", "ca"} {
				certificate(t, dir, name, "localhost")
			}
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				f, err := OpenTLS(TLSOptions{Cert: dir + "/server.pem", Key: dir + "/server.key", CA: dir + "/ca.pem", Log: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				server, err := f.Server()
				if err != nil {
					t.Fatal(err)
				}
				was := serial(t, server)
				file := dir + "/" + c.file
				before, written := read(t, file)
				other, _ := read(t, dir+"/other.pem")
				if err = os.Remove(file); err == nil && c.harm != nil {
					err = os.WriteFile(file, c.harm(bytes.Clone(before), other), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(recheck)
				f.Look()
				if s := f.State(); s.Broken != "" || log.Len() > 0 {
					t.Errorf("at once it is said: %q, %s", s.Broken, &log)
				}
				for range 5 {
					time.Sleep(settle)
					f.Look()
				}
				if s := f.State(); !strings.Contains(s.Broken, c.want) || !strings.Contains(s.Broken, dir) {
					t.Errorf("it is said: %q, want %q", s.Broken, c.want)
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("it is said %d times:\n%s", n, &log)
				}
				if now := serial(t, server); now != was {
					t.Errorf("certificate %s is in use, not %s", now, was)
				}
				if c.harm == nil { // it was elsewhere for a while
					err = errors.Join(os.WriteFile(file, before, 0o600), os.Chtimes(file, time.Time{}, written))
				} else {
					err = os.WriteFile(file, append(before, '\n'), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(recheck)
				f.Look()
				if s := f.State(); s.Broken != "" || !strings.Contains(log.String(), "read the files of TLS again") {
					t.Errorf("mended, it is said: %q\n%s", s.Broken, &log)
				}
			})
		})
	}
}

func TestThatFilesEndIsKnown(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "a", "a")
	certificate(t, dir, "b", "b")
	certificateFor(t, dir, "short", "b", time.Minute)
	var bundle []byte
	for _, name := range []string{"short", "b", "short"} {
		text, err := os.ReadFile(dir + "/" + name + ".pem")
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, text...)
	}
	if err := os.WriteFile(dir+"/b.pem", bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenTLS(TLSOptions{Cert: dir + "/a.pem", Key: dir + "/a.key", CA: dir + "/b.pem"})
	if err != nil {
		t.Fatal(err)
	}
	s := f.State()
	for what, v := range map[string]Validity{"cert": s.Cert, "ca": s.CA} {
		if left := time.Until(v.Until); left < 50*time.Minute || left > time.Hour || v.Until.Sub(v.From).Round(time.Minute) != 2*time.Hour {
			t.Errorf("%s: %+v", what, v)
		}
	}
	if f, err = OpenTLS(TLSOptions{}); err != nil || f.State() != (TLSState{}) {
		t.Errorf("without files: %+v, %v", f.State(), err)
	}
}

func TestWhoIsRefusedInAHandshakeIsToldApartFromWhoIsGone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"server", "client", "stranger"} {
		certificate(t, dir, name, "localhost")
	}
	cfg, err := serverTLS(TLSOptions{Cert: dir + "/server.pem", Key: dir + "/server.key", CA: dir + "/client.pem", MinVersion: "1.3"})
	if err != nil {
		t.Fatal(err)
	}
	shake := func(change func(*tls.Config)) func(*testing.T, *net.TCPConn) {
		return func(t *testing.T, c *net.TCPConn) {
			client, err := clientTLS("localhost", TLSOptions{CA: dir + "/server.pem"})
			if err != nil {
				t.Fatal(err)
			}
			change(client)
			secure := tls.Client(c, client)
			if err = secure.Handshake(); err == nil {
				_, err = secure.Read(make([]byte, 1))
			}
			if err == nil {
				t.Error("it gets in")
			}
		}
	}
	hello := []byte{22, 3, 1, 2, 0, 1, 0} // the beginning of one
	for name, c := range map[string]struct {
		do   func(*testing.T, *net.TCPConn)
		want string // of the error; "": nobody is refused
	}{
		"no certificate": {shake(func(*tls.Config) {}), "certificate"},
		"a stranger's": {shake(func(c *tls.Config) {
			pair, err := tls.LoadX509KeyPair(dir+"/stranger.pem", dir+"/stranger.key")
			if err != nil {
				t.Fatal(err)
			}
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}), "unknown authority"},
		"it does not believe the server": {shake(func(c *tls.Config) { c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") } }), "remote error"},
		"an old version":                 {shake(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "version"},
		"no TLS":                         {func(t *testing.T, c *net.TCPConn) { _, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") }, "does not look like a TLS"},
		"reset": {func(t *testing.T, c *net.TCPConn) {
			_, _ = c.Write(hello)
			_ = c.SetLinger(0)
			_ = c.Close()
		}, ""},
		"a probe hangs up":   {func(t *testing.T, c *net.TCPConn) { _ = c.Close() }, ""},
		"half a hello":       {func(t *testing.T, c *net.TCPConn) { _, _ = c.Write(hello); _ = c.CloseWrite() }, ""},
		"it says no more":    {func(t *testing.T, c *net.TCPConn) { _, _ = c.Write(hello) }, ""},
		"it never says much": {func(t *testing.T, c *net.TCPConn) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var refused []error
			l := listen(t, "tls://127.0.0.1:0", ListenOptions{TLS: cfg, Handshake: time.Second, Refused: func(_ net.Addr, err error) {
				mu.Lock()
				defer mu.Unlock()
				refused = append(refused, err)
			}})
			c.do(t, dial(t, l).(*net.TCPConn))
			eventually(t, "it is over", func() bool { n := l.Counts(); return n.Failed+n.Lost == 1 })
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			n := l.Counts()
			switch {
			case c.want == "" && (n.Lost != 1 || len(refused) > 0):
				t.Errorf("%d are lost, and refused are %v", n.Lost, refused)
			case c.want != "" && (n.Failed != 1 || len(refused) != 1 || !strings.Contains(refused[0].Error(), c.want)):
				t.Errorf("%d are refused: %v, want one with %q", n.Failed, refused, c.want)
			}
		})
	}
}

// serverTLS is what a server has of files.
func serverTLS(o TLSOptions) (*tls.Config, error) {
	f, err := OpenTLS(o)
	if err != nil {
		return nil, err
	}
	return f.Server()
}

// clientTLS is what a client of host has of them.
func clientTLS(host string, o TLSOptions) (*tls.Config, error) {
	f, err := OpenTLS(o)
	if err != nil {
		return nil, err
	}
	return f.Client(host), nil
}
