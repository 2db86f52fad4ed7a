// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
)

// DialOptions say how to dial. The zero value is ready.
type DialOptions struct {
	TLS     *tls.Config   // of addresses with TLS; nil: the system's roots
	Timeout time.Duration // of one dial, its handshake included; 0: DefaultDialTimeout
}

// DefaultDialTimeout bounds one dial: two of a resolver's attempts, and a handshake over a slow line.
const DefaultDialTimeout = 15 * time.Second

// Dial makes a dialer of one address. A connection that it answers is a *net.TCPConn, *net.UDPConn, *net.UnixConn or *tls.Conn.
func Dial(a Address, o DialOptions) (plugin.Dialer, error) {
	if a.Path == "" && (a.Host == "" || a.Port == 0) {
		return nil, fmt.Errorf("address %s: to dial it needs a host and a port", a)
	}
	timeout := o.Timeout
	if timeout <= 0 {
		timeout = DefaultDialTimeout
	}
	dial := DialContext(a.Host)
	cfg := o.TLS
	if a.TLS && cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if a.TLS && cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = a.Host
	}
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, a.Network, a.target())
		if err != nil || !a.TLS {
			return conn, err
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("dial %s: %w", a, err), conn.Close())
		}
		return secure, nil
	}, nil
}

// DialContext makes a function like [net.Dialer.DialContext] that reaches what a grant for host reaches, and nothing else: an IP
// address, that address; "localhost", also loopback; any other name, all but loopback, link-local, multicast, unspecified and metadata
// addresses, in all their forms. What it is asked to dial must be of that host. A path of a unix socket is dialled as it is.
func DialContext(host string) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
		if strings.HasPrefix(network, "unix") {
			return nil
		}
		ip, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %q is not an IP address: %w", plugin.ErrForbidden, address, err)
		}
		return reach(host, ip.Addr())
	}}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !strings.HasPrefix(network, "unix") {
			asked, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if !strings.EqualFold(asked, host) {
				return nil, fmt.Errorf("dial %s: %w: the grant is for %s", address, plugin.ErrForbidden, host)
			}
		}
		return d.DialContext(ctx, network, address)
	}
}
