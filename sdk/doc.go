// SPDX-License-Identifier: Apache-2.0

// Package sdk builds a Penstock plugin in Go.
//
// A plugin is an ordinary program whose main calls [Main]:
//
//	func main() {
//		sdk.Main(map[string]sdk.Plugin{
//			"ticker": {Source: func() sdk.Source { return new(ticker) }},
//		})
//	}
//
// Built with
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o ticker.wasm .
//
// it is a WebAssembly module that an agent runs in a sandbox; built without that, a program that an agent runs as a child process. There
// it may use whatever Go has, and has its sockets and HTTP of the agent as in WebAssembly; [Open.DialContext] is for client libraries. One module may hold many plugins, and
// one plugin may be a source, a processor and a sink at once; the agent opens one instance per use,
// each with memory of its own.
//
// # A source
//
// [Source.Poll] appends events and says with [Poll.SetCursor] how far that brings it. What was
// appended goes out as one batch when Poll returns, together with the cursor: both are kept, or
// neither. So a source stores nothing itself; opened again, it goes on from [Open.Cursor].
//
// # A sink
//
// [Sink.Write] returns nil when the destination holds the batch, and not before. A sink that stores
// the range of offsets together with the data, and reports in Open with [Open.Held] what it has
// stored, writes each event exactly once, whatever is killed when.
//
// # Sockets
//
// [Open.Network] gives what was granted, by the handle in the manifest: [Network.Listen] for connections and datagrams that come in,
// [Network.Dial] for those that go out. [Network.Wait] waits for all of them at once, so one instance serves thousands.
//
// # Rules
//
// Calls into a plugin never overlap. A call may block only in what waits here ([Poll.Sleep], [Poll.NextRequest], [HTTPClient.Do], those of
// [Network], [Listener] and [Conn]) and in what WASI gives;
// when one answers [ErrInterrupted] the host wants the plugin back: return. Memory is reused: what
// a call hands over is valid until that call returns. In steady state nothing need be allocated for a batch.
//
// Package sdktest runs a plugin inside an ordinary Go test.
package sdk
