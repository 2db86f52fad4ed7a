// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/spec/abi"
)

// address is what a handle leads to, in the one form in which it is compared: "tcp://host:port", "unix:///path".
type address struct {
	scheme, host, port string
	path               string // of unix and unixgram; of http what requests must lie below, with a slash at its end
}

// Schemes of addresses, and those that each kind of need takes.
const (
	schemeTCP, schemeTLS, schemeUDP = "tcp", "tls", "udp"
	schemeUnix, schemeUnixgram      = "unix", "unixgram"
	schemeHTTP, schemeHTTPS         = "http", "https"
)

var schemesOf = map[string][]string{
	abi.NeedDial:   {schemeTCP, schemeTLS, schemeUDP, schemeUnix, schemeUnixgram},
	abi.NeedListen: {schemeTCP, schemeTLS, schemeUDP, schemeUnix, schemeUnixgram},
	abi.NeedServe:  {schemeTCP, schemeTLS, schemeUnix},
	abi.NeedHTTP:   {schemeHTTP, schemeHTTPS},
}

const (
	maxPort = 1<<16 - 1
	// maxSocketPath is what the smallest of the systems has room for.
	maxSocketPath = 103
)

// parseAddress reads what a handle of the kind leads to. Its error is a clause: "has no port".
func parseAddress(kind, text string) (address, error) {
	if kind == abi.NeedHTTP {
		return parseURL(text)
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = schemeTCP, text
	}
	if schemes := schemesOf[kind]; !slices.Contains(schemes, scheme) {
		return address{}, fmt.Errorf("has the scheme %s; here it is %s", quote(scheme), oneOf(schemes))
	}
	if scheme == schemeUnix || scheme == schemeUnixgram {
		switch {
		case !strings.HasPrefix(rest, "/") || strings.ContainsRune(rest, 0):
			return address{}, fmt.Errorf("needs an absolute path, such as \"%s:///run/x.sock\"", scheme)
		case len(rest) > maxSocketPath:
			return address{}, fmt.Errorf("has a path of %d bytes; that of a socket has %d at most", len(rest), maxSocketPath)
		}
		return address{scheme: scheme, path: filepath.Clean(rest)}, nil
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return address{}, errors.New("is no host and port, such as \"tcp://db.internal:5432\" or \"tcp://[::1]:514\"")
	}
	if host == "*" {
		host = "" // all of this machine's
	}
	n, err := strconv.ParseUint(port, 10, 16)
	listens := kind != abi.NeedDial
	switch {
	case err != nil || n > maxPort:
		return address{}, fmt.Errorf("has the port %s; a port is a number up to %d", quote(port), maxPort)
	case n == 0 && !listens:
		return address{}, errors.New("has the port 0, to which nobody can connect")
	case host == "" && !listens:
		return address{}, errors.New("has no host")
	case !hostName(host):
		return address{}, fmt.Errorf("has the host %s, which is neither a name nor an IP address", quote(host))
	}
	return address{scheme: scheme, host: canonicalHost(host), port: strconv.FormatUint(n, 10)}, nil
}

func parseURL(text string) (address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Opaque != "", u.Hostname() == "":
		return address{}, errors.New("is no URL, such as \"https://api.internal/ingest\"")
	case !slices.Contains(schemesOf[abi.NeedHTTP], u.Scheme):
		return address{}, fmt.Errorf("has the scheme %s; here it is %s", quote(u.Scheme), oneOf(schemesOf[abi.NeedHTTP]))
	case u.User != nil:
		return address{}, errors.New("has a user or a password in it, which would be shown; give them to the plugin as a secret")
	case u.RawQuery != "" || u.Fragment != "":
		return address{}, errors.New("has a query or a fragment; a URL says below which path requests may go")
	case !hostName(u.Hostname()):
		return address{}, fmt.Errorf("has the host %s, which is neither a name nor an IP address", quote(u.Hostname()))
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{schemeHTTP: "80", schemeHTTPS: "443"}[u.Scheme]
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return address{}, fmt.Errorf("has the port %s; a port is a number from 1 to %d", quote(port), maxPort)
	}
	below := path.Clean("/" + u.EscapedPath())
	return address{scheme: u.Scheme, host: canonicalHost(u.Hostname()), port: port, path: strings.TrimSuffix(below, "/") + "/"}, nil
}

// hostName says whether host is a name, an IP address, or nothing, which is all of this machine's.
func hostName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for _, c := range []byte(host) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

// canonicalHost writes equal hosts equally.
func canonicalHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.String()
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// String writes the address as a user would.
func (a address) String() string {
	switch a.scheme {
	case schemeUnix, schemeUnixgram:
		return a.scheme + "://" + a.path
	case schemeHTTP, schemeHTTPS:
		host := net.JoinHostPort(a.host, a.port)
		if a.scheme == schemeHTTP && a.port == "80" || a.scheme == schemeHTTPS && a.port == "443" {
			host = strings.TrimSuffix(host, ":"+a.port)
		}
		return a.scheme + "://" + host + strings.TrimSuffix(a.path, "/")
	}
	return a.scheme + "://" + net.JoinHostPort(a.host, a.port)
}

// covers says whether who was granted a may use b: the same, or something below it.
func (a address) covers(b address) bool {
	if a.scheme == schemeHTTP || a.scheme == schemeHTTPS {
		below := strings.HasPrefix(b.path, a.path)
		b.path = a.path
		return a == b && below
	}
	return a == b
}

// secure says whether what is sent is encrypted, so that a tls block has a meaning.
func (a address) secure() bool { return a.scheme == schemeTLS || a.scheme == schemeHTTPS }
