// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"net"
	"os"
	"syscall"
)

// onlyParent accepts connections of the process alone that has started this one: the directory of the socket keeps other users out, and
// this other plugins of the same user.
type onlyParent struct {
	net.Listener
	parent int
}

// Accept implements [net.Listener].
func (l onlyParent) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.sentBy(conn) {
			return conn, err
		}
		_ = conn.Close() // a stranger: there is nobody to tell
	}
}

func (l onlyParent) sentBy(conn net.Conn) bool {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return false
	}
	var peer *syscall.Ucred
	if ctlErr := raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); ctlErr != nil || err != nil {
		return false
	}
	return int(peer.Pid) == l.parent && (peer.Uid == 0 || int(peer.Uid) == os.Getuid())
}
