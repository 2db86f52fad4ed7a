// SPDX-License-Identifier: Apache-2.0

package addresstest

import (
	"net"
	"testing"
)

// A port that the system chooses for a connection is none of ours; see what is said of the package.
func TestAFreePortIsNoneThatConnectionsGet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours := map[int]bool{}
	for range 500 {
		ours[FreePort(t)] = true
	}
	if len(ours) != 500 {
		t.Errorf("of 500 ports %d differ", len(ours))
	}
	for port := range ours {
		if port < first || port >= end {
			t.Errorf("port %d", port)
		}
	}
	for range 500 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if port := c.LocalAddr().(*net.TCPAddr).Port; port >= first && port < end {
			t.Fatalf("a connection has the port %d", port)
		}
	}
}
