// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"io"
	"os/exec"
	"sync"
	"testing"
)

// A child that is forked while a copy is written has it open for writing until it is another program: meanwhile nobody can run the copy.
func TestACopyCanBeRunThoughOthersAreStarted(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := digestOf(program, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = exec.CommandContext(t.Context(), program).Run()
				}
			}
		})
	}
	c := copies{dir: t.TempDir()}
	for range 60 {
		private, err := c.take(program, digest)
		if err == nil {
			err = exec.CommandContext(t.Context(), private).Run()
		}
		if err != nil {
			t.Error(err)
			break
		}
		if err := c.give(private); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	others.Wait()
}
