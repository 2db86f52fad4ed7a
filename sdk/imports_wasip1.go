// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"time"
	"unsafe"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

//go:wasmimport penstock emit
//go:noescape
func importEmit(ptr unsafe.Pointer, n uint32) int64

//go:wasmimport penstock cursor
//go:noescape
func importCursor(key unsafe.Pointer, klen uint32, val unsafe.Pointer, vlen uint32) int32

//go:wasmimport penstock result
//go:noescape
func importResult(index, code int32, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport penstock fail
//go:noescape
func importFail(code, delayMs int32, path unsafe.Pointer, plen uint32, msg unsafe.Pointer, mlen uint32) int32

//go:wasmimport penstock position
func importPosition(incarnation, first, next int64) int32

//go:wasmimport penstock log
//go:noescape
func importLog(level int32, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport penstock metric
//go:noescape
func importMetric(kind int32, name unsafe.Pointer, n uint32, value float64) int32

//go:wasmimport penstock now
func importNow() int64

//go:wasmimport penstock sleep
func importSleep(ms int32) int32

//go:wasmimport penstock http_send
//go:noescape
func importHTTPSend(name unsafe.Pointer, nlen uint32, ptr unsafe.Pointer, n uint32, timeoutMs int32) int32

//go:wasmimport penstock http_status
func importHTTPStatus(id, timeoutMs int32) int32

//go:wasmimport penstock http_head
//go:noescape
func importHTTPHead(id int32, ptr unsafe.Pointer, room uint32) int32

//go:wasmimport penstock http_read
//go:noescape
func importHTTPRead(id int32, ptr unsafe.Pointer, room uint32, timeoutMs int32) int32

//go:wasmimport penstock http_close
func importHTTPClose(id int32) int32

//go:wasmimport penstock http_next
//go:noescape
func importHTTPNext(ptr unsafe.Pointer, room uint32, timeoutMs int32) int32

//go:wasmimport penstock http_reply
//go:noescape
func importHTTPReply(id, status int32, ptr unsafe.Pointer, n uint32, after int64) int32

//go:wasmimport penstock secret
//go:noescape
func importSecret(name unsafe.Pointer, nlen uint32, ptr unsafe.Pointer, room uint32) int32

//go:wasmimport penstock net_open
//go:noescape
func importNetOpen(name unsafe.Pointer, nlen uint32, timeoutMs int32) int32

//go:wasmimport penstock net_accept
func importNetAccept(fd, timeoutMs int32) int32

//go:wasmimport penstock net_read
//go:noescape
func importNetRead(fd int32, ptr unsafe.Pointer, room uint32, timeoutMs int32) int32

//go:wasmimport penstock net_write
//go:noescape
func importNetWrite(fd int32, ptr unsafe.Pointer, n uint32, timeoutMs int32, after int64) int32

//go:wasmimport penstock net_recvfrom
//go:noescape
func importNetRecvFrom(fd int32, ptr unsafe.Pointer, room uint32, addr unsafe.Pointer, aroom uint32, timeoutMs int32) int64

//go:wasmimport penstock net_shutdown
func importNetShutdown(fd int32) int32

//go:wasmimport penstock net_close
func importNetClose(fd int32) int32

//go:wasmimport penstock net_pass
//go:noescape
func importNetPass(fd int32, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport penstock net_info
//go:noescape
func importNetInfo(fd int32, ptr unsafe.Pointer, room uint32) int32

//go:wasmimport penstock net_wait
//go:noescape
func importNetWait(out unsafe.Pointer, room uint32, timeoutMs int32) int32

var imports = Host{
	Emit: func(b []byte) int64 { return importEmit(bytesPtr(b), uint32(len(b))) },
	Cursor: func(key string, value []byte) abi.Code {
		return abi.Code(importCursor(stringPtr(key), uint32(len(key)), bytesPtr(value), uint32(len(value))))
	},
	Result: func(index int, code abi.Code, reason string) abi.Code {
		return abi.Code(importResult(int32(index), int32(code), stringPtr(reason), uint32(len(reason))))
	},
	Fail: func(code abi.Code, delay time.Duration, path, msg string) {
		importFail(int32(code), millis(delay), stringPtr(path), uint32(len(path)), stringPtr(msg), uint32(len(msg)))
	},
	Position: func(incarnation uint64, r event.Range) abi.Code {
		return abi.Code(importPosition(int64(incarnation), int64(r.First), int64(r.Next)))
	},
	Log: func(level int, text []byte) { importLog(int32(level), bytesPtr(text), uint32(len(text))) },
	Metric: func(kind int, name string, value float64) {
		importMetric(int32(kind), stringPtr(name), uint32(len(name)), value)
	},
	Now:   func() int64 { return importNow() },
	Sleep: func(d time.Duration) abi.Code { return abi.Code(importSleep(millis(d))) },

	HTTPSend: func(handle string, request []byte, timeout time.Duration) abi.Code {
		return abi.Code(importHTTPSend(stringPtr(handle), uint32(len(handle)), bytesPtr(request), uint32(len(request)), waitMillis(timeout)))
	},
	HTTPStatus: func(id int32, wait time.Duration) abi.Code { return abi.Code(importHTTPStatus(id, waitMillis(wait))) },
	HTTPHead: func(id int32, into []byte) abi.Code {
		return abi.Code(importHTTPHead(id, bytesPtr(into), uint32(len(into))))
	},
	HTTPRead: func(id int32, into []byte, wait time.Duration) abi.Code {
		return abi.Code(importHTTPRead(id, bytesPtr(into), uint32(len(into)), waitMillis(wait)))
	},
	HTTPClose: func(id int32) abi.Code { return abi.Code(importHTTPClose(id)) },
	HTTPNext: func(into []byte, wait time.Duration) abi.Code {
		return abi.Code(importHTTPNext(bytesPtr(into), uint32(len(into)), waitMillis(wait)))
	},
	HTTPReply: func(id int32, status int, answer []byte, after int64) abi.Code {
		return abi.Code(importHTTPReply(id, int32(status), bytesPtr(answer), uint32(len(answer)), after))
	},
	Secret: func(handle string, into []byte) abi.Code {
		return abi.Code(importSecret(stringPtr(handle), uint32(len(handle)), bytesPtr(into), uint32(len(into))))
	},
	NetOpen: func(handle string, wait time.Duration) abi.Code {
		return abi.Code(importNetOpen(stringPtr(handle), uint32(len(handle)), waitMillis(wait)))
	},
	NetAccept: func(fd int32, wait time.Duration) abi.Code { return abi.Code(importNetAccept(fd, waitMillis(wait))) },
	NetRead: func(fd int32, into []byte, wait time.Duration) abi.Code {
		return abi.Code(importNetRead(fd, bytesPtr(into), uint32(len(into)), waitMillis(wait)))
	},
	NetWrite: func(fd int32, data []byte, wait time.Duration, after int64) abi.Code {
		return abi.Code(importNetWrite(fd, bytesPtr(data), uint32(len(data)), waitMillis(wait), after))
	},
	NetReceive: func(fd int32, into, from []byte, wait time.Duration) int64 {
		return importNetRecvFrom(fd, bytesPtr(into), uint32(len(into)), bytesPtr(from), uint32(len(from)), waitMillis(wait))
	},
	NetShutdown: func(fd int32) abi.Code { return abi.Code(importNetShutdown(fd)) },
	NetClose:    func(fd int32) abi.Code { return abi.Code(importNetClose(fd)) },
	NetPass: func(fd int32, rest []byte) abi.Code {
		return abi.Code(importNetPass(fd, bytesPtr(rest), uint32(len(rest))))
	},
	NetInfo: func(fd int32, into []byte) abi.Code {
		return abi.Code(importNetInfo(fd, bytesPtr(into), uint32(len(into))))
	},
	NetWait: func(ready []int32, wait time.Duration) abi.Code {
		return abi.Code(importNetWait(unsafe.Pointer(unsafe.SliceData(ready)), uint32(len(ready)), waitMillis(wait)))
	},
}

// waitMillis is millis of a wait that has no end when it is below 0.
func waitMillis(d time.Duration) int32 {
	if d < 0 {
		return -1
	}
	return millis(d)
}

// millis rounds up, so that a short wait is not none, and stays in an i32.
func millis(d time.Duration) int32 {
	const most = 1<<31 - 1
	return int32(min(max(0, (d+time.Millisecond-1)/time.Millisecond), most))
}

func bytesPtr(b []byte) unsafe.Pointer  { return unsafe.Pointer(unsafe.SliceData(b)) }
func stringPtr(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }
