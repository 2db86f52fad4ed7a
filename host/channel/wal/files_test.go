// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"testing"
)

// TestWhatIsPublishedIsAFileOfItsOwn until it is whole: who has the one before open still reads that.
func TestWhatIsPublishedIsAFileOfItsOwn(t *testing.T) {
	files := osFiles{t.TempDir()}
	if err := files.Publish("META", []byte("old")); err != nil {
		t.Fatal(err)
	}
	old, err := files.Open("META", readFile)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	if err := files.Publish("META", []byte("new")); err != nil {
		t.Fatal(err)
	}
	was := make([]byte, 3)
	if _, err := old.ReadAt(was, 0); err != nil || string(was) != "old" {
		t.Errorf("the file before now holds %q, %v", was, err)
	}
	if now, err := readAll(files, "META", 3); err != nil || string(now) != "new" {
		t.Errorf("it holds %q, %v", now, err)
	}
}
