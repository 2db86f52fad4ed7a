// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
)

// door is an address that is listened on. It belongs to the host, and passes from a component to the one that takes its place: who connects meanwhile
// waits, and is neither refused nor hung up on.
type door struct {
	io.Closer
	component string // that opened it
	handle    config.Handle
	bounds    doorBounds
	grant     func(o *opener, handle string) // hands it to a component, under the name that this has for it
	read      func() admin.Listener
}

// doorBounds are what a door was opened with beside its address. What is listened on has them for good.
type doorBounds struct {
	tls    config.TLS
	hop    bool // what is spoken over TLS
	limits config.ListenLimits
	serve  config.ServeLimits
}

func (o *opener) bounds(h config.Handle) (b doorBounds) {
	if t := o.component.TLS; t != nil && h.Address.Secure() {
		b.tls = placeless(t)
		b.tls.Name = ""
		b.hop = hops(o.component)
	}
	if h.Kind == abi.NeedServe {
		b.serve = o.component.Limits.Serve
	} else {
		b.limits = o.component.Limits.Listen
	}
	return b
}

// through opens a door, or takes over the one that is there.
func (o *opener) through(h config.Handle, open func() (*door, error)) error {
	d := o.before.doorAt(o.component.Address(), h)
	switch {
	case d == nil:
		made, err := open()
		if err != nil {
			return err
		}
		d = made
		d.component, d.handle, d.bounds = o.component.Address(), h, o.bounds(h)
	case d.bounds != o.bounds(h):
		return fmt.Errorf("%s is listened on already, and what bounds its connections or encrypts them cannot change meanwhile: "+
			"put that back, or listen on another address, or stop the agent and start it again", h.Address)
	}
	o.revision.keep(d)
	o.doors = append(o.doors, d)
	d.grant(o, h.Name)
	return nil
}

// doorAt finds the door at an address: the component's own, or another's that is about to leave it. A port that the system chooses is another each time.
func (r *revision) doorAt(component string, h config.Handle) (found *door) {
	for _, g := range r.grants {
		for _, d := range g.doors {
			if d.handle.Kind != h.Kind || d.handle.Address != h.Address {
				continue
			}
			if d.component == component && d.handle.Name == h.Name {
				return d
			}
			if !strings.HasSuffix(h.Address.String(), ":0") {
				found = d
			}
		}
	}
	return found
}

func (o *opener) listen(h config.Handle) error {
	secure, err := o.serverTLS(h)
	if err != nil {
		return err
	}
	return o.through(h, func() (*door, error) {
		limits := o.component.Limits.Listen
		l, err := endpoint.Listen(h.Address, endpoint.ListenOptions{
			TLS: secure, Connections: limits.Connections, PerPeer: limits.PerPeer, Idle: limits.Idle, Handshake: limits.Handshake, Log: o.log, Over: o.over(),
			Refused: o.refused(),
		})
		if err != nil {
			return nil, err
		}
		o.log.Info("listening", "handle", h.Name, "granted", h.Address.String(), "address", l.Grant().Addr.String())
		return &door{
			Closer: l, read: shown(h, l.Grant().Addr, l.Counts),
			grant: func(o *opener, handle string) { o.Grants.Listen[handle] = l.Grant() },
		}, nil
	})
}

func (o *opener) serve(h config.Handle) error {
	secure, err := o.serverTLS(h)
	if err != nil {
		return err
	}
	return o.through(h, func() (*door, error) {
		l := o.component.Limits.Serve
		s, err := endpoint.Serve(h.Address, endpoint.ServeOptions{
			TLS: secure, MaxBody: l.BodyBytes, MaxHeader: l.HeaderBytes, MaxConns: l.Connections, PerPeer: l.PerPeer, MaxWaiting: l.Requests, MaxHeld: l.HeldBytes,
			Handshake: l.Handshake, Header: l.Header, Body: l.Body, Wait: l.Queue, Answer: l.Answer, Idle: l.Idle, Log: o.log, Over: o.over(),
		})
		if err != nil {
			return nil, err
		}
		o.log.Info("listening for HTTP", "handle", h.Name, "granted", h.Address.String(), "address", s.Addr().String())
		return &door{
			Closer: s, read: shown(h, s.Addr(), s.Counts),
			grant: func(o *opener, _ string) { o.Grants.Serve = s.Requests() },
		}, nil
	})
}

// sayRefused is how often it is logged that handshakes fail at an address: whoever has no certificate that will do tries again all the time.
const sayRefused = 10 * time.Second

// refused logs and counts whom the address of a hop does not let in, or who does not believe it: another agent, which somebody waits for. nil: it is no hop.
func (o *opener) refused() func(net.Addr, error) {
	if !hops(o.component) {
		return nil
	}
	var mu sync.Mutex
	var said time.Time
	metrics, address, log := o.revision.agent.metrics.Plugin(), o.component.Address(), o.log
	return func(peer net.Addr, err error) {
		metrics.Denied(address, "hop.handshake")
		mu.Lock()
		defer mu.Unlock()
		if time.Since(said) < sayRefused {
			return
		}
		said = time.Now()
		log.Warn(whyRefused(err), "peer", peer.String(), "error", err)
	}
}

// whyRefused says where to look when one side refused the other in a handshake.
func whyRefused(err error) string {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "a client is refused that does not speak TLS: see its address, which is to begin with tls://"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" { // as package tls marks what the other side said
		return "a client ends the handshake of TLS: see the certificate here, and ca of the tls block there"
	}
	return "a client is refused in the handshake of TLS: see its certificate, and ca of the tls block"
}

// over counts what went over a limit of an endpoint.
func (o *opener) over() func(limit string) {
	metrics, address := o.revision.agent.metrics.Plugin(), o.component.Address()
	return func(limit string) { metrics.Denied(address, limit) }
}

// shown tells what comes to an address in metrics and status.
func shown(h config.Handle, at net.Addr, counts func() endpoint.Counts) func() admin.Listener {
	return func() admin.Listener {
		n := counts()
		l := admin.Listener{
			Handle: h.Name, Address: h.Address.Scheme + "://" + at.String(), Connections: n.Open, Limit: n.Limit,
			Accepted: n.Accepted, Refused: n.Refused, Ended: n.Ended, Passed: n.Passed, Failed: n.Failed, Lost: n.Lost,
		}
		if h.Kind == abi.NeedServe {
			l.Answers = map[string]uint64{"none": n.Answers[0]}
			for digit := 2; digit < len(n.Answers); digit++ {
				l.Answers[fmt.Sprintf("%dxx", digit)] = n.Answers[digit]
			}
		}
		return l
	}
}
