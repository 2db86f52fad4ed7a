// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// What [Poll.Append] answers when an event does not go into the batch.
var (
	// ErrFull: the batch is full. Nothing was appended; return from Poll, or Flush and append again.
	ErrFull = event.ErrFull
	// ErrTooBig: the event will never fit. Split it, cut it or drop it.
	ErrTooBig = event.ErrTooBig
)

// Done is what a Poll answers when the source has finished for good.
var Done = io.EOF //nolint:errname // it reads as a result, like io.EOF

// ErrInterrupted is what a call that blocks answers when the host wants the plugin back. Return it.
var ErrInterrupted = errors.New("interrupted by the host")

// Error is an error with what the host is to do about it. Plain errors are given a code by what they
// wrap: fs.ErrNotExist is ENOENT, fs.ErrPermission is EACCES, all else is EAGAIN: try again later.
type Error struct {
	Code  abi.Code
	Delay time.Duration // for retries: not before; 0 = the host's back-off
	Path  string        // for EINVAL: the argument of the config that is wrong
	Err   error
}

// Error gives what is under it.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what is under it.
func (e *Error) Unwrap() error { return e.Err }

// Retry says: the same may work later, after delay or, if that is 0, the host's own back-off.
func Retry(err error, delay time.Duration) error {
	return &Error{Code: abi.EAGAIN, Delay: delay, Err: err}
}

// Reject says that nothing was applied and that what [Delivery.Reject] listed, or everything if it
// listed nothing, will never be taken.
func Reject(err error) error { return &Error{Code: abi.EREJECT, Err: err} }

// ConfigError says that an argument is wrong, so that the plugin cannot work. path is the argument's
// name in the config block, e.g. "multiline.pattern"; the host points at its line.
func ConfigError(path, format string, args ...any) error {
	return &Error{Code: abi.EINVAL, Path: path, Err: fmt.Errorf(format, args...)}
}

// codeOf finds the code under which err crosses the boundary.
func codeOf(err error) (code abi.Code, delay time.Duration, path string) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code, e.Delay, e.Path
	}
	switch {
	case errors.Is(err, io.EOF):
		return abi.EOF, 0, ""
	case errors.Is(err, ErrInterrupted):
		return abi.EINTR, 0, ""
	case errors.Is(err, ErrTooBig):
		return abi.ETOOBIG, 0, ""
	case errors.Is(err, fs.ErrNotExist):
		return abi.ENOENT, 0, ""
	case errors.Is(err, fs.ErrPermission):
		return abi.EACCES, 0, ""
	}
	return abi.EAGAIN, 0, ""
}

// check turns what an import answered into an error.
func check(code abi.Code, doing string) error {
	switch {
	case code >= 0:
		return nil
	case code == abi.EINTR:
		return ErrInterrupted
	}
	return &Error{Code: code, Err: fmt.Errorf("%s: the host answers %s", doing, code)}
}
