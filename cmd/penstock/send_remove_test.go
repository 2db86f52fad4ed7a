// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// Whenever a command is killed that sends a file and removes it, the file is there, and the agent knows what it has of it, or all of it has arrived.
func TestAFileThatIsSentAndRemovedArrivesOnceThroughKills(t *testing.T) {
	t.Parallel()
	p := takes(t)
	p.start()
	const files, most, count = 12, 4, 200 // kills of one file, lines in it
	file := filepath.Join(p.dir, "job.csv")
	var want []string
	kills := 0
	for n := range files {
		text := "id,value\n" // the same in all of them, as it is in files of one job
		want = append(want, "id,value")
		for i := range count {
			want = append(want, fmt.Sprintf("%d,%d", n, i))
			text += want[len(want)-1] + "\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for try := 0; ; try++ {
			send := exec.Command("penstock", "send", file, "--to", "unix://"+filepath.Join(p.dir, "hop.sock"), "--remove", "--stream", fmt.Sprint("job-", n))
			if err := send.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(time.Hour, func() { _ = send.Process.Signal(syscall.SIGKILL) })
			if try < most {
				kill.Reset(time.Duration(rand.Int64N(int64(150 * time.Millisecond))))
			}
			err := send.Wait()
			kill.Stop()
			if err != nil {
				kills++
			}
			if _, gone := os.Stat(file); errors.Is(gone, fs.ErrNotExist) {
				break
			}
			if try == most {
				t.Fatalf("file %d is there still, though nobody killed the command: %v", n, err)
			}
		}
	}
	t.Logf("%d kills, %d files", kills, files)
	p.until("all is delivered", func() bool { return len(p.lines("all.log")) >= len(want) })
	p.end(syscall.SIGTERM)
	if got := p.lines("all.log"); !slices.Equal(got, want) {
		t.Errorf("%d lines arrived, of %d", len(got), len(want))
	}
}
