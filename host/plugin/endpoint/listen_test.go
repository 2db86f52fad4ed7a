// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/spec/abi"
)

func listen(t *testing.T, at string, o ListenOptions) *Listener {
	t.Helper()
	a, err := address.Parse(abi.NeedListen, at)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// dial connects to a listener as anybody would.
func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(l.Grant().Addr.Network(), l.Grant().Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// take is what an instance does.
func take(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	select {
	case c := <-l.Grant().Conns:
		t.Cleanup(func() { _ = c.Close() })
		return c
	case <-time.After(5 * time.Second):
		t.Fatal("no connection came")
		return nil
	}
}

// ends says whether the other end closes the connection.
func ends(t *testing.T, c net.Conn) bool {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !os.IsTimeout(err)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

func TestConnectionsAreHandedOnAndCounted(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{})
	peer := dial(t, l)
	in := take(t, l)
	if _, err := io.WriteString(peer, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(in, b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	dial(t, l) // nobody takes it
	if n := l.Counts(); n.Open < 1 || n.Accepted < 1 {
		t.Errorf("counts %+v", n)
	}
	if err := errors.Join(in.Close(), in.Close(), l.Close(), l.Close()); err == nil {
		t.Error("the second close of a connection answers nothing")
	}
	if n := l.Counts(); n.Open != 0 {
		t.Errorf("after all were closed: %+v", n)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{Connections: 4, PerPeer: 3})
	var taken []net.Conn
	for range 3 {
		dial(t, l)
		taken = append(taken, take(t, l))
	}
	if !ends(t, dial(t, l)) {
		t.Error("one address may have more than its part")
	}
	_ = taken[0].Close()
	dial(t, l)
	take(t, l)
	if n := l.Counts(); n.Accepted != 4 || n.Refused != 1 || n.Open != 3 {
		t.Errorf("counts %+v", n)
	}
	full := listen(t, "tcp://127.0.0.1:0", ListenOptions{Connections: 1, PerPeer: 10})
	dial(t, full)
	take(t, full)
	if !ends(t, dial(t, full)) { // the first has not been quiet for long
		t.Error("there is room for more than one")
	}
}

func TestAHandshakeThatDoesNotEndHoldsUpNobody(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "server", "localhost")
	cfg, err := serverTLS(TLSOptions{Cert: dir + "/server.pem", Key: dir + "/server.key"})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "tls://127.0.0.1:0", ListenOptions{TLS: cfg})
	dial(t, l) // says nothing
	bad := dial(t, l)
	_, _ = io.WriteString(bad, "GET / HTTP/1.0\r\n\r\n")
	a := address.Address{Scheme: "tls", Host: "localhost", Port: l.Grant().Addr.(*net.TCPAddr).Port}
	client, err := clientTLS(a.Host, TLSOptions{CA: dir + "/server.pem"})
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := Dial(a, DialOptions{TLS: client})
	if err != nil {
		t.Fatal(err)
	}
	dialled := make(chan error, 1)
	go func() {
		c, err := dialer(t.Context())
		if err == nil {
			_, err = io.WriteString(c, "hello")
			defer c.Close()
		}
		dialled <- err
	}()
	in := take(t, l)
	b := make([]byte, 5)
	if _, err := io.ReadFull(in, b); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := <-dialled; err != nil {
		t.Error(err)
	}
	eventually(t, "what is not TLS is counted", func() bool { return l.Counts().Failed == 1 })
}

func TestCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "server", "localhost")
	certificate(t, dir, "client", "client")
	server, err := serverTLS(TLSOptions{Cert: dir + "/server.pem", Key: dir + "/server.key", CA: dir + "/client.pem"})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, "tls://127.0.0.1:0", ListenOptions{TLS: server})
	try := func(o TLSOptions) error { return tryTLS(t, l, o) }
	both := TLSOptions{CA: dir + "/server.pem", Cert: dir + "/client.pem", Key: dir + "/client.key"}
	if err := try(both); err != nil {
		t.Errorf("both certificates are right: %v", err)
	}
	if err := try(TLSOptions{CA: dir + "/server.pem"}); err == nil {
		t.Error("a client without a certificate gets in")
	}
	wrong := both
	wrong.CA = dir + "/client.pem"
	if err := try(wrong); err == nil {
		t.Error("a server that nobody has signed is believed")
	}
	wrong = both
	wrong.ServerName = "other"
	if err := try(wrong); err == nil || !strings.Contains(err.Error(), "other") {
		t.Errorf("a server of another name is believed: %v", err)
	}
	wrong.SkipVerify = true
	if err := try(wrong); err != nil {
		t.Errorf("not verified: %v", err)
	}
	old, err := os.ReadFile(dir + "/server.pem")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/old.pem", old, 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(recheck + 10*time.Millisecond)
	if err := os.WriteFile(dir+"/server.pem", []byte("half of it is written"), 0o600); err != nil {
		t.Fatal(err)
	}
	stale := both
	stale.CA = dir + "/old.pem"
	if err := try(stale); err != nil {
		t.Errorf("while the file is broken: %v", err)
	}
	certificate(t, dir, "server", "localhost")
	time.Sleep(recheck + 10*time.Millisecond)
	if err := try(both); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
	if err := try(stale); err == nil {
		t.Error("the old certificate is still shown")
	}
}

