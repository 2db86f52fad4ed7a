// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Without it a link that falls silent is noticed when a question has no answer, and once it works again only when TCP asks.
func TestTheSystemEndsAConnectionThatIsNotAcknowledged(t *testing.T) {
	dir := t.TempDir()
	authority, signer := pair(t, dir, "ca", nil, nil)
	pair(t, dir, "server", authority, signer)
	pair(t, dir, "app", authority, signer)
	file := func(name string) string { return filepath.Join(dir, name) }
	cert, err := tls.LoadX509KeyPair(file("server.pem"), file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	r := listen(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert})))
	open(t, Config{Addresses: []string{"tls://" + r.at}, Cert: file("app.pem"), Key: file("app.key"), CA: file("ca.pem")})
	_, port, err := net.SplitHostPort(r.at)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, one := range fds {
		fd, err := strconv.Atoi(one.Name())
		if err != nil {
			t.Fatal(err)
		}
		peer, err := unix.Getpeername(fd)
		if at, ok := peer.(*unix.SockaddrInet4); err != nil || !ok || strconv.Itoa(at.Port) != port {
			continue
		}
		found++
		if ms, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT); err != nil || int64(ms) != askWithin.Milliseconds() {
			t.Errorf("it is ended after %d ms, error %v", ms, err)
		}
	}
	if found != 1 {
		t.Errorf("%d connections lead there", found)
	}
}
