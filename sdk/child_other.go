// SPDX-License-Identifier: Apache-2.0

//go:build !unix && !wasip1

package sdk

import "os"

func terminations() <-chan os.Signal { return nil }

func endGroup() { os.Exit(1) }
