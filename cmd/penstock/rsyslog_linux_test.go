// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
)

// rsyslogWaits is how long what must come may take: rsyslog tries again after a second, and a machine may be slow.
const rsyslogWaits = time.Minute

const rsyslogPipeline = `
agent "rsyslog" {
  data_dir = "DIR/data"
}

tls "front" {
  cert = "DIR/agent.pem"
  key  = "DIR/agent.key"
  ca   = "DIR/ca.pem"
}

source "syslog" "in" {
  into = channel.main
  tls  = tls.front
  config { listen = "tls://127.0.0.1:PORT" }
}

channel "wal" "main" {}

sink "file" "out" {
  from = channel.main
  config {
    path   = "DIR/out.log"
    format = "json"
  }
}
`

// rsyslogConfig has rsyslog take messages at two sockets, a stream and one as /dev/log, and forward them as its manual says: RFC 5424, each with
// its length before it, over TLS with certificates on both sides, and again for as long as nobody takes them.
const rsyslogConfig = `
global(
  workDirectory="DIR"
  maxMessageSize="64k"
  defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="DIR/ca.pem"
  defaultNetstreamDriverCertFile="DIR/sender.pem"
  defaultNetstreamDriverKeyFile="DIR/sender.key"
)
module(load="imptcp")
module(load="imuxsock" SysSock.Use="off")
input(type="imptcp" path="DIR/stream" unlink="on")
input(type="imuxsock" Socket="DIR/log")
action(
  type="omfwd" protocol="tcp" target="127.0.0.1" port="PORT"
  TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format"
  StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="agent.test"
  action.resumeRetryCount="-1" action.resumeInterval="1"
  queue.type="LinkedList" queue.size="500000"
)
`

// certify makes a CA in dir, and a key with a certificate of it for each name.
func certify(t *testing.T, dir string, names ...string) {
	t.Helper()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name + ".test"}, DNSNames: []string{name + ".test"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := template(1, "ca")
	ca.IsCA, ca.KeyUsage, ca.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	write("ca.pem", "CERTIFICATE", der)
	for i, name := range names {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		der, err := x509.CreateCertificate(rand.Reader, template(int64(i)+2, name), ca, &key.PublicKey, caKey)
		must(err)
		write(name+".pem", "CERTIFICATE", der)
		der, err = x509.MarshalECPrivateKey(key)
		must(err)
		write(name+".key", "EC PRIVATE KEY", der)
	}
}

// relay is an agent that takes syslog messages, and rsyslog before it.
type relay struct {
	t      *testing.T
	dir    string
	agent  *exec.Cmd
	said   bytes.Buffer // by the agent, which has ended when it is read
	stream net.Conn     // to rsyslog
	sent   int
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	_, noDaemon := exec.LookPath("rsyslogd")
	_, noLogger := exec.LookPath("logger")
	drivers, _ := filepath.Glob("/usr/lib*/*/rsyslog/lmnsd_ossl.so") // the pattern is one
	if noDaemon != nil || noLogger != nil || len(drivers) == 0 {
		const hint = "it needs rsyslogd with its driver for OpenSSL, and logger: apt install rsyslog rsyslog-openssl bsdutils"
		if os.Getenv("CI") == "true" {
			t.Fatal(hint)
		}
		t.Skip("NOT TESTED: " + hint)
	}
	r := &relay{t: t, dir: t.TempDir()}
	certify(t, r.dir, "agent", "sender")
	port := fmt.Sprint(addresstest.FreePort(t))
	for name, text := range map[string]string{"pipeline.hcl": rsyslogPipeline, "rsyslog.conf": rsyslogConfig} {
		text = strings.NewReplacer("DIR", r.dir, "PORT", port).Replace(text)
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// run starts a program that ends with the test, if it does not before.
func (r *relay) run(out io.Writer, name string, args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

func (r *relay) startAgent() {
	r.t.Helper()
	r.agent = r.run(&r.said, "penstock", "run", filepath.Join(r.dir, "pipeline.hcl"), "--http", "off", "--log-level", "warn")
	r.until("the agent runs", func() bool { return r.source().State == admin.Running })
}

func (r *relay) startRsyslog() {
	r.t.Helper()
	var said bytes.Buffer
	cmd := r.run(&said, "rsyslogd", "-n", "-f", filepath.Join(r.dir, "rsyslog.conf"), "-i", filepath.Join(r.dir, "rsyslog.pid"))
	r.until("rsyslog listens", func() (ok bool) {
		var err error
		r.stream, err = net.Dial("unix", filepath.Join(r.dir, "stream"))
		return err == nil
	})
	r.t.Cleanup(func() {
		_ = r.stream.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if r.t.Failed() {
			r.t.Logf("rsyslog said:\n%s", &said)
		}
	})
}

func (r *relay) source() admin.Component {
	s, err := admin.Ask(r.t.Context(), filepath.Join(r.dir, "data"))
	if err != nil {
		return admin.Component{}
	}
	for _, c := range s.Components {
		if c.Address == "source.in" {
			return c
		}
	}
	return admin.Component{}
}

func (r *relay) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(rsyslogWaits); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never: %s; the source: %+v", what, r.source())
		}
	}
}

// text is that of the message i: short and long ones, and not only ASCII.
func text(i int) string {
	filler := i * 37 % 300
	if i%500 == 0 {
		filler = 7000
	}
	return fmt.Sprintf("message %d für %s", i, strings.Repeat("x", filler))
}

