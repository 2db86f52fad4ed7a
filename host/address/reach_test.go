// SPDX-License-Identifier: Apache-2.0

package address

import (
	"net/netip"
	"strings"
	"testing"
)

func TestWhatAGrantReaches(t *testing.T) {
	for _, c := range []struct{ host, ip, refused string }{
		{"db.example", "203.0.113.7", ""},
		{"db.example", "10.0.0.1", ""}, // private networks are what one collects in
		{"db.example", "192.168.1.1", ""},
		{"db.example", "fd12:3456::1", ""},
		{"db.example", "2001:db8::1", ""},
		{"db.example", "127.0.0.1", "loopback"},
		{"db.example", "127.9.9.9", "loopback"},
		{"db.example", "::1", "loopback"},
		{"db.example", "0.0.0.0", "unspecified"}, // connects to loopback
		{"db.example", "0.1.2.3", "unspecified"},
		{"db.example", "::", "unspecified"},
		{"db.example", "169.254.169.254", "link-local"},
		{"db.example", "169.254.0.1", "link-local"},
		{"db.example", "fe80::1", "link-local"},
		{"db.example", "fe80::1%eth0", "link-local"},
		{"db.example", "224.0.0.1", "multicast"},
		{"db.example", "ff02::1", "multicast"},
		{"db.example", "255.255.255.255", "multicast"},
		{"db.example", "fd00:ec2::254", "metadata"},
		{"db.example", "fd20:ce::254", "metadata"},
		{"db.example", "100.100.100.200", "metadata"},
		{"db.example", "100.100.100.201", ""},
		{"db.example", "168.63.129.16", "metadata"},
		{"db.example", "::ffff:127.0.0.1", "loopback"},
		{"db.example", "::ffff:169.254.169.254", "link-local"},
		{"db.example", "::ffff:10.0.0.1", ""},
		{"db.example", "::127.0.0.1", "loopback"},
		{"db.example", "::ffff:0:127.0.0.1", "loopback"},
		{"db.example", "64:ff9b::127.0.0.1", "loopback"},
		{"db.example", "64:ff9b::169.254.169.254", "link-local"},
		{"db.example", "64:ff9b::203.0.113.7", ""},
		{"db.example", "64:ff9b:1::169.254.169.254", "link-local"},
		{"db.example", "64:ff9b:1:7f00:0:100::", "loopback"}, // placed as RFC 6052 does for a prefix of 48 bits
		{"db.example", "64:ff9b:1:2:7f:0:100:0", "loopback"},
		{"db.example", "64:ff9b:1:abcd::10.0.0.1", ""},
		{"db.example", "2002:7f00:1::1", "loopback"},
		{"db.example", "2002:a9fe:a9fe::1", "link-local"},
		{"localhost", "127.0.0.1", ""},
		{"localhost", "::1", ""},
		{"LOCALHOST.", "127.0.0.1", ""},
		{"shop.localhost", "127.0.0.1", ""},
		{"localhost", "169.254.169.254", "link-local"},
		{"localhost.example", "127.0.0.1", "loopback"},
		{"notlocalhost", "127.0.0.1", "loopback"},
		{"127.0.0.1", "127.0.0.1", ""},
		{"127.0.0.1", "127.0.0.2", "is for 127.0.0.1"},
		{"127.0.0.1", "::ffff:127.0.0.1", ""},
		{"::1", "::1", ""},
		{"169.254.169.254", "169.254.169.254", ""},
		{"10.0.0.1", "10.0.0.2", "is for 10.0.0.1"},
		{"*.example.com", "203.0.113.7", ""},
		{"*.example.com", "2001:db8::1", ""},
		{"*.example.com", "64:ff9b::203.0.113.7", ""},
		{"*.example.com", "64:ff9b:1::203.0.113.7", ""},
		{"*.example.com", "10.1.2.3", "private"},
		{"*.example.com", "172.31.0.1", "private"},
		{"*.example.com", "172.32.0.1", ""},
		{"*.example.com", "192.168.0.1", "private"},
		{"*.example.com", "100.64.0.1", "private"},
		{"*.example.com", "fd12:3456::1", "private"},
		{"*.example.com", "fec0::1", "private"},
		{"*.example.com", "::ffff:10.0.0.1", "private"},
		{"*.example.com", "::10.0.0.1", "private"},
		{"*.example.com", "64:ff9b::10.0.0.1", "private"},
		{"*.example.com", "64:ff9b:1:a00:0:100::", "private"},
		{"*.example.com", "2002:a00:1::1", "private"},
		{"*.example.com", "127.0.0.1", "loopback"},
		{"*.example.com", "::1", "loopback"},
		{"*.example.com", "169.254.169.254", "link-local"},
		{"*.example.com", "fd00:ec2::254", "metadata"},
		{"*.example.com", "100.100.100.200", "metadata"},
		{"*.example.com", "0.0.0.0", "unspecified"},
		{"*.shop.localhost", "127.0.0.1", "loopback"},
		{"10.0.0.0/8", "10.255.0.1", ""},
		{"10.0.0.0/8", "::ffff:10.0.0.1", ""},
		{"10.0.0.0/8", "11.0.0.1", "is not in it"},
		{"10.0.0.0/8", "64:ff9b::10.0.0.1", "is not in it"},
		{"10.0.0.0/8", "::10.0.0.1", "is not in it"},
		{"10.0.0.0/8", "127.0.0.1", "is not in it"},
		{"10.2.0.0/16", "10.2.0.1", ""},
		{"8.0.0.0/6", "10.0.0.1", "lies within 10.0.0.0/8"},
		{"8.0.0.0/6", "11.0.0.1", ""},
		{"0.0.0.0/0", "203.0.113.7", ""},
		{"0.0.0.0/0", "192.168.0.1", "private"},
		{"0.0.0.0/0", "127.0.0.1", "loopback"},
		{"0.0.0.0/0", "169.254.169.254", "link-local"},
		{"0.0.0.0/0", "2001:db8::1", "is not in it"},
		{"::/0", "127.0.0.1", "is not in it"},
		{"::/0", "::ffff:127.0.0.1", "is not in it"},
		{"::/0", "::1", "loopback"},
		{"::/0", "64:ff9b::127.0.0.1", "loopback"},
		{"::/0", "2002:a00:1::1", "private"},
		{"::/0", "2001:db8::1", ""},
		{"2001:db8::/32", "2001:db8:1::1%eth0", ""},
		{"64:ff9b::/96", "64:ff9b::169.254.169.254", "link-local"},
		{"100.64.0.0/10", "100.64.0.1", ""},
		{"100.64.0.0/10", "100.100.100.200", "metadata"},
		{"127.0.0.0/8", "127.0.0.1", ""},
		{"169.254.169.0/24", "169.254.169.254", ""}, // who writes that means it
		{"fe80::/64", "fe80::1%eth0", ""},
	} {
		err := Address{Scheme: tcp, Host: c.host, Port: 1}.Reaches(netip.MustParseAddr(c.ip))
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s at %s: %v", c.host, c.ip, err)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s at %s is not refused as %s: %v", c.host, c.ip, c.refused, err)
		}
	}
}
