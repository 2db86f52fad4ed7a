// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Host is what a [Guest] asks of whoever runs it: the imports of the ABI as Go functions, all of
// them set. None keeps what it is handed. Authors of plugins need none of this.
type Host struct {
	Emit     func(batch []byte) int64 // the batch's number from 1, or a code
	Cursor   func(key string, value []byte) abi.Code
	Result   func(index int, code abi.Code, reason string) abi.Code
	Fail     func(code abi.Code, delay time.Duration, path, message string)
	Position func(incarnation uint64, r event.Range) abi.Code
	Log      func(level int, text []byte)
	Metric   func(kind int, name string, value float64)
	Now      func() int64
	Sleep    func(d time.Duration) abi.Code

	// Those of HTTP answer a length, a status or an id, or a code. A wait below 0 is without end.
	HTTPSend   func(handle string, request []byte, timeout time.Duration) abi.Code
	HTTPStatus func(id int32, wait time.Duration) abi.Code
	HTTPHead   func(id int32, into []byte) abi.Code
	HTTPRead   func(id int32, into []byte, wait time.Duration) abi.Code
	HTTPClose  func(id int32) abi.Code
	HTTPNext   func(into []byte, wait time.Duration) abi.Code
	HTTPReply  func(id int32, status int, answer []byte, after int64) abi.Code

	// Those of sockets answer a length or a handle, or a code. NetReceive has the length of the sender's address in its upper half.
	Secret      func(handle string, into []byte) abi.Code
	NetOpen     func(handle string, wait time.Duration) abi.Code
	NetAccept   func(fd int32, wait time.Duration) abi.Code
	NetRead     func(fd int32, into []byte, wait time.Duration) abi.Code
	NetWrite    func(fd int32, data []byte, wait time.Duration, after int64) abi.Code
	NetReceive  func(fd int32, into, from []byte, wait time.Duration) int64
	NetShutdown func(fd int32) abi.Code
	NetClose    func(fd int32) abi.Code
	NetPass     func(fd int32, rest []byte) abi.Code
	NetInfo     func(fd int32, into []byte) abi.Code
	NetWait     func(ready []int32, wait time.Duration) abi.Code
}
