// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// GoodDir is where the files of the last configuration that has proved good lie below a data directory, as they were then.
func GoodDir(dataDir string) string { return filepath.Join(dataDir, "last-good") }

// keepGood writes the files down that run now, for people to go back to. An agent does not read them. Where it cannot, it says so and goes on.
func (a *Agent) keepGood(s Setup) {
	if s.Sources == nil {
		return
	}
	if err := writeGood(GoodDir(a.dir), s); err != nil {
		a.opts.Log.Warn("the pipeline files that run now cannot be kept beside the data", "error", err)
	}
}

// writeGood puts a directory in the place of the one before: whenever the process ends, one of the two is whole.
func writeGood(dir string, s Setup) error {
	next, last := dir+".new", dir+".old"
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		if err := os.Rename(last, dir); err != nil && !errors.Is(err, os.ErrNotExist) { // a process ended between the two renames below
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(next), os.RemoveAll(last), os.MkdirAll(next, 0o700)); err != nil {
		return fmt.Errorf("make room for the last good configuration: %w", err)
	}
	for _, name := range s.Sources.Names() {
		if err := os.WriteFile(filepath.Join(next, filepath.Base(name)), s.Sources.Bytes(name), 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(next, "REVISION"), []byte(s.Config.Revision+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(dir, last); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(os.Rename(next, dir), os.RemoveAll(last))
}
