// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// What the calls of a client answer.
var (
	// ErrConfig: the Config of the client cannot be used.
	ErrConfig = errors.New("wrong config")
	// ErrFull: there is no room for the batch now. Nothing of it was queued.
	ErrFull = errors.New("the queue of the client is full: the receiver is slower, or cannot be reached")
	// ErrTooBig: the batch will never be taken. Send less at a time.
	ErrTooBig = errors.New("the batch is over the limit")
	// ErrOrder: the numbers of the batch are not above those that were queued before.
	ErrOrder = errors.New("numbers grow in a stream")
	// ErrClosed: the client was closed. What was not acknowledged may or may not have arrived.
	ErrClosed = errors.New("the client is closed")
)

// RefusedError is what a receiver says when it ends a stream. Of a client that has ended with it, [errors.AsType] finds it in the error of every call.
type RefusedError struct {
	Address    string
	Code       abi.Code
	Reason     hoppb.Reason
	Message    string
	RetryAfter time.Duration // not before
	Have       Position      // with Diverged: where the receiver stands
}

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("%s refuses: %s", e.Address, e.Message) }

// Diverged says that the receiver holds events of the stream that the numbering of this client does not know. To go on could lose events, or repeat
// them: open the client with the Incarnations as they are, or under another name of the stream.
func (e *RefusedError) Diverged() bool { return e.Reason == hoppb.Reason_DIVERGED }

// lasts says whether to try again is of no use. Who is not allowed may be soon, but hears of it first.
func (e *RefusedError) lasts(opening bool) bool {
	if e.Reason == hoppb.Reason_NOT_ALLOWED {
		return opening
	}
	switch e.Code {
	case abi.EINVAL, abi.ENOSYS, abi.ETOOBIG, abi.EREJECT:
		return true
	}
	return false
}

// misfitError says why this client cannot go on with a receiver that would take what it sends.
type misfitError struct{ err error }

func (e *misfitError) Error() string { return e.err.Error() }
func (e *misfitError) Unwrap() error { return e.err }

func misfit(format string, args ...any) error { return &misfitError{fmt.Errorf(format, args...)} }

// lasting says whether an error holds for good at that address.
func lasting(err error, opening bool) bool {
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return r.lasts(opening)
	}
	_, ok := errors.AsType[*misfitError](err)
	return ok
}
