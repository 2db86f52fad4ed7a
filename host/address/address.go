// SPDX-License-Identifier: Apache-2.0

// Package address says what an address in a pipeline file means: what a plugin is granted, what it asks for, and which IP addresses
// are within. It opens nothing.
//
// Invariants:
//   - Equal addresses are written equally, so that they are compared with ==: a host in lower case without a dot at its end, an IP
//     address in one form, a port as a number.
//   - Only a grant has a pattern in the place of its host. Whatever a pattern covers by name is looked at again by the IP address
//     that the name resolves to, each time: [Address.Reaches].
//   - What nobody means when they write a name or a pattern is out of its reach: loopback, link-local, multicast and metadata
//     addresses; of a pattern private ones too, unless it is a range within them.
package address

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

// Address is what a handle leads to: "tcp://host:port", "unix:///path", "https://host/path".
type Address struct {
	Scheme string // "tcp", "tls", "udp", "unix", "unixgram", "http", "https"
	Host   string // a name or an IP address; "" = all of this machine's, to listen on; of a grant also "*.example.com" or "10.0.0.0/8"
	Port   int    // 0 = any, to listen on
	Path   string // of unix and unixgram; of http and https what requests must lie below, with a slash at its end
}

// The schemes.
const (
	tcp, secure, udp = "tcp", "tls", "udp"
	unix, unixgram   = "unix", "unixgram"
	web, secureWeb   = "http", "https"
)

// schemesOf are those that each kind of need takes.
var schemesOf = map[string][]string{
	abi.NeedDial:   {tcp, secure, udp, unix, unixgram},
	abi.NeedListen: {tcp, secure, udp, unix, unixgram},
	abi.NeedServe:  {tcp, secure, unix},
	abi.NeedHTTP:   {web, secureWeb},
}

const (
	maxPort = 1<<16 - 1
	// maxSocketPath is what the smallest of the systems has room for (Darwin: 104 with the zero at the end).
	maxSocketPath = 103
)

// Parse reads what a handle leads to, for a need of that kind: tcp://host:port (or host:port alone), tls://host:port, udp://host:port,
// unix:///path, unixgram:///path, or a URL. Its error is a clause: "has no host".
func Parse(kind, text string) (Address, error) { return parse(kind, text, hostOf) }

// ParseGrant is Parse for what is granted: where the need is to connect, the host may be a pattern too.
func ParseGrant(kind, text string) (Address, error) {
	if kind == abi.NeedDial || kind == abi.NeedHTTP {
		return parse(kind, text, patternOf)
	}
	return Parse(kind, text)
}

func parse(kind, text string, host func(string) (string, error)) (Address, error) {
	if kind == abi.NeedHTTP {
		return parseURL(text, host)
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		scheme, rest = tcp, text
	}
	if schemes := schemesOf[kind]; !slices.Contains(schemes, scheme) {
		return Address{}, fmt.Errorf("has the scheme %s; here it is %s", quote(scheme), oneOf(schemes))
	}
	if scheme == unix || scheme == unixgram {
		switch {
		case !strings.HasPrefix(rest, "/") || strings.ContainsRune(rest, 0):
			return Address{}, fmt.Errorf("needs an absolute path, such as \"%s:///run/x.sock\"", scheme)
		case len(rest) > maxSocketPath:
			return Address{}, fmt.Errorf("has a path of %d bytes; that of a socket has %d at most", len(rest), maxSocketPath)
		}
		return Address{Scheme: scheme, Path: filepath.Clean(rest)}, nil
	}
	return parseHostPort(scheme, rest, kind != abi.NeedDial, host)
}

func parseHostPort(scheme, text string, listens bool, hostOf func(string) (string, error)) (Address, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, errors.New("is no host and port, such as \"tcp://db.internal:5432\" or \"tcp://[::1]:514\"")
	}
	if host == "*" {
		host = "" // all of this machine's
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || n > maxPort:
		return Address{}, fmt.Errorf("has the port %s; a port is a number up to %d", quote(port), maxPort)
	case n == 0 && !listens:
		return Address{}, errors.New("has the port 0, to which nobody can connect")
	case host == "" && !listens:
		return Address{}, errors.New("has no host")
	}
	if host, err = hostOf(host); err != nil {
		return Address{}, err
	}
	return Address{Scheme: scheme, Host: host, Port: int(n)}, nil
}

func parseURL(text string, hostOf func(string) (string, error)) (Address, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Opaque != "", u.Hostname() == "":
		return Address{}, errors.New("is no URL, such as \"https://api.internal/ingest\"")
	case !slices.Contains(schemesOf[abi.NeedHTTP], u.Scheme):
		return Address{}, fmt.Errorf("has the scheme %s; here it is %s", quote(u.Scheme), oneOf(schemesOf[abi.NeedHTTP]))
	case u.User != nil:
		return Address{}, errors.New("has a user or a password in it, which would be shown; give them to the plugin as a secret")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Address{}, errors.New("has a query or a fragment; a URL says below which path requests may go")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{web: "80", secureWeb: "443"}[u.Scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Address{}, fmt.Errorf("has the port %s; a port is a number from 1 to %d", quote(port), maxPort)
	}
	host, err := hostOf(u.Hostname())
	if err != nil {
		return Address{}, err
	}
	below := path.Clean("/" + u.EscapedPath())
	if GoesUp(below) {
		return Address{}, errors.New("has a path with dots that are hidden by %2e or the like; write it as it is meant")
	}
	return Address{Scheme: u.Scheme, Host: host, Port: int(n), Path: strings.TrimSuffix(below, "/") + "/"}, nil
}

