// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// granted is what one component was granted, opened once: instances come and go. It is the component's until that is another one.
type granted struct {
	plugin.Grants
	doors []*door
}

// openGrants opens what components were granted. One that does not change keeps what it has.
func (r *revision) openGrants(before *revision) error {
	for _, c := range r.Config.Components() {
		address := c.Address()
		if g := before.grants[address]; g != nil && r.keeps(address) {
			r.inherit(before, c)
			r.grants[address] = g
			r.keepGrants(g)
			continue
		}
		o := opener{revision: r, before: before, component: c, log: r.log.With("component", address), granted: &granted{}}
		if err := o.open(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrEnvironment, address, err)
		}
		r.grants[address] = o.granted
		r.agent.metrics.Listeners(address, func() []admin.Listener { return r.agent.listenersOf(address) })
	}
	return nil
}

func (r *revision) keepGrants(g *granted) {
	for _, d := range g.doors {
		r.keep(d)
	}
}

// listenersOf is what a component listens on now.
func (a *Agent) listenersOf(component string) (list []admin.Listener) {
	r := a.current()
	if r == nil || r.grants[component] == nil {
		return nil
	}
	for _, d := range r.grants[component].doors {
		list = append(list, d.read())
	}
	return list
}

// grant adds to a request what its component was granted, but for directories.
func (r *revision) grant(c config.Component, to *plugin.Request) {
	to.Grants = r.grants[c.Address()].Grants
	if revealed, ok := r.Revealed[c.Address()]; ok {
		to.Config, to.Grants.Secrets = revealed.Config, revealed.Secrets
	}
}

// limitsOf are the bounds of an instance.
func limitsOf(c config.Component) plugin.Limits {
	l := c.Limits
	return plugin.Limits{
		MemoryBytes: l.MemoryBytes, BatchEvents: pollEvents, BatchBytes: l.BatchBytes, Handles: l.Handles, Call: l.Call, Share: l.Share,
		LogRate: l.LogRate, Metrics: l.Metrics, OutputBytes: l.OutputBytes,
	}
}

// opener opens what one component was granted.
type opener struct {
	*granted
	revision  *revision
	before    *revision // whose doors may be taken over
	component config.Component
	log       *slog.Logger
}

func (o *opener) open() error {
	if _, ok := o.revision.Revealed[o.component.Address()]; !ok && len(o.component.Secrets) > 0 {
		return fmt.Errorf("its secrets were not read")
	}
	o.Grants = plugin.Grants{
		Dial: map[string]plugin.Dialer{}, Listen: map[string]plugin.Listener{}, HTTP: map[string]plugin.HTTPClient{}, Env: map[string]string{},
	}
	for _, name := range o.component.Env {
		if value, ok := os.LookupEnv(name); ok {
			o.Grants.Env[name] = value
		}
	}
	for _, h := range o.component.Handles {
		if slices.Contains(o.component.Needs, abi.NeedNetwork) {
			continue // it has sockets of its own, at addresses that would be taken
		}
		if err := openers[h.Kind](o, h); err != nil {
			return o.because(h, err)
		}
	}
	return nil
}

// because says which files are meant where encryption has to do with it: their names are in another block.
func (o *opener) because(h config.Handle, err error) error {
	if t := o.component.TLS; t != nil && h.Address.Secure() {
		return fmt.Errorf("%w (with tls.%s at %s line %d)", err, t.Name, t.DeclRange.Filename, t.DeclRange.Start.Line)
	}
	return err
}

// openers open a handle by its kind.
var openers = map[string]func(o *opener, h config.Handle) error{
	abi.NeedDial: (*opener).dial, abi.NeedListen: (*opener).listen, abi.NeedServe: (*opener).serve, abi.NeedHTTP: (*opener).http,
}

func (o *opener) dial(h config.Handle) error {
	secure, err := o.clientTLS(h)
	if err != nil {
		return err
	}
	o.Grants.Dial[h.Name], err = endpoint.Dial(h.Address, endpoint.DialOptions{TLS: secure, Within: h.Grants})
	return err
}

func (o *opener) http(h config.Handle) error {
	secure, err := o.clientTLS(h)
	if err != nil {
		return err
	}
	client, err := endpoint.HTTP(h.Address, endpoint.HTTPOptions{TLS: secure, Within: h.Grants})
	if err != nil {
		return err
	}
	o.revision.keep(&closerFunc{func() error { client.Client.CloseIdleConnections(); return nil }})
	o.Grants.HTTP[h.Name] = client
	return nil
}

// clientTLS is how to dial, nil where nothing is encrypted or the system's roots hold.
func (o *opener) clientTLS(h config.Handle) (*tls.Config, error) {
	if !h.Address.Secure() || o.component.TLS == nil {
		return nil, nil
	}
	files, err := o.files()
	if err != nil {
		return nil, err
	}
	return files.Client(h.Address.Host, o.protocols()...), nil
}

// serverTLS is how to listen, nil where nothing is encrypted.
func (o *opener) serverTLS(h config.Handle) (*tls.Config, error) {
	if !h.Address.Secure() || o.component.TLS == nil {
		return nil, nil // who listens with TLS and has none is refused when the files are read
	}
	files, err := o.files()
	if err != nil {
		return nil, err
	}
	return files.Server(o.protocols()...)
}

// protocols are those that are spoken over TLS, where that is the host's to say.
func (o *opener) protocols() []string {
	if hops(o.component) {
		return []string{hoppb.ALPN}
	}
	return nil
}
