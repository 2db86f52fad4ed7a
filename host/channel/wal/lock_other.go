// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package wal

import (
	"errors"
	"os"
)

func lock(string) (*os.File, error) {
	return nil, errors.New("durable channels need a unix system: this one has no flock")
}

func inUse(string) (string, error) { return "", nil }
