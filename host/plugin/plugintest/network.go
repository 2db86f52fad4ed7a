// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
)

// Handle is a way to the outside that a plugin gets. Whatever address the user has in mind: here the other end is on the loopback
// interface, at a port of its own, and without TLS, which is the host's.
type Handle struct {
	Kind      string // abi.NeedDial, NeedListen, NeedServe or NeedHTTP
	Name      string
	Datagrams bool   // of NeedDial and NeedListen
	Path      string // of NeedHTTP: what the URL has after its host
}

// network is what is at the other end of a plugin's handles, during one check.
type network struct {
	servers map[string]*destination
	opened  bool
	grants  plugin.Grants
	at      map[string]net.Addr // of what the plugin listens on
	closers []func() error
}

func newNetwork(servers map[string]Server) *network {
	n := &network{servers: map[string]*destination{}, at: map[string]net.Addr{}}
	for name, s := range servers {
		n.servers[name] = &destination{Server: s}
	}
	return n
}

// open opens the handles the first time, and adds them to what is granted.
func (n *network) open(handles []Handle, g *plugin.Grants) error {
	if len(handles) == 0 {
		return nil
	}
	if !n.opened {
		n.opened = true
		n.grants = plugin.Grants{Dial: map[string]plugin.Dialer{}, Listen: map[string]plugin.Listener{}, HTTP: map[string]plugin.HTTPClient{}}
		for _, h := range handles {
			if err := n.openHandle(h); err != nil {
				return fmt.Errorf("the handle %q: %w", h.Name, err)
			}
		}
	}
	if n.grants.Serve != nil {
		g.Serve = n.grants.Serve
	}
	g.Dial, g.Listen, g.HTTP = merged(g.Dial, n.grants.Dial), merged(g.Listen, n.grants.Listen), merged(g.HTTP, n.grants.HTTP)
	return nil
}

func merged[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}

// loopback is where everything is: the system chooses the port.
func loopback(datagrams bool) address.Address {
	if datagrams {
		return address.Address{Scheme: "udp", Host: "127.0.0.1"}
	}
	return address.Address{Scheme: "tcp", Host: "127.0.0.1"}
}

func (n *network) openHandle(h Handle) error {
	switch h.Kind {
	case abi.NeedListen:
		l, err := endpoint.Listen(loopback(h.Datagrams), endpoint.ListenOptions{})
		if err != nil {
			return err
		}
		n.closers = append(n.closers, l.Close)
		n.grants.Listen[h.Name], n.at[h.Name] = l.Grant(), l.Grant().Addr
	case abi.NeedServe:
		s, err := endpoint.Serve(loopback(false), endpoint.ServeOptions{})
		if err != nil {
			return err
		}
		n.closers = append(n.closers, s.Close)
		n.grants.Serve, n.at[h.Name] = s.Requests(), s.Addr()
	case abi.NeedDial, abi.NeedHTTP:
		return n.openServer(h)
	}
	return nil
}

// openServer starts what stands for a destination. Where the case has none, nobody answers.
func (n *network) openServer(h Handle) error {
	d := n.servers[h.Name]
	if d == nil {
		n.grants.Dial[h.Name] = func(context.Context) (net.Conn, error) {
			return nil, fmt.Errorf("nothing stands for %q here: a block server %q does", h.Name, h.Name)
		}
		return nil
	}
	if err := d.start(h); err != nil {
		return err
	}
	n.closers = append(n.closers, d.close)
	if h.Kind == abi.NeedDial {
		n.grants.Dial[h.Name] = d.dial
		return nil
	}
	base, err := address.Parse(h.Kind, "http://"+d.address.String()+h.Path)
	if err != nil {
		return err
	}
	client, err := endpoint.HTTP(base, endpoint.HTTPOptions{})
	if err == nil {
		n.grants.HTTP[h.Name] = client
		n.closers = append(n.closers, func() error { client.Client.CloseIdleConnections(); return nil })
	}
	return err
}

// close ends all of it, and waits.
func (n *network) close() (err error) {
	for _, c := range n.closers {
		err = errors.Join(err, c())
	}
	return err
}
