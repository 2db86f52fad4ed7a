// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/penstock-io/penstock/host/admin"
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
		a.metrics.Listeners(c.Address(), func() []admin.Listener { return a.listenersOf(c.Address()) })
	}
	return nil
}

// listenersOf is what a component listens on now.
func (a *Agent) listenersOf(component string) (list []admin.Listener) {
	for _, read := range a.listeners[component] {
		list = append(list, read())
	}
	return list
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
		MemoryBytes: l.MemoryBytes, BatchEvents: pollEvents, BatchBytes: l.BatchBytes, Handles: l.Handles, Call: l.Call, Share: l.Share,
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
		if o.component.Ref.Subprocess {
			continue // a child process has sockets of its own, at addresses that would be taken
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
	o.grants.Dial[h.Name], err = endpoint.Dial(h.Address, endpoint.DialOptions{TLS: secure, Within: h.Grants})
	return err
}

func (o *opener) listen(h config.Handle) error {
	secure, err := o.serverTLS(h)
	if err != nil {
		return err
	}
	limits := o.component.Limits.Listen
	l, err := endpoint.Listen(h.Address, endpoint.ListenOptions{
		TLS: secure, Connections: limits.Connections, PerPeer: limits.PerPeer, Idle: limits.Idle, Handshake: limits.Handshake, Log: o.log, Over: o.over,
	})
	if err != nil {
		return err
	}
	o.agent.onClose(l.Close)
	o.grants.Listen[h.Name] = l.Grant()
	o.counted(h, l.Grant().Addr, l.Counts)
	o.log.Info("listening", "handle", h.Name, "granted", h.Address.String(), "address", l.Grant().Addr.String())
	return nil
}

func (o *opener) serve(h config.Handle) error {
	secure, err := o.serverTLS(h)
	if err != nil {
		return err
	}
	l := o.component.Limits.Serve
	s, err := endpoint.Serve(h.Address, endpoint.ServeOptions{
		TLS: secure, MaxBody: l.BodyBytes, MaxHeader: l.HeaderBytes, MaxConns: l.Connections, PerPeer: l.PerPeer, MaxWaiting: l.Requests, MaxHeld: l.HeldBytes,
		Handshake: l.Handshake, Header: l.Header, Body: l.Body, Wait: l.Queue, Answer: l.Answer, Idle: l.Idle, Log: o.log, Over: o.over,
	})
	if err != nil {
		return err
	}
	o.agent.onClose(s.Close)
	o.grants.Serve = s.Requests()
	o.counted(h, s.Addr(), s.Counts)
	o.log.Info("listening for HTTP", "handle", h.Name, "granted", h.Address.String(), "address", s.Addr().String())
	return nil
}

// over counts what went over a limit of an endpoint.
func (o *opener) over(limit string) { o.agent.metrics.Plugin().Denied(o.component.Address(), limit) }

// counted shows what comes to an address in metrics and status.
func (o *opener) counted(h config.Handle, at net.Addr, counts func() endpoint.Counts) {
	component := o.component.Address()
	o.agent.listeners[component] = append(o.agent.listeners[component], func() admin.Listener {
		n := counts()
		l := admin.Listener{
			Handle: h.Name, Address: h.Address.Scheme + "://" + at.String(), Connections: n.Open, Limit: n.Limit,
			Accepted: n.Accepted, Refused: n.Refused, Ended: n.Ended, Failed: n.Failed,
		}
		if h.Kind == abi.NeedServe {
			l.Answers = map[string]uint64{"none": n.Answers[0]}
			for digit := 2; digit < len(n.Answers); digit++ {
				l.Answers[fmt.Sprintf("%dxx", digit)] = n.Answers[digit]
			}
		}
		return l
	})
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
	o.agent.onClose(func() error { client.Client.CloseIdleConnections(); return nil })
	o.grants.HTTP[h.Name] = client
	return nil
}

// clientTLS is how to dial, nil where nothing is encrypted or the system's roots hold.
func (o *opener) clientTLS(h config.Handle) (*tls.Config, error) {
	if !h.Address.Secure() || o.component.TLS == nil {
		return nil, nil
	}
	return endpoint.ClientTLS(h.Address.Host, o.tls())
}

// serverTLS is how to listen, nil where nothing is encrypted.
func (o *opener) serverTLS(h config.Handle) (*tls.Config, error) {
	if !h.Address.Secure() || o.component.TLS == nil {
		return nil, nil // who listens with TLS and has none is refused when the files are read
	}
	return endpoint.ServerTLS(o.tls())
}

func (o *opener) tls() endpoint.TLSOptions {
	t := o.component.TLS
	return endpoint.TLSOptions{Cert: t.Cert, Key: t.Key, CA: t.CA, SkipVerify: !t.Verify, MinVersion: t.MinVersion, Log: o.log.With("tls", t.Name)}
}
