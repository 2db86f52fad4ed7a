// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
)

// DialOptions say how to dial. The zero value is ready.
type DialOptions struct {
	TLS     *tls.Config       // of addresses with TLS; nil: the system's roots
	Timeout time.Duration     // of one dial, its handshake included; 0: DefaultDialTimeout
	Within  []address.Address // the grants that cover it, one of which must reach what its name resolves to; none: the address itself
}

// DefaultDialTimeout bounds one dial: two of a resolver's attempts, and a handshake over a slow line.
const DefaultDialTimeout = 15 * time.Second

// Dial makes a dialer of one address. A connection that it answers is a *net.TCPConn, *net.UDPConn, *net.UnixConn or *tls.Conn.
func Dial(a address.Address, o DialOptions) (plugin.Dialer, error) {
	if !a.Local() && (a.Host == "" || a.Port == 0) {
		return nil, fmt.Errorf("address %s: to dial it needs a host and a port", a)
	}
	timeout := cmp.Or(o.Timeout, DefaultDialTimeout)
	dial := DialContext(a, o.Within)
	cfg := o.TLS
	if a.Secure() && cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if a.Secure() && cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = a.Host
	}
	return func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err := dial(ctx, a.Network(), a.Target())
		if err != nil || !a.Secure() {
			return conn, err
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("dial %s: %w", a, err), conn.Close())
		}
		return secure, nil
	}, nil
}

// DialContext makes a function like [net.Dialer.DialContext] that dials the host of a, at IP addresses that one of the grants reaches, and
// nothing else; without grants a is its own. A path of a unix socket is dialled as it is.
func DialContext(a address.Address, within []address.Address) func(ctx context.Context, network, target string) (net.Conn, error) {
	if len(within) == 0 {
		within = []address.Address{a}
	}
	d := net.Dialer{ControlContext: func(_ context.Context, network, target string, _ syscall.RawConn) error {
		if strings.HasPrefix(network, "unix") {
			return nil
		}
		ip, err := netip.ParseAddrPort(target)
		if err != nil {
			return fmt.Errorf("%w: %q is not an IP address: %w", plugin.ErrForbidden, target, err)
		}
		return reaches(within, ip.Addr())
	}}
	return func(ctx context.Context, network, target string) (net.Conn, error) {
		if !strings.HasPrefix(network, "unix") {
			asked, _, err := net.SplitHostPort(target)
			if err != nil {
				return nil, err
			}
			if !strings.EqualFold(asked, a.Host) {
				return nil, fmt.Errorf("dial %s: %w: the grant is for %s", target, plugin.ErrForbidden, a.Host)
			}
		}
		return d.DialContext(ctx, network, target)
	}
}

// reaches says why none of the grants reaches ip, or nil.
func reaches(grants []address.Address, ip netip.Addr) error {
	var why []string
	for _, g := range grants {
		err := g.Reaches(ip)
		if err == nil {
			return nil
		}
		why = append(why, err.Error())
	}
	return fmt.Errorf("%w: %s", plugin.ErrForbidden, strings.Join(why, "; "))
}
