// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package subprocess

func isolationMain(string) int { return 1 }