// send gives rsyslog so many more messages.
func (r *relay) send(n int) {
	r.t.Helper()
	for range n {
		_, err := fmt.Fprintf(r.stream, "<134>1 2026-11-26T12:00:00.123456Z web-1 shop 42 ORDER [order@32473 n=\"%d\"] %s\n", r.sent, text(r.sent))
		if err != nil {
			r.t.Fatal(err)
		}
		r.sent++
	}
}

// received is one line of what came out.
type received struct {
	Attributes map[string]string `json:"attributes"`
	Body       string            `json:"body"`
}

// out are the numbers of the messages that came out, in their order. It looks that each is whole. What logger sent is left out, and counted.
func (r *relay) out() (numbers []int, logged int) {
	r.t.Helper()
	all, err := os.ReadFile(filepath.Join(r.dir, "out.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range bytes.Lines(all) {
		var got received
		if err := json.Unmarshal(line, &got); err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		if got.Attributes["syslog.app"] == "by-logger" && strings.TrimSpace(got.Body) == "from logger" {
			logged++
			continue
		}
		var i int
		if _, err := fmt.Sscanf(got.Body, "message %d ", &i); err != nil || got.Body != text(i) {
			r.t.Fatalf("not what was sent: %q", line)
		}
		for name, want := range map[string]string{
			"syslog.host": "web-1", "syslog.app": "shop", "syslog.pid": "42", "syslog.id": "ORDER", "syslog.data": fmt.Sprintf("[order@32473 n=\"%d\"]", i),
		} {
			if got.Attributes[name] != want {
				r.t.Fatalf("%s is %q, want %q: %q", name, got.Attributes[name], want, line)
			}
		}
		numbers = append(numbers, i)
	}
	return numbers, logged
}

// settled waits until the source has stored so many since it started, and all of them have been written.
func (r *relay) settled(events int) {
	r.t.Helper()
	r.until(fmt.Sprintf("%d events are stored", events), func() bool { return r.source().Events >= uint64(events) })
	r.until("all is written", func() bool {
		s, err := admin.Ask(r.t.Context(), filepath.Join(r.dir, "data"))
		return err == nil && s.Channels[0].Events == 0
	})
}

// TestRsyslogForwardsOverTLS has a real rsyslog send to the source, and the agent killed in the middle of it. Syslog has no answers, so rsyslog
// takes for sent what its kernel has taken. What it may lose, and what not, is what is looked at:
//   - As long as nobody is killed, each message comes out once, in order, to the byte.
//   - What the agent had stored before it was killed is there, and all that rsyslog sends when it has connected again.
//   - What is lost was on its way at that moment: one stretch of messages, between these two.
func TestRsyslogForwardsOverTLS(t *testing.T) {
	r := newRelay(t)
	r.startAgent()
	r.startRsyslog()
	const calm = 5000
	r.send(calm)
	if out, err := exec.Command("logger", "--socket", filepath.Join(r.dir, "log"), "--tag", "by-logger", "from logger").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.settled(calm + 1)
	before, logged := r.out()
	for i, n := range before {
		if n != i {
			t.Fatalf("message %d came out as the %dth of %d", n, i, len(before))
		}
	}
	if len(before) != calm || logged != 1 {
		t.Fatalf("%d messages and %d of logger came out, of %d and 1", len(before), logged, calm)
	}

	r.send(1000)
	r.until("some of it is stored", func() bool { r.send(50); return r.source().Events > calm+1000 })
	stored := int(r.source().Events) - 1 // that of logger
	r.send(2000)
	_ = r.agent.Process.Signal(syscall.SIGKILL)
	_ = r.agent.Wait()
	r.send(2000)
	time.Sleep(time.Second)
	r.send(2000)
	r.startAgent()
	r.until("rsyslog connects again", func() bool { return r.source().Events > 0 })
	again := r.sent
	r.send(calm)
	last := fmt.Sprintf("message %d ", r.sent-1)
	r.until("the last message is written", func() bool {
		all, err := os.ReadFile(filepath.Join(r.dir, "out.log"))
		return err == nil && bytes.Contains(all, []byte(last))
	})
	if err := r.agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.agent.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &r.said)
	}
	r.compare(stored, again)
}

// compare looks that only what was sent after so many were stored, and before rsyslog connected again, is lost or repeated.
func (r *relay) compare(stored, again int) {
	r.t.Helper()
	numbers, _ := r.out()
	count, latest := make([]int, r.sent), 0
	for _, n := range numbers {
		if n >= len(count) {
			r.t.Fatalf("message %d was never sent", n)
		}
		if count[n]++; count[n] == 1 && n < latest {
			r.t.Errorf("message %d came out for the first time after %d", n, latest)
		}
		latest = max(latest, n)
	}
	var lost, repeated []int
	for n, times := range count {
		switch {
		case times == 0:
			lost = append(lost, n)
		case times > 1:
			repeated = append(repeated, n)
		}
	}
	r.t.Logf("%d messages sent, %d of them stored before the kill; lost %d, repeated %d", r.sent, stored, len(lost), len(repeated))
	if len(lost) > 0 {
		first, end := lost[0], lost[len(lost)-1]
		if first < stored || end >= again || end-first+1 != len(lost) {
			r.t.Errorf("lost are %d messages from %d to %d, of which those below %d were stored, and those from %d on sent later", len(lost), first, end, stored, again)
		}
	}
	for _, n := range repeated {
		if n >= again {
			r.t.Errorf("message %d came out %d times, and was sent after all was well again", n, count[n])
		}
	}
}
