// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package wasm

import "time"

// threadTime is the time of day, where the system does not say how much a thread has had.
func threadTime() time.Duration { return time.Duration(time.Now().UnixNano()) }
