// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/plugins/bundle"
)

// intake is a pipeline whose source takes lines over TCP. PLUGIN and TLS stand for blocks, SCHEME for that of the address.
const intake = `
PLUGIN
source "tcp" "in" {
  into = channel.main
  TLS
  config { listen = "SCHEME://127.0.0.1:ANY" }
}
channel "wal" "main" {
  durability = "os"
}
sink "file" "a" {
  from = channel.main
  config { path = "DIR/a.log" }
}
`

// byFilter is reload i of a source: it has another filter before it. Each fifth breaks, and the source before comes back.
func byFilter(t *testing.T, r rig, pipeline string, i int) {
	t.Helper()
	before := r.started()
	changed := strings.Replace(pipeline, "into = channel.main", fmt.Sprintf("into = channel.main\n  through = [processor.f%d]", i), 1) +
		fmt.Sprintf("processor \"filter\" \"f%d\" {\n  config { matches = \"client\" }\n}\n", i)
	if i%5 == 4 {
		err := r.reload(t, patient+changed+"plugin \"faulty\" {\n  source = \"./faulty.wasm\"\n}\n"+
			"source \"faulty\" \"bad\" {\n  into = channel.main\n  config {\n    count = 10\n    every = 0\n  }\n}\n")
		if back, ok := errors.AsType[*wentBack](err); !ok || back.stuck {
			t.Fatalf("the reload answered %v", err)
		}
		return
	}
	if err := r.reload(t, changed); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before, "source.in")
}

// byModule is reload i of a plugin: its file has another digest.
func byModule(t *testing.T, r rig, _ string, i int) {
	t.Helper()
	before := r.started()
	putModule(t, r.dir, i)
	if _, err := r.Reload(t.Context(), admin.Reload{Why: "a test", Plugin: "tcp"}); err != nil {
		t.Fatal(err)
	}
	r.onlyChanged(t, before, "source.in")
}

// putModule puts version i of the builtin module into a file, as a build does.
func putModule(t *testing.T, dir string, i int) {
	t.Helper()
	code, err := bundle.Module("std")
	if err != nil {
		t.Fatal(err)
	}
	code = append(bytes.Clone(code), 0, 3, 1, 'v', byte(i)) // a custom section of its own
	path := filepath.Join(dir, "own.wasm")
	if err := errors.Join(os.WriteFile(path+"~", code, 0o600), os.Rename(path+"~", path)); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsOutliveReloadsOfATCPSource(t *testing.T) {
	plain := func(at string) (net.Conn, error) { return net.Dial("tcp", at) }
	secure := func(at string) (net.Conn, error) { return tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true}) }
	child := "plugin \"tcp\" {\n  source = \"builtin:std\"\n  runtime = \"subprocess\"\n}"
	swapped := "plugin \"tcp\" {\n  source = \"./own.wasm\"\n  grant {\n    listen \"listen\" { address = \"tcp://127.0.0.1:ANY\" }\n  }\n}"
	for _, c := range []struct {
		name, plugin string
		secure       bool
		reloads      int
		reload       func(t *testing.T, r rig, pipeline string, i int)
	}{
		{"wasm", "", false, 10, byFilter},
		{"wasm tls", "", true, 5, byFilter},
		{"child", child, false, 10, byFilter},
		{"child tls", child, true, 5, byFilter},
		{"hot swap", swapped, false, 3, byModule}, // each compiles a module
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, dial := t.TempDir(), plain
			putModule(t, dir, 100)
			pipeline := strings.ReplaceAll(strings.Replace(intake, "PLUGIN", c.plugin, 1), "ANY", strconv.Itoa(addresstest.FreePort(t)))
			scheme, with := "tcp", ""
			if c.secure {
				scheme, with, dial = "tls", "tls = tls.server", secure
				pipeline += serverTLS(t)
			}
			pipeline = strings.NewReplacer("SCHEME", scheme, "TLS", with).Replace(pipeline)
			r := run(t, dir, pipeline)
			outlive(t, r, dial, c.reloads, func(i int) { c.reload(t, r, pipeline, i) })
		})
	}
}

const (
	// senders are so many, of which every second one sends as fast as it can, though no more between two reloads than burst, so that the disk has room.
	senders = 8
	burst   = 1 << 20
)

// sender writes numbered lines over one connection, in pieces that mostly end within a line.
type sender struct {
	net.Conn
	lines int
	text  []byte // not written yet
	room  atomic.Int64
}

// send writes a piece.
func (s *sender) send(client int) error {
	for len(s.text) < 16<<10 {
		s.text = fmt.Appendf(s.text, "client %d line %d %s\n", client, s.lines, strings.Repeat("x", rand.IntN(200)))
		s.lines++
	}
	n, err := s.Write(s.text[:1+rand.IntN(len(s.text))])
	s.text = append(s.text[:0], s.text[n:]...)
	if s.room.Add(-int64(n)) < 0 || client%2 == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// finish ends the last line, and waits until the other side has read it all, and closes.
func (s *sender) finish() error {
	_, err := s.Write(s.text)
	if err == nil {
		err = s.Conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	if err == nil {
		_, err = io.Copy(io.Discard, s.Conn)
	}
	return err
}

// outlive has senders write all the time, each over one connection, while the source is reloaded again and again.
func outlive(t *testing.T, r rig, dial func(at string) (net.Conn, error), reloads int, reload func(i int)) {
	eventually(t, "it listens", func() bool { return r.component("source.in").State == admin.Running })
	var all [senders]sender
	for i := range all {
		c, err := dial(r.address("source.in"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		all[i].Conn = c
	}
	var seen calls
	stop := clients(t, senders, func(client, _ int) { seen.note(all[client].send(client)) })
	for i := range reloads {
		for client := range all {
			all[client].room.Store(burst)
		}
		reload(i)
	}
	stop()
	total := 0
	for i := range all {
		seen.note(all[i].finish())
		total += all[i].lines
	}
	seen.check(t)
	eventually(t, "all is delivered", func() bool { return int(r.component("sink.a").Events) >= total && r.component("sink.a").Waiting == 0 })
	l := r.component("source.in").Listeners[0]
	t.Logf("%d lines, %d connections, passed on %d times", total, l.Accepted, l.Passed)
	if l.Accepted != senders || l.Passed < uint64(reloads*senders/4) { // an instance that is soon replaced may not have accepted all
		t.Errorf("%d connections were accepted, and passed on %d times", l.Accepted, l.Passed)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	each(t, r, all[:])
}

// each checks that every line is there, once and in its place among those of its sender.
func each(t *testing.T, r rig, all []sender) {
	t.Helper()
	f, err := os.Open(filepath.Join(r.dir, "a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := make([]int, len(all))
	for lines := bufio.NewScanner(f); lines.Scan(); {
		field := strings.Fields(lines.Text())
		if len(field) < 4 {
			t.Fatalf("%q is half a line", lines.Text())
		}
		client, err := strconv.Atoi(field[1])
		if err != nil || client >= len(all) || field[0] != "client" || field[2] != "line" || field[3] != strconv.Itoa(next[client]) {
			t.Fatalf("%q, where the next lines are %v", lines.Text(), next)
		}
		next[client]++
	}
	for i := range all {
		if next[i] != all[i].lines {
			t.Errorf("client %d has sent %d lines, %d are there", i, all[i].lines, next[i])
		}
	}
}

// serverTLS is a tls block with a certificate of its own.
func serverTLS(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf(`
tls "server" {
  cert = %q
  key  = %q
}
`, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
}
