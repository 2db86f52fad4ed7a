// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package admin

import "net"

// peerAllowed leaves it to the mode of the socket, which only its owner can open.
func peerAllowed(net.Conn) (bool, error) { return true, nil }