// GoesUp says whether some server may take a part of the escaped path for "." or "..".
func GoesUp(escaped string) bool {
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return true
	}
	for _, part := range strings.FieldsFunc(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part, _, _ = strings.Cut(part, ";"); part == "." || part == ".." { // servers differ in what they make of these
			return true
		}
	}
	return false
}

// hostOf writes equal hosts equally. "" is all of this machine's.
func hostOf(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String(), nil
	}
	bad := strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
	})
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	if bad || strings.HasPrefix("."+name, "..") || strings.Contains(name, "..") || name == "" && host != "" {
		return "", fmt.Errorf("has the host %s, which is neither a name nor an IP address", quote(host))
	}
	return name, nil
}

// wildcard begins the host of a grant for all names with one label in its place.
const wildcard = "*."

// patternOf is hostOf for a grant: it takes a wildcard or a range of IP addresses too.
func patternOf(host string) (string, error) {
	if strings.Contains(host, "/") {
		return rangeOf(host)
	}
	domain, ok := strings.CutPrefix(host, wildcard)
	if !ok && !strings.Contains(host, "*") {
		return hostOf(host)
	}
	if strings.Contains(domain, "*") {
		return "", fmt.Errorf("has the host %s; a wildcard is the whole of the first part of a name, as in \"*.example.com\"", quote(host))
	}
	domain, err := hostOf(domain)
	if err != nil {
		return "", fmt.Errorf("has the host %s; what follows the wildcard is a name, as in \"*.example.com\"", quote(host))
	}
	if !strings.Contains(domain, ".") {
		return "", fmt.Errorf("has the host %s, which is too much: what follows the wildcard has two parts at least, as in \"*.example.com\"", quote(host))
	}
	return wildcard + domain, nil
}

func rangeOf(host string) (string, error) {
	p, err := netip.ParsePrefix(host)
	switch {
	case err != nil:
		return "", fmt.Errorf("has the host %s, which is no range of IP addresses, such as \"10.0.0.0/8\"", quote(host))
	case p.Addr().Is4In6():
		return "", fmt.Errorf("has the range %s; write it as one of IPv4", quote(host))
	case p.Masked() != p:
		return "", fmt.Errorf("has the range %s; the one that this address is in begins at %s", quote(host), p.Masked())
	}
	return p.String(), nil
}

// String writes the address as a user would.
func (a Address) String() string {
	switch a.Scheme {
	case unix, unixgram:
		return a.Scheme + "://" + a.Path
	case web, secureWeb:
		host := a.Target()
		if a.Scheme == web && a.Port == 80 || a.Scheme == secureWeb && a.Port == 443 {
			host = strings.TrimSuffix(host, ":"+strconv.Itoa(a.Port))
		}
		return a.Scheme + "://" + host + strings.TrimSuffix(a.Path, "/")
	}
	return a.Scheme + "://" + a.Target()
}

// Network is what package net calls it.
func (a Address) Network() string {
	switch a.Scheme {
	case secure, web, secureWeb:
		return tcp
	}
	return a.Scheme
}

// Target is the address as package net has it.
func (a Address) Target() string {
	if a.Local() {
		return a.Path
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

// Local says whether it is a socket in the file system.
func (a Address) Local() bool { return a.Scheme == unix || a.Scheme == unixgram }

// Packet says whether datagrams go there.
func (a Address) Packet() bool { return a.Scheme == udp || a.Scheme == unixgram }

// Secure says whether what is sent is encrypted, so that a tls block has a meaning.
func (a Address) Secure() bool { return a.Scheme == secure || a.Scheme == secureWeb }

// Bare is the address without what encrypts it: two of the same cannot be listened on.
func (a Address) Bare() Address {
	if a.Scheme == secure {
		a.Scheme = tcp
	}
	return a
}

// Covers says whether who was granted a may use b: the same, something below it, or what its pattern has in it. Where b names a host
// and a is a range, it is covered as far as [Address.Reaches] says of each address that the name resolves to.
func (a Address) Covers(b Address) bool {
	if a.Scheme == web || a.Scheme == secureWeb {
		if !strings.HasPrefix(b.Path, a.Path) {
			return false
		}
		b.Path = a.Path
	}
	if a.coversHost(b.Host) {
		b.Host = a.Host
	}
	return a == b
}

func (a Address) coversHost(host string) bool {
	domain, ok := strings.CutPrefix(a.Host, wildcard)
	ip, err := netip.ParseAddr(host)
	switch {
	case ok:
		label, rest, _ := strings.Cut(host, ".")
		return err != nil && label != "" && rest == domain
	case !a.ranged():
		return false
	case err == nil:
		return a.Reaches(ip) == nil
	}
	return host != ""
}

// Pattern says whether the address, of a grant, stands for several hosts.
func (a Address) Pattern() bool { return strings.HasPrefix(a.Host, wildcard) || a.ranged() }

func (a Address) ranged() bool { return strings.Contains(a.Host, "/") }

// oneOf lists what there is to choose from.
func oneOf(list []string) string {
	var s strings.Builder
	for i, each := range list {
		switch {
		case i > 0 && i == len(list)-1:
			s.WriteString(" or ")
		case i > 0:
			s.WriteString(", ")
		}
		s.WriteString(strconv.Quote(each))
	}
	return s.String()
}

// quote shows a string, cut when it is long.
func quote(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}
