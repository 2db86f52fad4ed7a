// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package wal

import "errors"

func diskOf(string) (disk, error) { return disk{}, errors.ErrUnsupported }
