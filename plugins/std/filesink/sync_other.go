// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package filesink

import "os"

// datasync makes the bytes of f durable.
func datasync(f *os.File) error { return f.Sync() }
