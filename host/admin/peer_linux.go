// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerOf asks the kernel who is at the other end.
func peerOf(conn net.Conn) (Peer, error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("not a unix connection: %T", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("look at the peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("look at the peer: %w", err)
	}
	return Peer{UID: int(cred.Uid), PID: int(cred.Pid)}, nil
}

// peerAllowed lets the agent's own user in, and root, but none of the processes that the agent has started: plugins.
func peerAllowed(conn net.Conn) (bool, error) {
	p, err := peerOf(conn)
	if err != nil {
		return false, err
	}
	if p.UID != 0 && p.UID != os.Geteuid() {
		return false, fmt.Errorf("process %d runs as user %d", p.PID, p.UID)
	}
	plugin, err := startedByAgent(p.PID)
	if err == nil && plugin {
		err = fmt.Errorf("process %d is a plugin, or one that a plugin has started", p.PID)
	}
	return err == nil, err
}
