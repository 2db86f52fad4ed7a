// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestADirectoryThatIsGoneForAWhileIsWatchedAgain(t *testing.T) {
	t.Parallel()
	w := watching(t, "conf/a.hcl", nil, func(dir string) {
		if err := os.Mkdir(filepath.Join(dir, "conf"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "conf", "a.hcl"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	w.must(os.RemoveAll(filepath.Join(w.dir, "conf")))
	w.changes("a directory that goes")
	w.must(os.Mkdir(filepath.Join(w.dir, "conf"), 0o700))
	w.write("conf/a.hcl", "2")
	select {
	case <-w.seen:
	case <-time.After(lookEvery + soon): // nothing above it is watched
		w.Fatal("a directory that comes back is not seen")
	}
	w.write("conf/a.hcl", "3")
	w.changes("a write in it")
}
