// SPDX-License-Identifier: Apache-2.0

package main

// maxrssShift turns the unit of Rusage.Maxrss into bytes: KiB here.
const maxrssShift = 10
