// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package wal

import (
	"errors"
	"os"
)

// datasync: on darwin (*os.File).Sync is F_FULLFSYNC, which is what is meant.
func datasync(f *os.File) error { return f.Sync() }

func preallocate(*os.File, int64) {}

func uncache(*os.File, int64) {}

func occupy(*os.File, int64) error { return errors.ErrUnsupported }
