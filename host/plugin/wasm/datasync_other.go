// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package wasm

import "os"

// datasync is a full sync where there is nothing less that holds.
func datasync(f *os.File) error { return f.Sync() }
