// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerAllowed asks the kernel who is at the other end.
func peerAllowed(conn net.Conn) (bool, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return false, fmt.Errorf("not a unix connection: %T", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("look at the peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return false, fmt.Errorf("look at the peer: %w", err)
	}
	if credErr != nil {
		return false, fmt.Errorf("look at the peer: %w", credErr)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return false, fmt.Errorf("process %d runs as user %d", cred.Pid, cred.Uid)
	}
	return true, nil
}
