// SPDX-License-Identifier: Apache-2.0

//go:build unix && !wasip1

package sdk

import (
	"os"
	"os/signal"
	"syscall"
)

// terminations receives what the kernel sends when the agent has died without a word.
func terminations() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGHUP)
	return c
}

// endGroup ends this process and all that it has started, at once: nobody is left to hear of what they still do.
func endGroup() {
	if syscall.Getpgrp() == os.Getpid() {
		_ = syscall.Kill(0, syscall.SIGKILL)
	}
	os.Exit(1)
}
