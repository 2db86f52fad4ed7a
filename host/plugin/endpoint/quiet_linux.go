// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// quiet is for how long nothing came or went over a TCP connection, as the system knows it: whoever has the connection need not tell.
// While something waits to be read it is not quiet, since then it is our reader who is slow. 0: it cannot be told.
func quiet(c syscall.Conn) (d time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		if unread, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ); err != nil || unread > 0 {
			return
		}
		d = time.Duration(min(info.Last_data_recv, info.Last_data_sent)) * time.Millisecond
	})
	return d
}
