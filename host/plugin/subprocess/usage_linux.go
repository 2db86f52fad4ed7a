// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// usage is what a child takes.
type usage struct {
	memory uint64        // resident, in bytes
	cpu    time.Duration // of all its threads, since it was started
}

// clockTick is the unit in which the kernel tells processor time, whatever its own is: USER_HZ is 100 on all that Go runs on.
const clockTick = time.Second / 100

// usageOf reads what a process takes, or false when it is over.
func usageOf(pid int) (u usage, ok bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return u, false
	}
	const utime, stime, rss = 11, 12, 21 // of the fields behind the name, which may hold anything
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= rss {
		return u, false
	}
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(string(fields[i]), 10, 64)
		return n
	}
	u.cpu = time.Duration(number(utime)+number(stime)) * clockTick
	u.memory = number(rss) * uint64(os.Getpagesize())
	return u, true
}
