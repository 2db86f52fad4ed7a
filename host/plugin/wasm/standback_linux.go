// SPDX-License-Identifier: Apache-2.0

package wasm

import "golang.org/x/sys/unix"

// standBackNice is the niceness of threads that compile while plugins run: those get some nine tenths of a processor that both want.
const standBackNice = 10

// standBack lowers the priority of the calling thread, for good. Where the system does not let it, it is what it was.
func standBack() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), standBackNice)
}
