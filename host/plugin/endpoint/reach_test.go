// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
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
	} {
		err := reach(c.host, netip.MustParseAddr(c.ip))
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%s at %s: %v", c.host, c.ip, err)
		case c.refused != "" && (!errors.Is(err, plugin.ErrForbidden) || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%s at %s is not refused as %s: %v", c.host, c.ip, c.refused, err)
		}
	}
}

func TestAddressesAreRead(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"tcp://h:1", "tcp://h:1"},
		{"h:1", "tcp://h:1"},
		{":514", "tcp://:514"},
		{"tcp://*:514", "tcp://:514"},
		{"udp://0.0.0.0:0", "udp://0.0.0.0:0"},
		{"tls://[::1]:6514", "tls://[::1]:6514"},
		{"unix:///run/../run/x.sock", "unix:///run/x.sock"},
		{"unixgram:///dev/log", "unixgram:///dev/log"},
		{"h", "!missing port"},
		{"tcp://::1:514", "!brackets"},
		{"tcp://h:smtp", "!not a port"},
		{"tcp://h:65536", "!not a port"},
		{"tcp://h:-1", "!not a port"},
		{"tcp://u@h:1", "!not the name"},
		{"tcp://h/p:1", "!not the name"},
		{"unix://run/x.sock", "!absolute"},
		{"unix:///" + strings.Repeat("x", 103), "!at most 103"},
		{"http://h:1", "!none of"},
		{"", "!missing port"},
	} {
		a, err := ParseAddress(c.in)
		want, fails := strings.CutPrefix(c.out, "!")
		switch {
		case fails && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want an error with %q", c.in, err, want)
		case !fails && (err != nil || a.String() != want):
			t.Errorf("%q is %q, %v", c.in, a, err)
		}
	}
}