// tryTLS makes one connection and says what the client and the server think of it.
func tryTLS(t *testing.T, l *Listener, o TLSOptions) error {
	t.Helper()
	a := address.Address{Scheme: "tls", Host: "localhost", Port: l.Grant().Addr.(*net.TCPAddr).Port}
	cfg, err := clientTLS(a.Host, o)
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := Dial(a, DialOptions{TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	over, served := make(chan struct{}), make(chan struct{})
	defer func() { close(over); <-served }()
	go func() {
		defer close(served)
		select {
		case c := <-l.Grant().Conns:
			_, _ = io.WriteString(c, "x")
			_ = c.Close()
		case <-over:
		}
	}()
	c, err := dialer(context.Background())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = c.Read(make([]byte, 1)) // with TLS 1.3 a client learns here what the server thinks of it
	return err
}

func TestTLSFilesAreCheckedAtOnce(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir, "a", "a")
	for want, o := range map[string]TLSOptions{
		"needs cert and key": {},
		"no such file":       {Cert: dir + "/none.pem", Key: dir + "/a.key"},
		"a.key":              {Cert: dir + "/a.key", Key: dir + "/a.key"},
		"min_version":        {Cert: dir + "/a.pem", Key: dir + "/a.key", MinVersion: "1.1"},
		"no certificate":     {Cert: dir + "/a.pem", Key: dir + "/a.key", CA: dir + "/a.key"},
	} {
		if _, err := serverTLS(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if _, err := clientTLS("h", TLSOptions{Cert: dir + "/a.pem"}); err == nil || !strings.Contains(err.Error(), "come together") {
		t.Errorf("a certificate without its key: %v", err)
	}
}

// certificate writes name.pem, which signs itself, and name.key.
func certificate(t *testing.T, dir, name, host string) {
	t.Helper()
	certificateFor(t, dir, name, host, time.Hour)
}

func certificateFor(t *testing.T, dir, name, host string, left time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAUnixSocketIsMadeAndCleanedUp(t *testing.T) {
	dir := t.TempDir()
	path := dir + "/s"
	for _, scheme := range []string{"unix://", "unixgram://"} {
		l := listen(t, scheme+path, ListenOptions{Mode: 0o600})
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", scheme, info.Mode(), err)
		}
		a, _ := address.Parse(abi.NeedListen, scheme+path)
		if _, err := Listen(a, ListenOptions{}); err == nil || !strings.Contains(err.Error(), "listens there") {
			t.Errorf("%s: a second listener: %v", scheme, err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the socket is still there: %v", scheme, err)
		}
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	_ = ln.Close() // as when a process is killed
	l := listen(t, "unix://"+path, ListenOptions{})
	dial(t, l)
	take(t, l)
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a, _ := address.Parse(abi.NeedListen, "unix://"+dir+"/file")
	if _, err := Listen(a, ListenOptions{}); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("where a file is: %v", err)
	}
}

func TestListeningWhereSomebodyElseDoesIsExplained(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{})
	a, _ := address.Parse(abi.NeedListen, l.Grant().Addr.String())
	if _, err := Listen(a, ListenOptions{}); err == nil || !strings.Contains(err.Error(), "listens there") {
		t.Errorf("%v", err)
	}
	a, _ = address.Parse(abi.NeedListen, "tls://127.0.0.1:0")
	if _, err := Listen(a, ListenOptions{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}

// exhausted is a listener of a process that has no files left, for a while.
type exhausted struct {
	net.Listener
	fails int
	stop  chan struct{}
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.fails > 0 {
		e.fails--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	<-e.stop
	return nil, net.ErrClosed
}

func (e *exhausted) Close() error { close(e.stop); return nil }

func TestAnAcceptThatFailsIsTriedAgainLaterAndToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		l := &Listener{
			o: ListenOptions{Log: slog.New(slog.NewTextHandler(&log, nil))}, conns: make(chan net.Conn),
			stream: &exhausted{fails: 20, stop: make(chan struct{})},
		}
		ctx, stop := context.WithCancel(t.Context())
		l.stop = stop
		began := time.Now()
		l.work.Go(func() { l.accept(ctx) })
		for l.failed.Load() < 20 {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took < 10*time.Second || took > 15*time.Second {
			t.Errorf("20 accepts in %v: it does not wait longer each time, up to a second", took)
		}
		if err := l.Close(); err != nil || strings.Count(log.String(), "too many open files") != 1 {
			t.Errorf("%v, log %s", err, &log)
		}
	})
}
