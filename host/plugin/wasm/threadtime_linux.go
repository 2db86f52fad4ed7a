// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"time"

	"golang.org/x/sys/unix"
)

// threadTime is how much processor time this thread has had.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return time.Duration(time.Now().UnixNano()) // the time of day bounds it anyway
	}
	return time.Duration(t.Nano())
}
