// SPDX-License-Identifier: Apache-2.0

// Package addresstest finds addresses for tests.
//
// Invariant: a port of it is given to nobody who connects. One that the system chose for a listener that has ended is among those that it also chooses for connections:
// whoever begins to listen there again, such as an agent that was killed, now and then finds it taken.
package addresstest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

const (
	// first and end bound the ports: above those that services have, below those for connections (Linux: from 32768, others: from 49152).
	first, end = 10_000, 32_000
	// most is how many ports are tried.
	most = 1000
)

var (
	mu    sync.Mutex
	given = map[int]bool{} // in this process
)

// FreePort is a port at which nobody listens on 127.0.0.1, another one each time. t is that of a test or of a script.
func FreePort(t interface{ Fatalf(string, ...any) }) int {
	mu.Lock()
	defer mu.Unlock()
	for range most {
		port := first + rand.IntN(end-first)
		if given[port] {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			_ = l.Close()
			given[port] = true
			return port
		}
	}
	t.Fatalf("of %d ports each is taken", most)
	return 0
}
