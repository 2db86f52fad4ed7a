// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
)

// openGrants opens what sources and sinks were granted, once: it belongs to the component, and its instances come and go.
func (a *Agent) openGrants() error {
	for _, c := range a.opts.Config.Components() {
		o := opener{agent: a, component: c, log: a.opts.Log.With("component", c.Address())}
		if err := o.open(); err != nil {
			return fmt.Errorf("%w: %s: %w", ErrEnvironment, c.Address(), err)
		}
		a.grants[c.Address()] = o.grants
	}
	return nil
}

// grant adds to a request what its component was granted, but for directories.
func (a *Agent) grant(c config.Component, r *plugin.Request) {
	r.Grants = a.grants[c.Address()]
	if revealed, ok := a.opts.Revealed[c.Address()]; ok {
		r.Config, r.Grants.Secrets = revealed.Config, revealed.Secrets
	}
}

// limitsOf are the bounds of an instance.
func limitsOf(c config.Component) plugin.Limits {
	l := c.Limits
	return plugin.Limits{
		MemoryBytes: l.MemoryBytes, BatchEvents: pollEvents, BatchBytes: pollBytes, Handles: l.Handles, Call: l.Call, Share: l.Share,
		LogRate: l.LogRate, Metrics: l.Metrics, OutputBytes: l.OutputBytes,
	}
}

// opener opens what one component was granted.
type opener struct {
	agent     *Agent
	component config.Component
	log       *slog.Logger
	grants    plugin.Grants
}

func (o *opener) open() error {
	if _, ok := o.agent.opts.Revealed[o.component.Address()]; !ok && len(o.component.Secrets) > 0 {
		return fmt.Errorf("its secrets were not read")
	}
	o.grants = plugin.Grants{
		Dial: map[string]plugin.Dialer{}, Listen: map[string]plugin.Listener{}, HTTP: map[string]plugin.HTTPClient{}, Env: map[string]string{},
	}
	for _, name := range o.component.Env {
		if value, ok := os.LookupEnv(name); ok {
			o.grants.Env[name] = value
		}
	}
	for _, h := range o.component.Handles {
		if err := openers[h.Kind](o, h); err != nil {
			return o.because(h, err)
		}
	}
	return nil
}

// because says which files are meant where encryption has to do with it: their names are in another block.
func (o *opener) because(h config.Handle, err error) error {
	if t := o.component.TLS; t != nil && h.Secure {
		return fmt.Errorf("%w (with tls.%s at %s line %d)", err, t.Name, t.DeclRange.Filename, t.DeclRange.Start.Line)
	}
	return err
}

// openers open a handle by its kind.
var openers = map[string]func(o *opener, h config.Handle) error{
	abi.NeedDial: (*opener).dial, abi.NeedListen: (*opener).listen, abi.NeedServe: (*opener).serve, abi.NeedHTTP: (*opener).http,
}

func (o *opener) dial(h config.Handle) error {
	address, err := endpoint.ParseAddress(h.Address)
	if err != nil {
		return err
	}
	secure, err := o.clientTLS(h, address.Host)
	if err != nil {
		return err
	}
	o.grants.Dial[h.Name], err = endpoint.Dial(address, endpoint.DialOptions{TLS: secure})
	return err
}

// served is where to wait for others, and with which certificate; nil: without.
func (o *opener) served(h config.Handle) (address endpoint.Address, secure *tls.Config, err error) {
	if address, err = endpoint.ParseAddress(h.Address); err == nil {
		secure, err = o.serverTLS(h)
	}
	return address, secure, err
}

func (o *opener) listen(h config.Handle) error {
	address, secure, err := o.served(h)
	if err != nil {
		return err
	}
	l, err := endpoint.Listen(address, endpoint.ListenOptions{TLS: secure, Log: o.log})
	if err != nil {
		return err
	}
	o.agent.onClose(l.Close)
	o.grants.Listen[h.Name] = l.Grant()
	o.log.Info("listening", "handle", h.Name, "granted", h.Address, "address", l.Grant().Addr.String())
	return nil
}

func (o *opener) serve(h config.Handle) error {
	address, secure, err := o.served(h)
	if err != nil {
		return err
	}
	s, err := endpoint.Serve(address, endpoint.ServeOptions{TLS: secure, Log: o.log})
	if err != nil {
		return err
	}
	o.agent.onClose(s.Close)
	o.grants.Serve = s.Requests()
	o.log.Info("listening for HTTP", "handle", h.Name, "granted", h.Address, "address", s.Addr().String())
	return nil
}

func (o *opener) http(h config.Handle) error {
	base, err := url.Parse(h.Address)
	if err != nil {
		return err
	}
	secure, err := o.clientTLS(h, base.Hostname())
	if err != nil {
		return err
	}
	client, err := endpoint.HTTP(h.Address, endpoint.HTTPOptions{TLS: secure})
	if err != nil {
		return err
	}
	o.agent.onClose(func() error { client.Client.CloseIdleConnections(); return nil })
	o.grants.HTTP[h.Name] = client
	return nil
}

// clientTLS is how to dial a host, nil where nothing is encrypted or the system's roots hold.
func (o *opener) clientTLS(h config.Handle, host string) (*tls.Config, error) {
	if !h.Secure || o.component.TLS == nil {
		return nil, nil
	}
	return endpoint.ClientTLS(host, o.tls())
}

// serverTLS is how to listen, nil where nothing is encrypted.
func (o *opener) serverTLS(h config.Handle) (*tls.Config, error) {
	if !h.Secure || o.component.TLS == nil {
		return nil, nil // who listens with TLS and has none is refused when the files are read
	}
	return endpoint.ServerTLS(o.tls())
}

func (o *opener) tls() endpoint.TLSOptions {
	t := o.component.TLS
	return endpoint.TLSOptions{Cert: t.Cert, Key: t.Key, CA: t.CA, SkipVerify: !t.Verify, MinVersion: t.MinVersion, Log: o.log.With("tls", t.Name)}
}
