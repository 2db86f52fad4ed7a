// SPDX-License-Identifier: Apache-2.0

//go:build unix

package agent

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Steps are the steps of delivery that tests tell apart.
var Steps = []string{"put", "fsync", "roll", "state", "position", "unlink", "dirsync", "repair", "take", "write", "dead", "commit", "move", "remove", "rename"}

// lingering is longer than it takes another agent on this machine to act on an answer.
const lingering = 20 * time.Millisecond

// KillAt returns a func for Options.Step that ends the process, as `kill -9` does, just before the n-th time
// that a step is made. when is "STEP:N", such as "fsync:17". It is for tests: nothing else hits a step so surely. Before a put or a flush everything else goes on for lingering,
// so that an answer which should have come after it, and does not, is heard.
func KillAt(when string) (func(name string), error) {
	step, number, _ := strings.Cut(when, ":")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || !slices.Contains(Steps, step) {
		return nil, fmt.Errorf("kill at %q: want one of %s, a colon and a number from 1", when, strings.Join(Steps, ", "))
	}
	var left atomic.Int64
	left.Store(n)
	return func(name string) {
		if name == step && left.Add(-1) == 0 {
			if step == "put" || step == "fsync" {
				time.Sleep(lingering)
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				panic("kill: " + err.Error())
			}
			select {} // the signal is on its way
		}
	}, nil
}
