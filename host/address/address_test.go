// SPDX-License-Identifier: Apache-2.0

package address

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/abi"
)

func TestAddressesAreComparedInOneForm(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{abi.NeedDial, "db:5432", "tcp://db:5432"},
		{abi.NeedDial, "tcp://DB.Internal.:05432", "tcp://db.internal:5432"},
		{abi.NeedDial, "tls://[0:0::1]:1", "tls://[::1]:1"},
		{abi.NeedDial, "unixgram:///run//x/../y.sock", "unixgram:///run/y.sock"},
		{abi.NeedListen, "udp://*:514", "udp://:514"},
		{abi.NeedListen, ":0", "tcp://:0"},
		{abi.NeedServe, "tls://0.0.0.0:443", "tls://0.0.0.0:443"},
		{abi.NeedHTTP, "https://API.internal:443", "https://api.internal"},
		{abi.NeedHTTP, "http://api.internal:80/a/./b/../c/", "http://api.internal/a/c"},
		{abi.NeedHTTP, "http://[::1]:8080/%2f/x", "http://[::1]:8080/%2f/x"},
	} {
		a, err := Parse(c.kind, c.text)
		if err != nil || a.String() != c.want {
			t.Errorf("%s %s is %s, want %s (%v)", c.kind, c.text, a, c.want, err)
			continue
		}
		if again, err := Parse(c.kind, a.String()); err != nil || again != a {
			t.Errorf("%s reads back as %s (%v)", a, again, err)
		}
	}
}

func TestAGrantCoversTheSameAddressAndWhatIsBelowAURL(t *testing.T) {
	for _, c := range []struct {
		kind, have, want string
		covers           bool
	}{
		{abi.NeedDial, "db:1", "tcp://DB:1", true},
		{abi.NeedDial, "db:1", "db:2", false},
		{abi.NeedDial, "db:1", "tls://db:1", false},
		{abi.NeedDial, "db:1", "db.internal:1", false},
		{abi.NeedDial, "unix:///run/a", "unix:///run/a/b", false},
		{abi.NeedListen, ":1", "0.0.0.0:1", false},
		{abi.NeedHTTP, "https://a/in", "https://a/in", true},
		{abi.NeedHTTP, "https://a/in", "https://a/in/deep", true},
		{abi.NeedHTTP, "https://a/in/", "https://a/in", true},
		{abi.NeedHTTP, "https://a/in", "https://a/inner", false},
		{abi.NeedHTTP, "https://a/in", "https://a/in/../out", false},
		{abi.NeedHTTP, "https://a/in", "https://a/", false},
		{abi.NeedHTTP, "https://a", "http://a", false},
		{abi.NeedHTTP, "https://a", "https://a:444/", false},
		{abi.NeedHTTP, "https://*.example.com/in", "https://API.example.com/in/deep", true},
		{abi.NeedHTTP, "https://*.example.com/in", "https://api.example.com/out", false},
		{abi.NeedHTTP, "https://*.example.com/in", "https://example.com/in", false},
		{abi.NeedDial, "*.Example.com.:443", "DB.example.COM.:443", true},
		{abi.NeedDial, "*.example.com:443", "a.b.example.com:443", false},
		{abi.NeedDial, "*.example.com:443", "example.com:443", false},
		{abi.NeedDial, "*.example.com:443", "dbexample.com:443", false},
		{abi.NeedDial, "*.example.com:443", "db.example.com.evil.net:443", false},
		{abi.NeedDial, "*.example.com:443", "db.example.com:444", false},
		{abi.NeedDial, "*.example.com:443", "tls://db.example.com:443", false},
		{abi.NeedDial, "*.example.com:443", "udp://db.example.com:443", false},
		{abi.NeedDial, "*.example.com:443", "203.0.113.1:443", false},
		{abi.NeedDial, "*.0.113.1:443", "203.0.113.1:443", false},
		{abi.NeedDial, "10.0.0.0/8:5432", "10.1.2.3:5432", true},
		{abi.NeedDial, "10.0.0.0/8:5432", "[::ffff:10.1.2.3]:5432", true},
		{abi.NeedDial, "10.0.0.0/8:5432", "11.0.0.1:5432", false},
		{abi.NeedDial, "10.0.0.0/8:5432", "10.1.2.3:5433", false},
		{abi.NeedDial, "10.0.0.0/8:5432", "db.internal:5432", true}, // as far as it resolves to addresses within
		{abi.NeedDial, "10.0.0.0/8:5432", "[2001:db8::1]:5432", false},
		{abi.NeedDial, "10.0.0.0/8:5432", "unix:///run/x", false},
		{abi.NeedDial, "0.0.0.0/0:80", "127.0.0.1:80", false},
		{abi.NeedDial, "0.0.0.0/0:80", "169.254.169.254:80", false},
		{abi.NeedDial, "0.0.0.0/0:80", "10.0.0.1:80", false},
		{abi.NeedDial, "0.0.0.0/0:80", "203.0.113.1:80", true},
		{abi.NeedDial, "tls://[2001:db8::/32]:443", "tls://[2001:DB8:0::1]:443", true},
		{abi.NeedDial, "tls://[2001:db8::/32]:443", "tls://[2001:db9::1]:443", false},
	} {
		have, err1 := ParseGrant(c.kind, c.have)
		want, err2 := Parse(c.kind, c.want)
		if err1 != nil || err2 != nil || have.Covers(want) != c.covers {
			t.Errorf("%s covers %s: %v (%v, %v)", c.have, c.want, have.Covers(want), err1, err2)
		}
	}
}

