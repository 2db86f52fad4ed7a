// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

// maxrssShift turns the unit of Rusage.Maxrss into bytes, which it is already.
const maxrssShift = 0
