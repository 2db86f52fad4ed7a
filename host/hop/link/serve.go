// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"

	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/spec/hoppb"
)

const (
	// callsPerConn bounds the calls on one connection: an agent has a connection for each of its sinks.
	callsPerConn = 64
	// ioBuffer is how much is read from, or written to, a connection at a time: a record of TLS. A thousand upstreams have one each, or two.
	ioBuffer = 16 << 10
)

// localIdentity is who comes without TLS.
const localIdentity = "local"

// newServer makes a server for connections whose handshake is over. Windows are left to gRPC, which opens them as far as the link needs: with room for the largest
// message in each, every upstream of a channel that is full took 17 MiB.
func newServer(h hoppb.HopServer) *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(accepted{}), grpc.MaxConcurrentStreams(callsPerConn),
		grpc.MaxRecvMsgSize(hoppb.MaxMessage), grpc.MaxSendMsgSize(hoppb.MaxMessage),
		grpc.WriteBufferSize(ioBuffer), grpc.ReadBufferSize(ioBuffer), grpc.SharedWriteBuffer(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: hoppb.PingAfter, Timeout: hoppb.PingWithin}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: hoppb.PingEvery, PermitWithoutStream: true}),
	)
	hoppb.RegisterHopServer(s, h)
	return s
}

// identityOf is who is at the other end of a call; "": somebody whose certificate says no name, or who has none.
func identityOf(ctx context.Context) (identity, address string) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", ""
	}
	who, _ := p.AuthInfo.(whom)
	return who.identity, p.Addr.String()
}

// whom is who a connection is with.
type whom struct {
	credentials.CommonAuthInfo
	identity string
}

// AuthType implements [credentials.AuthInfo].
func (whom) AuthType() string { return "tls" }

// accepted takes connections whose handshake, if there is one, is over.
type accepted struct{}

var _ credentials.TransportCredentials = accepted{}

func (accepted) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	who := whom{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, localIdentity}
	under := c
	if g, ok := c.(*guest); ok {
		under = g.Conn
	}
	if secure, ok := under.(*tls.Conn); ok {
		who.identity = ""
		if certs := secure.ConnectionState().PeerCertificates; len(certs) > 0 {
			who.identity = hop.Identity(certs[0])
		}
	}
	return c, who, nil
}

func (accepted) ClientHandshake(_ context.Context, _ string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c, whom{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (accepted) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (accepted) Clone() credentials.TransportCredentials { return accepted{} }

func (accepted) OverrideServerName(string) error { return nil }

// door gives a server the connections that come to a granted address, as long as it is open. The address stays open behind it.
type door struct {
	conns <-chan net.Conn
	addr  net.Addr
	shut  chan struct{} // closed by Close

	mu   sync.Mutex
	over bool
	open map[*guest]struct{}
}

var _ net.Listener = (*door)(nil)

var errShut = errors.New("the instance is closed")

// guest is a connection that came through a door.
type guest struct {
	net.Conn
	d *door
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.d.mu.Lock()
	delete(g.d.open, g)
	g.d.mu.Unlock()
	return g.Conn.Close()
}

func newDoor(conns <-chan net.Conn, addr net.Addr) *door {
	return &door{conns: conns, addr: addr, shut: make(chan struct{}), open: map[*guest]struct{}{}}
}

// Accept implements [net.Listener].
func (d *door) Accept() (net.Conn, error) {
	select {
	case <-d.shut:
		return nil, errShut
	default:
	}
	select {
	case c := <-d.conns:
		g := &guest{c, d}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open[g] = struct{}{}
		return g, nil
	case <-d.shut:
		return nil, errShut
	}
}

// Close lets nobody in any more.
func (d *door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.over {
		d.over = true
		close(d.shut)
	}
	return nil
}

// hangUp ends the connections that are there, also those that have said nothing.
func (d *door) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for g := range d.open {
		_ = g.Conn.Close()
	}
}

// Addr implements [net.Listener].
func (d *door) Addr() net.Addr { return d.addr }
