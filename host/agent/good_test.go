// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/penstock-io/penstock/host/config"
)

func TestTheLastGoodFilesAreThereAfterTwoBadMoments(t *testing.T) {
	write := func(dir, name string) error {
		sources, _ := config.Parse([]byte("# good\n"), name)
		return writeGood(dir, Setup{Sources: sources, Config: &config.Config{}})
	}
	dir := filepath.Join(t.TempDir(), "last-good")
	if err := write(dir, "a.hcl"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".old"); err != nil { // a process that ended between the renames
		t.Fatal(err)
	}
	if err := write(dir, ".."); err == nil { // and one that cannot write what is next
		t.Fatal("a file in the place of a directory was written")
	}
	if _, err := os.Stat(filepath.Join(dir, "a.hcl")); err != nil {
		t.Error(err)
	}
}