func TestOnlyAGrantHasAPattern(t *testing.T) {
	for _, kind := range []string{abi.NeedDial, abi.NeedListen, abi.NeedServe} {
		for _, text := range []string{"*.example.com:1", "10.0.0.0/8:1", "[fd00::/8]:1"} {
			if a, err := Parse(kind, text); err == nil {
				t.Errorf("a need for %s %s is %s", kind, text, a)
			}
			if a, err := ParseGrant(kind, text); (err == nil) != (kind == abi.NeedDial) {
				t.Errorf("a grant for %s %s is %s (%v)", kind, text, a, err)
			}
		}
	}
	if a, err := Parse(abi.NeedHTTP, "https://*.example.com/"); err == nil {
		t.Errorf("a need for http is %s", a)
	}
}

func TestPatternsAreReadAsTheyAreMeantOrRefused(t *testing.T) {
	for _, c := range []struct{ kind, in, out string }{
		{abi.NeedDial, "*.Example.COM.:443", "tcp://*.example.com:443"},
		{abi.NeedDial, "tls://*.db.internal:5432", "tls://*.db.internal:5432"},
		{abi.NeedDial, "10.0.0.0/8:5432", "tcp://10.0.0.0/8:5432"},
		{abi.NeedDial, "udp://[2001:DB8::/32]:514", "udp://[2001:db8::/32]:514"},
		{abi.NeedDial, "10.1.2.3/32:1", "tcp://10.1.2.3/32:1"},
		{abi.NeedHTTP, "https://*.example.com/in/", "https://*.example.com/in"},
		{abi.NeedDial, "*.com:443", "!too much"},
		{abi.NeedDial, "*.localhost:443", "!too much"},
		{abi.NeedDial, "*:443", "!has no host"},
		{abi.NeedDial, "*.*.example.com:443", "!whole of the first part"},
		{abi.NeedDial, "db*.example.com:443", "!whole of the first part"},
		{abi.NeedDial, "db.*.com:443", "!whole of the first part"},
		{abi.NeedDial, "**.example.com:443", "!whole of the first part"},
		{abi.NeedDial, "*..com:443", "!is a name"},
		{abi.NeedDial, "*.exa mple.com:443", "!is a name"},
		{abi.NeedDial, "*.a..b:443", "!is a name"},
		{abi.NeedDial, ".example.com:443", "!neither a name"},
		{abi.NeedDial, ".:443", "!neither a name"},                  // it would be nothing, which is this machine
		{abi.NeedDial, "\u212a.example.com:443", "!neither a name"}, // whose lower case is a k
		{abi.NeedDial, "10.0.0.1/8:1", "!begins at 10.0.0.0/8"},
		{abi.NeedDial, "10.0.0.0/33:1", "!no range"},
		{abi.NeedDial, "10.0.0/8:1", "!no range"},
		{abi.NeedDial, "db.internal/8:1", "!no range"},
		{abi.NeedDial, "[fe80::%eth0/64]:1", "!no range"},
		{abi.NeedDial, "[::ffff:10.0.0.0/104]:1", "!of IPv4"},
		{abi.NeedDial, "2001:db8::/32:1", "!no host and port"},
		{abi.NeedDial, "*.example.com:*", "!a port is a number"},
		{abi.NeedHTTP, "https://10.0.0.0%2f8/", "!no URL"},
		{abi.NeedHTTP, "https://host/a/%2e%2e/b", "!hidden"},
		{abi.NeedHTTP, "https://host/a/..;x/b", "!hidden"},
		{abi.NeedHTTP, "https://host/a/../b", "https://host/b"},
		{abi.NeedHTTP, "https://host/?", "!query"},
		{abi.NeedHTTP, "https://u:secret@host/", "!as a secret"},
	} {
		a, err := ParseGrant(c.kind, c.in)
		want, fails := strings.CutPrefix(c.out, "!")
		switch {
		case fails && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@")):
			t.Errorf("%q: %v, want an error with %q", c.in, err, want)
		case !fails && (err != nil || a.String() != want):
			t.Errorf("%q is %q, %v", c.in, a, err)
		}
		if again, err := ParseGrant(c.kind, a.String()); !fails && (err != nil || again != a) {
			t.Errorf("%s reads back as %s (%v)", a, again, err)
		}
	}
}

// FuzzAddress looks that what is read is written as it is read again, and that a grant covers itself, unless it is no address but several.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"tcp://db:5432", "*.example.com:443", "10.0.0.0/8:1", "tls://[::1]:1", "https://a/b/%2f", "unix:///run/x", "udp://:0", "[fe80::1%25a]:1", ".:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, kind := range []string{abi.NeedDial, abi.NeedListen, abi.NeedServe, abi.NeedHTTP} {
			a, err := ParseGrant(kind, text)
			if err != nil {
				continue
			}
			if again, err := ParseGrant(kind, a.String()); err != nil || again != a {
				t.Errorf("%s %q is %s, which reads back as %s (%v)", kind, text, a, again, err)
			}
			if _, err := Parse(kind, text); (err != nil) != a.Pattern() {
				t.Errorf("%s %q: a need says %v, and the grant that it is a pattern: %v", kind, text, err, a.Pattern())
			}
			if !a.Covers(a) && !a.Pattern() {
				t.Errorf("%s does not cover itself", a)
			}
		}
	})
}
