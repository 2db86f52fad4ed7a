// SPDX-License-Identifier: Apache-2.0

package address

import (
	"fmt"
	"net/netip"
	"strings"
)

// kind is a range of addresses that are not what they seem.
type kind struct {
	prefix netip.Prefix
	what   string
}

func kindsOf(what string, prefixes ...string) (list []kind) {
	for _, p := range prefixes {
		list = append(list, kind{netip.MustParsePrefix(p), what})
	}
	return list
}

// private is the kind that a name reaches, and a pattern does not.
const private = "private"

// inward are the ranges in which only this machine, its link, its cloud or its site answers.
var inward = join(
	kindsOf("loopback", "127.0.0.0/8", "::1/128"),
	kindsOf("link-local", "169.254.0.0/16", "fe80::/10"),
	// At these, beside the link-local ones, clouds tell a machine its own credentials.
	kindsOf("metadata",
		"fd00:ec2::/32",      // AWS
		"fd20:ce::/32",       // Google
		"100.100.100.200/32", // Alibaba
		"168.63.129.16/32",   // Azure
		"192.0.0.192/32",     // Oracle
	),
	kindsOf(private, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
)

// nowhere are the ranges that are nobody's.
var nowhere = join(
	kindsOf("unspecified (that is, loopback)", "0.0.0.0/8", "::/128"),
	kindsOf("multicast", "224.0.0.0/4", "255.255.255.255/32", "ff00::/8"),
)

func join(lists ...[]kind) (all []kind) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// carriers are prefixes of IPv6 under which an IPv4 address is meant, and which of the bytes are its.
var carriers = []struct {
	prefix netip.Prefix
	at     [4]int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}},    // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{12, 13, 14, 15}},  // NAT64 of a site, which places them as one of these (RFC 6052)
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{9, 10, 11, 12}},   //
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{7, 9, 10, 11}},    //
	{netip.MustParsePrefix("64:ff9b:1::/48"), [4]int{6, 7, 9, 10}},     //
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}}, // translated (SIIT)
	{netip.MustParsePrefix("::/96"), [4]int{12, 13, 14, 15}},           // IPv4-compatible
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}},           // 6to4
}

// Reaches says why a grant for a does not reach ip, a clause, or nil. It is asked of what a name has resolved to, between the look-up and the connect.
func (a Address) Reaches(ip netip.Addr) error {
	zoned := ip.Unmap()
	ip = zoned.WithZone("")
	if named, err := netip.ParseAddr(a.Host); err == nil {
		if named.Unmap() != zoned {
			return fmt.Errorf("the grant is for %s, and this is %s", a.Host, zoned)
		}
		return nil // written as an address: that is what was meant
	}
	if a.ranged() {
		return inRange(netip.MustParsePrefix(a.Host), ip)
	}
	if localhost(a.Host) && ip.IsLoopback() {
		return nil
	}
	k, found := special(ip)
	switch {
	case !found, k.what == private && !a.Pattern():
		return nil
	case k.what == private:
		return fmt.Errorf("a name within %s resolves to %s, which is a private address, and a wildcard reaches none; grant the name itself, or a range such as 10.0.0.0/8",
			a.Host, zoned)
	}
	return fmt.Errorf("%s resolves to %s, which is a %s address; if that is what you want, write the address itself in the grant",
		a.Host, zoned, k.what)
}

// inRange says why a grant for the range does not reach ip. Of what is special it holds what it is itself a part of: 10.0.0.0/8 is private, and
// 0.0.0.0/0 is everything but that.
func inRange(granted netip.Prefix, ip netip.Addr) error {
	if !granted.Contains(ip) {
		return fmt.Errorf("the grant is for %s, and %s is not in it", granted, ip)
	}
	k, found := special(ip)
	if !found || k.prefix.Contains(granted.Addr()) && granted.Bits() >= k.prefix.Bits() {
		return nil
	}
	return fmt.Errorf("%s is a %s address, which the range %s reaches only when it lies within %s", ip, k.what, granted, k.prefix)
}

// localhost says whether host is a name for this machine, by RFC 6761.
func localhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return !strings.HasPrefix(host, wildcard) && (host == "localhost" || strings.HasSuffix(host, ".localhost"))
}

// special says what is special about ip, which has no zone.
func special(ip netip.Addr) (kind, bool) {
	if k, ok := within(nowhere, ip); ok {
		return k, true
	}
	if k, ok := within(inward, ip); ok || ip.Is4() {
		return k, ok
	}
	b := ip.As16()
	var found kind
	for _, c := range carriers {
		if !c.prefix.Contains(ip) {
			continue
		}
		k, ok := within(inward, netip.AddrFrom4([4]byte{b[c.at[0]], b[c.at[1]], b[c.at[2]], b[c.at[3]]}))
		if ok && (found.what == "" || found.what == private) { // the worst of what may be meant
			found = k
		}
	}
	return found, found.what != ""
}

func within(list []kind, ip netip.Addr) (kind, bool) {
	for _, k := range list {
		if k.prefix.Contains(ip) {
			return k, true
		}
	}
	return kind{}, false
}
