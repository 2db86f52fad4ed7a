// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// ofChild says whether it is the child, or a process of its group, who is at the other end.
func ofChild(conn *net.UnixConn, child int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	if ctlErr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); ctlErr != nil {
		return ctlErr
	}
	if err != nil {
		return fmt.Errorf("ask who is at the other end: %w", err)
	}
	if pid := int(peer.Pid); pid != child {
		if group, err := unix.Getpgid(pid); err != nil || group != child {
			return fmt.Errorf("process %d is at the other end of the plugin's socket, and is none of its", pid)
		}
	}
	return nil
}
