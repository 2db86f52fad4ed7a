// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/penstock-io/penstock/host/plugin"
)

// metadata are addresses beside the link-local ones at which clouds tell a machine its own credentials.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("fd00:ec2::/32"),      // AWS
	netip.MustParsePrefix("fd20:ce::/32"),       // Google
	netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),   // Azure
	netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
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

// reach says why a grant for host does not reach ip, or nil.
func reach(host string, ip netip.Addr) error {
	ip = ip.Unmap()
	if named, err := netip.ParseAddr(host); err == nil {
		if named.Unmap() != ip {
			return fmt.Errorf("%w: the grant is for %s, and this is %s", plugin.ErrForbidden, host, ip)
		}
		return nil // written as an address: that is what was meant
	}
	local := localhost(host)
	if local && ip.IsLoopback() {
		return nil
	}
	if what := special(ip); what != "" {
		return fmt.Errorf("%w: %s resolves to %s, which is a %s address; if that is what you want, write the address itself in the grant",
			plugin.ErrForbidden, host, ip, what)
	}
	return nil
}

// localhost says whether host is a name for this machine, by RFC 6761.
func localhost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// special says what is special about ip, or "".
func special(ip netip.Addr) string {
	ip = ip.WithZone("").Unmap()
	if ip.IsUnspecified() || ip.Is4() && ip.As4()[0] == 0 {
		return "unspecified (that is, loopback)"
	}
	if ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return "multicast"
	}
	if what := inward(ip); what != "" || ip.Is4() {
		return what
	}
	b := ip.As16()
	for _, c := range carriers {
		if !c.prefix.Contains(ip) {
			continue
		}
		if what := inward(netip.AddrFrom4([4]byte{b[c.at[0]], b[c.at[1]], b[c.at[2]], b[c.at[3]]})); what != "" {
			return what
		}
	}
	return ""
}

// inward says what ip is if only this machine, its link or its cloud answers there, or "".
func inward(ip netip.Addr) string {
	if ip.IsLoopback() {
		return "loopback"
	}
	if ip.IsLinkLocalUnicast() {
		return "link-local"
	}
	for _, p := range metadata {
		if p.Contains(ip) {
			return "metadata"
		}
	}
	return ""
}
