// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestWhatIsDialledIsWhatWasChecked(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{})
	port := l.Grant().Addr.(*net.TCPAddr).Port
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if err := dialled(t, fmt.Sprintf("%s:%d", host, port)); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	connect := DialContext(address.Address{Scheme: "tcp", Host: "example.test", Port: 1}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, at := range []string{"127.0.0.1:80", "localhost:80", "[::1]:80", "203.0.113.1:80"} {
		if _, err := connect(ctx, "tcp", at); !errors.Is(err, plugin.ErrForbidden) {
			t.Errorf("%s within the grant for example.test: %v", at, err)
		}
	}
	for _, a := range []address.Address{{Scheme: "tcp", Host: "h"}, {Scheme: "tcp", Port: 1}} {
		if _, err := Dial(a, DialOptions{}); err == nil {
			t.Errorf("%s can be dialled", a)
		}
	}
}

// dialled dials what the grants cover, and hangs up.
func dialled(t *testing.T, at string, grants ...string) error {
	t.Helper()
	a, err := address.Parse(abi.NeedDial, at)
	if err != nil {
		t.Fatal(err)
	}
	var within []address.Address
	for _, text := range grants {
		g, err := address.ParseGrant(abi.NeedDial, text)
		if err != nil || !g.Covers(a) {
			t.Fatalf("%s covers not %s: %v", text, at, err)
		}
		within = append(within, g)
	}
	dialer, err := Dial(a, DialOptions{Within: within, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c, err := dialer(t.Context())
	if err != nil {
		return err
	}
	return c.Close()
}

// TestANameIsCheckedEachTimeItResolves has a name server that answers something else each time, as one of an attacker does.
func TestANameIsCheckedEachTimeItResolves(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenOptions{})
	port := l.Grant().Addr.(*net.TCPAddr).Port
	var answers atomic.Pointer[[]netip.Addr]
	resolveAs(t, &answers)
	at := fmt.Sprintf("db.shop.test:%d", port)
	wildcard, loopback, other := fmt.Sprintf("*.shop.test:%d", port), fmt.Sprintf("127.0.0.0/8:%d", port), fmt.Sprintf("10.0.0.0/8:%d", port)
	for _, c := range []struct {
		resolves string
		grants   []string
		forbid   bool
	}{
		{"127.0.0.1", []string{loopback}, false},
		{"127.0.0.1", nil, true},
		{"127.0.0.1", []string{wildcard}, true},
		{"127.0.0.1", []string{other}, true},
		{"127.0.0.1", []string{other, loopback}, false},
		{"10.0.0.1", []string{loopback}, true},
		{"10.0.0.1", []string{wildcard}, true},
		{"::ffff:127.0.0.1", []string{wildcard}, true},
		{"::ffff:10.0.0.1", []string{wildcard}, true},
		{"::1", []string{wildcard}, true},
		{"::1", []string{loopback}, true},
		{"fd00:ec2::254", []string{wildcard}, true},
		{"64:ff9b::a00:1", []string{wildcard}, true},
		{"10.0.0.1 127.0.0.1", []string{loopback}, false}, // what is not within is not tried
		{"127.0.0.1", []string{loopback}, false},          // and again, as at first
	} {
		var list []netip.Addr
		for _, each := range strings.Fields(c.resolves) {
			list = append(list, netip.MustParseAddr(each))
		}
		answers.Store(&list)
		err := dialled(t, at, c.grants...)
		if c.forbid != errors.Is(err, plugin.ErrForbidden) || !c.forbid && err != nil {
			t.Errorf("%s, granted %v: %v", c.resolves, c.grants, err)
		}
	}
}

// resolveAs makes every name resolve to what answers says, as long as the test runs.
func resolveAs(t *testing.T, answers *atomic.Pointer[[]netip.Addr]) {
	before := net.DefaultResolver
	t.Cleanup(func() { net.DefaultResolver = before })
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for answerDNS(server, *answers.Load()) == nil {
			}
		}()
		return client, nil
	}}
}

// answerDNS answers one query of a resolver that takes the connection for one of TCP (RFC 1035, 4.2.2).
func answerDNS(c net.Conn, addresses []netip.Addr) error {
	var length [2]byte
	if _, err := io.ReadFull(c, length[:]); err != nil {
		return err
	}
	query := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(c, query); err != nil {
		return err
	}
	end := 12 // the question: a name, its type, its class
	for query[end] != 0 {
		end += 1 + int(query[end])
	}
	end += 5
	asked := binary.BigEndian.Uint16(query[end-4:])
	reply := append([]byte(nil), query[:end]...)
	reply[2], reply[3] = 0x81, 0x80 // an answer, recursive
	copy(reply[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
	for _, a := range addresses {
		const v4, v6 = 1, 28
		if a.Is4() != (asked == v4) || asked != v4 && asked != v6 {
			continue
		}
		reply[7]++
		reply = append(reply, 0xc0, 12, byte(asked>>8), byte(asked), 0, 1, 0, 0, 0, 0) // the name of the question; class; for no time at all
		reply = binary.BigEndian.AppendUint16(reply, uint16(len(a.AsSlice())))
		reply = append(reply, a.AsSlice()...)
	}
	binary.BigEndian.PutUint16(length[:], uint16(len(reply)))
	_, err := c.Write(append(length[:], reply...))
	return err
}
