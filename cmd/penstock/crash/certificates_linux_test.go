// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/cmd/penstock/crash/proxy"
	"github.com/penstock-io/penstock/host/admin"
)

var certRounds = flag.Int("certrounds", 2, "how often the certificates of two agents, and their authorities, are replaced")

// authority signs certificates. Each of the test is valid some time longer than the one before, so that status tells which is in use.
type authority struct {
	t     *testing.T
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	text  []byte // in PEM form
	until time.Time
}

func newAuthority(t *testing.T, name string, until time.Time) *authority {
	t.Helper()
	a := &authority{t: t, until: until}
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(until.Unix()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.text, a.key = a.sign(a.cert, nil)
	return a
}

// sign makes a certificate and its key; without a signer it signs itself.
func (a *authority) sign(of *x509.Certificate, by *authority) (cert []byte, key *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, signer := of, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(crand.Reader, of, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// issue makes a certificate for an agent, and its key, in PEM form.
func (a *authority) issue(name string) (cert, key []byte) {
	a.t.Helper()
	cert, secret := a.sign(&x509.Certificate{SerialNumber: big.NewInt(a.until.Unix()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: a.until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a)
	der, err := x509.MarshalECPrivateKey(secret)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// side is one of two agents, with the authority that has signed its certificate, which the other trusts.
type side struct {
	*rig
	name string
	by   *authority
	next *authority // of the other side, when it is about to have another
}

// until asks the agent itself, since it does so often.
func (s *side) until(what string, done func(admin.Status) bool) {
	s.t.Helper()
	const patience = 3 * time.Minute // of a busy machine
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if st, err := admin.Ask(s.t.Context(), s.path("data")); err == nil && len(st.Channels) > 0 && len(st.TLS) == 1 && done(st) {
			return
		}
	}
	s.t.Fatalf("it never came to pass that %s\n%s\n%s", what, s.state(), &s.said)
}

// files of a side: its own, and what the other trusts it by.
func (s *side) own() string   { return s.name + ".pem" }
func (s *side) trust() string { return s.name + "-ca.pem" }

// put writes a file, in place or by a rename, as a program may.
func (s *side) put(dir *rig, name string, text []byte) {
	s.t.Helper()
	file := dir.path(name)
	var err error
	if dir.rng.IntN(2) == 0 {
		err = os.WriteFile(file, text, 0o600)
	} else {
		err = errors.Join(os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// begin gives the sides certificates before their agents run.
func begin(dir *rig, until time.Time, sides ...*side) {
	for _, s := range sides {
		s.by = newAuthority(s.t, s.name+" authority", until)
		cert, key := s.by.issue(s.name)
		s.put(dir, s.own(), cert)
		s.put(dir, s.name+".key", key)
		s.put(dir, s.trust(), s.by.text)
	}
}

// renew gives each of two sides a certificate of a new authority, which the other trusts before, beside the old one, and alone afterwards.
func renew(dir *rig, until time.Time, sides [2]*side) {
	for i, s := range sides {
		next := newAuthority(s.t, s.name+" authority", until)
		s.put(dir, s.trust(), append(slices.Clone(s.by.text), next.text...))
		sides[1-i].next = next // whom it has to trust
	}
	for _, s := range sides {
		s.until(s.name+" trusts both authorities", func(st admin.Status) bool { return st.TLS[0].CAUntil.Equal(until) })
	}
	for i, s := range sides {
		s.by = sides[1-i].next
		cert, key := s.by.issue(s.name)
		s.put(dir, s.name+".key", key)
		time.Sleep(time.Duration(dir.rng.IntN(300)) * time.Millisecond) // the two do not fit meanwhile
		s.put(dir, s.own(), cert)
	}
	for _, s := range sides {
		s.until(s.name+" has its new certificate", func(st admin.Status) bool { return st.TLS[0].CertUntil.Equal(until) })
		s.put(dir, s.trust(), s.by.text)
	}
}

// newSides are the two agents of a hop whose certificates have authorities of their own, and a link between.
func newSides(t *testing.T) (near, far *side, link *proxy.Proxy, direct string) {
	t.Helper()
	n, f := newHop(t)
	near, far = &side{rig: n, name: "near"}, &side{rig: f, name: "far"}
	for agent, trusts := range map[*side]*side{near: far, far: near} {
		text, err := os.ReadFile(agent.cfg)
		if err == nil {
			err = os.WriteFile(agent.cfg, bytes.Replace(text, []byte("/"+trusts.own()+`"`), []byte("/"+trusts.trust()+`"`), 1), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(near.cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, direct, _ = strings.Cut(string(text), `address = "tls://`)
	direct, _, _ = strings.Cut(direct, `"`)
	return near, far, linked(t, n, f), direct
}

// shown shakes hands with an agent, as one with these files, and returns the number of the certificate that it shows.
func shown(address, cert, key, ca string) (serial int64, err error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(ca)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		return 0, fmt.Errorf("read %s: %w", ca, err)
	}
	c, err := tls.Dial("tcp", address, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, NextProtos: []string{"h2"}})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	serial = c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = c.Read(make([]byte, 1)) // here a client learns whether it is let in: a server of HTTP/2 speaks at once
	return serial, err
}

// load writes lines, and cuts the link now and then, so that there are new handshakes all the time, until it is told to stop.
type load struct {
	lines int
	stop  chan struct{} // closed by whoever has enough
	work  sync.WaitGroup
}

func under(near *side, link *proxy.Proxy) *load {
	l := &load{stop: make(chan struct{})}
	log, err := os.OpenFile(near.path("logs", "app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		near.t.Fatal(err)
	}
	l.work.Go(func() {
		defer log.Close()
		for turn := 1; ; turn++ {
			for range 50 {
				fmt.Fprintf(log, "line %d\n", l.lines)
				l.lines++
			}
			if turn%4 == 0 {
				cut(link, time.Duration(turn%12)*200*time.Microsecond)
			}
			select {
			case <-l.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	return l
}

// cut cuts the link, and once more so long after the next connection has come: in the middle of its handshake, as often as not.
func cut(link *proxy.Proxy, after time.Duration) {
	taken := link.Taken()
	for range 2 {
		link.Set(proxy.Fault{Cut: true})
		link.Set(proxy.Fault{})
		for range 200 {
			if link.Taken() > taken {
				break
			}
			time.Sleep(500 * time.Microsecond)
		}
		time.Sleep(after)
	}
}

// end stops it, and returns how many lines there are.
func (l *load) end() int {
	close(l.stop)
	l.work.Wait()
	return l.lines
}

// refusals are how many handshakes an agent has refused, or has been refused in.
func refusals(s admin.Status) uint64 {
	in := component(s, "source.in")
	return in.Denied["hop.handshake"] + in.Listeners[0].Failed
}

// TestCertificatesAndAuthoritiesReplacedUnderLoad has the files of both agents replaced again and again while lines flow and the link is cut: each line arrives
// once, nobody is refused in a handshake, and in the end the new certificates hold and the old do not. Files that are broken then leave those in use.
func TestCertificatesAndAuthoritiesReplacedUnderLoad(t *testing.T) {
	near, far, link, direct := newSides(t)
	dir, begun := near.rig, time.Now().Truncate(time.Second)
	until := func(round int) time.Time { return begun.AddDate(0, 2, round).UTC() } // far enough that nobody is warned of it
	begin(dir, until(0), near, far)
	for file, copied := range map[string]string{"near.pem": "old.pem", "near.key": "old.key"} {
		text, err := os.ReadFile(dir.path(file))
		if err == nil {
			err = os.WriteFile(dir.path(copied), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	near.said.all, far.said.all = true, true
	up, from := far.start(), near.start()
	l := under(near, link)
	ended := sync.OnceValue(l.end)
	defer ended()
	far.until("lines arrive", func(s admin.Status) bool { return component(s, "sink.out").Events > 0 })
	for round := 1; round <= *certRounds; round++ {
		renew(dir, until(round), [2]*side{near, far})
	}
	taken := link.Taken()

	// A writer that has died in the middle.
	cert, err := os.ReadFile(dir.path("far.pem"))
	if err == nil {
		err = os.WriteFile(dir.path("far.pem"), cert[:len(cert)/2], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	far.until("it says that a file is broken", func(s admin.Status) bool { return strings.Contains(s.TLS[0].Broken, "far.pem is cut off") })
	near.until("connections are made meanwhile", func(admin.Status) bool { return link.Taken() > taken+3 })
	lines := ended()
	near.until("all is sent", func(s admin.Status) bool {
		return component(s, "source.app").Events == uint64(lines) && component(s, "sink.out").Waiting == 0
	})
	var refused uint64
	far.until("all is delivered", func(s admin.Status) bool { refused = refusals(s); return component(s, "sink.out").Waiting == 0 })
	if refused > 0 {
		t.Errorf("%d handshakes were refused:\n%s", refused/2, strings.Join(far.said.with("see its certificate"), ""))
	}
	serial, err := shown(direct, dir.path("near.pem"), dir.path("near.key"), dir.path("far-ca.pem"))
	if err != nil || serial != until(*certRounds).Unix() {
		t.Errorf("certificate %d is in use, not %d; %v", serial, until(*certRounds).Unix(), err)
	}
	if _, err = shown(direct, dir.path("old.pem"), dir.path("old.key"), dir.path("far-ca.pem")); err == nil {
		t.Error("a certificate of an authority that is not trusted any more is let in")
	}
	var torn uint64 // handshakes that were cut off, and are nobody's fault
	far.until("that one is counted", func(s admin.Status) bool {
		torn = component(s, "source.in").Listeners[0].Lost
		return refusals(s) == refused+2
	})
	for _, once := range []string{"cannot be used as they are", "see its certificate"} {
		if said := far.said.with(once); len(said) != 1 {
			t.Errorf("the receiver says %d times: %s\n%s", len(said), once, strings.Join(said, ""))
		}
	}
	if said := near.said.with("held: "); len(said) > 0 {
		t.Errorf("the sender was held:\n%s", strings.Join(said, ""))
	}
	if err := os.WriteFile(dir.path("far.pem"), cert, 0o600); err != nil {
		t.Fatal(err)
	}
	far.until("the file is whole again", func(s admin.Status) bool { return s.TLS[0].Broken == "" })
	near.terminate(from, 0)
	far.terminate(up, 0)
	near.came(lines)
	t.Logf("%d lines over %d connections, %d of them torn in their handshake, while everything was replaced %d times", lines, link.Taken(), torn, *certRounds)
}
