// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// instance is the one Guest of this module instance.
var instance *Guest

// Main gives the module its plugins, by the names in its manifest. Call it from main, and nothing after it.
func Main(plugins map[string]Plugin) { instance = NewGuest(plugins, imports) }

// programMain is the main of the program. The Go runtime does not run it in a reactor (-buildmode=c-shared):
// the first call from the host does. The body-less declaration needs the .s file beside this one.
//
//go:linkname programMain main.main
func programMain()

var once sync.Once

// guest returns the instance, running main when nothing has yet.
func guest() *Guest {
	once.Do(programMain)
	if instance == nil {
		panic("BUG: main does not call sdk.Main")
	}
	return instance
}

//go:wasmexport penstock_abi_1
func exportMarker() {}

//go:wasmexport penstock_alloc
func exportAlloc(size int32) unsafe.Pointer {
	return unsafe.Pointer(unsafe.SliceData(guest().Alloc(int(size))))
}

//go:wasmexport penstock_open
func exportOpen(n int32) int32 { return int32(guest().Open(int(n))) }

//go:wasmexport penstock_check
func exportCheck(n int32) int32 { return int32(guest().Check(int(n))) }

//go:wasmexport penstock_close
func exportClose() int32 { return int32(guest().Close()) }

//go:wasmexport penstock_idle
func exportIdle() int32 { return int32(guest().Idle()) }

//go:wasmexport penstock_poll
func exportPoll(maxEvents, maxBytes, timeoutMs int32) int32 {
	collect()
	return int32(guest().Poll(int(maxEvents), int(maxBytes), time.Duration(timeoutMs)*time.Millisecond))
}

//go:wasmexport penstock_ack
func exportAck(seq int64, status int32) { guest().Ack(uint64(seq), abi.Code(status)) }

//go:wasmexport penstock_prune
func exportPrune(low int64) int32 { return int32(guest().Prune(event.Offset(low))) }

//go:wasmexport penstock_deliver
func exportDeliver(first, next int64, n int32) int32 {
	collect()
	return int32(guest().Deliver(event.Range{First: event.Offset(first), Next: event.Offset(next)}, int(n)))
}

//go:wasmexport penstock_process
func exportProcess(n int32) int32 {
	collect()
	return int32(guest().Process(int(n)))
}

// collectEvery is in how many calls garbage is collected once: to ask takes 3 µs, which is more than a small batch may take.
const collectEvery = 8

var calls uint32

// collect lets a collection of garbage that has begun go on, for a fourth of the time since then at most. Nothing else would: between two calls from
// the host the runtime does not run, and within one it has only the goroutine of the call. Until a collection ends, each store of a pointer takes
// a multiple of its time.
func collect() {
	if calls++; calls%collectEvery == 0 {
		runtime.Gosched()
	}
}
