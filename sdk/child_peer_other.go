// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !wasip1

package sdk

import "net"

// onlyParent is of Linux: elsewhere the directory of the socket alone keeps others out.
type onlyParent struct {
	net.Listener
	parent int
}
