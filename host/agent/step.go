// SPDX-License-Identifier: Apache-2.0

//go:build unix

package agent

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Steps are the steps of delivery that tests tell apart, in the order in which [StepFile] numbers them, from 1.
var Steps = []string{"put", "fsync", "roll", "state", "position", "unlink", "dirsync", "take", "write", "commit"}

// StepFile returns a func for Options.Step that keeps the number of the present step in the first eight
// bytes of a file. The page outlives the process however it ends, so a test that kills it knows
// in which step it died. The file is made if need be; the mapping is never undone.
func StepFile(path string) (func(name string), error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the step file: %w", err)
	}
	defer f.Close()
	if err := f.Truncate(int64(os.Getpagesize())); err != nil {
		return nil, fmt.Errorf("size the step file: %w", err)
	}
	page, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the step file: %w", err)
	}
	number := make(map[string]uint64, len(Steps))
	for i, s := range Steps {
		number[s] = uint64(i + 1)
	}
	word := (*uint64)(unsafe.Pointer(&page[0]))
	return func(name string) { atomic.StoreUint64(word, number[name]) }, nil
}

// ReadStep names the step in a step file, or "" before the first.
func ReadStep(page []byte) string {
	n := binary.NativeEndian.Uint64(page)
	if n == 0 || n > uint64(len(Steps)) {
		return ""
	}
	return Steps[n-1]
}
