// SPDX-License-Identifier: Apache-2.0

// Package endpoint opens what a pipeline file grants a plugin: addresses to dial and to listen on.
//
// It knows nothing of guests. [Dial] makes a [plugin.Dialer], [Listen] what a [plugin.Listener] stands for, and a component
// keeps both as long as it is configured, over any number of instances.
//
// Invariants:
//   - What is checked is what is dialled: the address that a name resolved to is looked at between the look-up and the connect, of
//     each connection, whatever the resolver answered a moment ago. Nothing is read from the environment, also no proxy.
//   - A name reaches loopback, link-local and metadata addresses only where the pipeline file names them as such (see [DialContext]).
//   - A listener is never exhausted by those who say nothing: connections are bounded, also those of one peer, and the one that was
//     quiet longest goes first.
//   - Whoever is accepted is either handed on or closed. Close waits for every goroutine.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
)

// Address is one address as a pipeline file writes it.
type Address struct {
	Network string // "tcp", "udp", "unix" or "unixgram"
	TLS     bool   // over tcp
	Host    string // of tcp and udp: a name or an IP address; "" = all of this machine's, to listen on
	Port    int    // of tcp and udp; 0 = any, to listen on
	Path    string // of unix and unixgram: absolute, clean
}

// ParseAddress reads tcp://host:port (or host:port alone), tls://host:port, udp://host:port, unix:///path or unixgram:///path.
func ParseAddress(s string) (Address, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "tcp", s
	}
	switch scheme {
	case "tcp", "tls", "udp":
		return parseHostPort(scheme, rest)
	case "unix", "unixgram":
		if !filepath.IsAbs(rest) || strings.ContainsRune(rest, 0) {
			return Address{}, fmt.Errorf("address %q: the path of a socket is absolute, as in %s:///run/x.sock", s, scheme)
		}
		if len(rest) > maxSocketPath {
			return Address{}, fmt.Errorf("address %q: the path of a socket has at most %d bytes, this one has %d", s, maxSocketPath, len(rest))
		}
		return Address{Network: scheme, Path: filepath.Clean(rest)}, nil
	default:
		return Address{}, fmt.Errorf("address %q: %q is none of tcp, tls, udp, unix and unixgram", s, scheme)
	}
}

// maxSocketPath is what the smallest of the systems has room for (Darwin: 104 with the zero at the end).
const maxSocketPath = 103

func parseHostPort(scheme, s string) (Address, error) {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		if e, ok := errors.AsType[*net.AddrError](err); ok {
			err = errors.New(e.Err)
		}
		return Address{}, fmt.Errorf("address %q: %w; write it as host:port, with an IPv6 host in brackets", s, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("address %q: %q is not a port; write a number up to 65535", s, service)
	}
	if strings.ContainsAny(host, "/?#@ \x00") {
		return Address{}, fmt.Errorf("address %q: %q is not the name of a host", s, host)
	}
	if host == "*" {
		host = ""
	}
	a := Address{Network: scheme, Host: host, Port: int(port)}
	if scheme == "tls" {
		a.Network, a.TLS = "tcp", true
	}
	return a, nil
}

// String writes the address as ParseAddress reads it.
func (a Address) String() string {
	scheme := a.Network
	if a.TLS {
		scheme = "tls"
	}
	return scheme + "://" + a.target()
}

// target is the address as package net has it.
func (a Address) target() string {
	if a.Path != "" {
		return a.Path
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

// packet says whether datagrams go there.
func (a Address) packet() bool { return a.Network == "udp" || a.Network == "unixgram" }
