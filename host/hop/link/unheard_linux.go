// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// endUnheard has the system end a connection when nothing of what was sent is acknowledged for so long.
func endUnheard(c *net.TCPConn, long time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it has ended
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(long.Milliseconds())) // without it, it takes askAfter and askWithin
	})
}
