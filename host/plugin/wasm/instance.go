// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/exchange"
	"github.com/penstock-io/penstock/host/plugin/promise"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/host/plugin/socket"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// exportStart stands for what runs while a module is instantiated.
const exportStart = "start"

const (
	// idleEvery is how often a guest's penstock_idle is called at most.
	idleEvery = time.Second
	// maxSleep bounds one sleep of a guest: longer ones are repeated by the guest itself.
	maxSleep = time.Hour
	// nap is how long a guest's sleep through WASI lasts while the host wants the guest back: WASI cannot say
	// "interrupted", so a Go guest sleeps again at once, and without a nap would spin.
	nap = 10 * time.Millisecond
	// maxFrames is how many functions of a trap's stack go into the error.
	maxFrames = 6
	// maxTrace bounds them together, in bytes: a function's name may be as long as the module's author likes.
	maxTrace = 1 << 10
)

// instance is one running copy of a module: the part that source, sink and processor share.
type instance struct {
	plugin    *Plugin
	kind      abi.Kind
	component string
	metrics   plugin.Metrics // nil: nobody counts
	buffers   event.Buffers
	stdout    io.Writer // nil: not granted
	grants    plugin.Grants
	stderr    *report.Lines
	log       *report.Log
	dirs      *dirs
	limit     int // bytes, of one emitted batch
	output    int // bytes, of what one call emits beside the first batch
	names     int // of metrics, of all instances of the module

	turn    chan struct{} // holds a token while somebody is inside; never closed
	waiting atomic.Int32  // acks that wait for the turn
	nudge   chan struct{} // a token: a sleeping guest should look whether somebody waits; never closed
	closing chan struct{} // closed by Close
	once    sync.Once

	// What follows belongs to whoever has the turn.
	module api.Module
	guest  guest
	mem    *memory
	call   callContext
	budget budget
	stack  [4]uint64 // parameters, then the result
	inside string    // the export that is running
	dead   *plugin.Error
	lost   error // of the running call's files: what WASI has no number for, so that the guest saw an I/O error
	opened bool
	slept  bool // the running call has slept
	timer  *time.Timer
	idled  time.Time // when penstock_idle was called last
	shown  uint64    // memory, as last reported

	commits promise.Set // needs no turn

	seq      uint64            // of the last emission
	queue    []plugin.Emission // emitted, in order, not yet handed out
	queued   int               // bytes in it
	changed  event.Cursor      // set for the next emission; nil: nothing
	changedN int               // bytes in it
	held     []plugin.Held
	rejected []plugin.Rejection
	given    event.Batch // what is being delivered or processed; zero outside of that, as it is the caller's
	failure  failure
	sockets  *socket.Set
	requests *exchange.Client
	serving  *exchange.Server
}

// export is a function of a guest. It is looked up when it is first called: each that was takes ten kilobytes, for the stack on which it runs.
type export struct {
	name  string
	there bool
	f     api.Function // nil: not looked up yet
}

// guest is what a kind of plugin is called by.
type guest struct {
	initialize, alloc, open, check, close, idle, poll, ack, prune, deliver, process export
}

func (p *Plugin) guestOf(kind abi.Kind) guest {
	of := func(name string) export { return export{name: name, there: p.exports[name]} }
	g := guest{initialize: of(exportInitialize), alloc: of(abi.ExportAlloc), open: of(abi.ExportOpen), check: of(abi.ExportCheck), close: of(abi.ExportClose), idle: of(abi.ExportIdle)}
	switch kind {
	case abi.Source:
		g.poll, g.ack = of(abi.ExportPoll), of(abi.ExportAck)
	case abi.Sink:
		g.deliver, g.prune = of(abi.ExportDeliver), of(abi.ExportPrune)
	case abi.Processor:
		g.process = of(abi.ExportProcess)
	}
	return g
}

// optional is the answer of an export that a module may lack: a Go guest has all of them, and says ENOSYS.
func (in *instance) optional(code abi.Code, err error) error {
	if err == nil && code < 0 && code != abi.ENOSYS {
		return in.failed(code)
	}
	return err
}

// callContext is the context of the call that is running. It is how imports find their instance, without a look-up.
type callContext struct {
	context.Context
	in       *instance
	starting bool
}

// Value answers for wazero alone, which asks at each call, and needs to be told something only while a module starts.
func (c *callContext) Value(key any) any {
	if c.starting {
		return c.Context.Value(key)
	}
	return nil
}

// enter waits for the turn. On nil the caller must leave.
func (in *instance) enter(ctx context.Context) error {
	select {
	case in.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if in.dead != nil {
		in.leave()
		return in.dead
	}
	return nil
}

func (in *instance) leave() { <-in.turn }

// enterSoon is enter for those for whom a sleeping guest is woken.
func (in *instance) enterSoon(ctx context.Context) error {
	in.waiting.Add(1)
	defer in.waiting.Add(-1)
	select {
	case in.nudge <- struct{}{}:
	default: // a token is there already
	}
	return in.enter(ctx)
}

// wanted says whether the host wants the guest back.
func (in *instance) wanted() bool {
	select {
	case <-in.closing:
		return true
	default:
		return in.waiting.Load() > 0 || in.call.Err() != nil
	}
}

// await waits until ready has something for the guest, for d at most (less than 0: for as long as it takes), or until the host wants the
// guest back: OK, ETIMEOUT (EAGAIN where d is 0) or EINTR.
func (in *instance) await(d time.Duration, ready <-chan struct{}) abi.Code {
	_, code := receive(in, ready, nil, d)
	return code
}

// arrival is what ended a wait.
type arrival[T any] struct {
	v    T        // what ready had: the zero value from one that is closed
	conn net.Conn // nil: it was ready
	of   int      // the listener that the connection is of
}

// receive is await with what came, which may also be a connection of one of those listeners (nil: none). All imports that wait do it here.
func receive[T any](in *instance, ready <-chan T, from *socket.Conns, d time.Duration) (a arrival[T], code abi.Code) {
	if in.wanted() {
		return a, abi.EINTR
	}
	select {
	case a.v = <-ready:
		return a, abi.OK
	default:
	}
	if d == 0 {
		return a, abi.EAGAIN
	}
	in.slept = true
	in.budget.waits()
	defer in.budget.waited()
	if d > 0 {
		in.timer.Reset(d)
		defer in.timer.Stop()
	}
	if from == nil {
		from = &socket.Conns{}
	}
	for !in.wanted() {
		select {
		case a.v = <-ready:
			return a, abi.OK
		case a.conn = <-from[0]:
			return a, abi.OK
		case a.conn = <-from[1]:
			a.of = 1
			return a, abi.OK
		case a.conn = <-from[2]:
			a.of = 2
			return a, abi.OK
		case a.conn = <-from[3]:
			a.of = 3
			return a, abi.OK
		case <-in.timer.C:
			return a, abi.ETIMEOUT
		case <-in.nudge:
		case <-in.closing:
		case <-in.call.Done():
		}
	}
	return a, abi.EINTR
}

// pause sleeps for d, or until the host wants the guest back: EINTR.
func (in *instance) pause(d time.Duration) abi.Code {
	if in.await(min(d, maxSleep), nil) == abi.EINTR {
		return abi.EINTR
	}
	return abi.OK
}

// wait reads a timeout of the ABI.
func wait(ms uint64) time.Duration { return time.Duration(int32(ms)) * time.Millisecond }

// nanosleep is the sleep of WASI.
func (in *instance) nanosleep(ns int64) {
	d := time.Duration(ns)
	if in.pause(d) != abi.OK {
		in.timer.Reset(min(d, nap))
		<-in.timer.C
	}
}

// run calls an export, and answers what it returned. The caller has the turn. An error means that the instance is dead.
func (in *instance) run(ctx context.Context, e *export, params ...uint64) (abi.Code, error) {
	if e.f == nil {
		e.f = in.module.ExportedFunction(e.name)
	}
	copy(in.stack[:], params)
	in.inside, in.slept, in.mem.refused, in.failure.said = e.name, false, false, false
	in.lost = nil
	in.stderr.Begin()
	in.call.Context = ctx
	in.throttle()
	in.budget.begin(e.name, in.given.Size())
	err := e.f.CallWithStack(&in.call, in.stack[:])
	in.account()
	if err != nil {
		return 0, in.die(err)
	}
	return abi.Code(int32(in.stack[0])), nil
}

// account counts what a call took.
func (in *instance) account() {
	in.budget.end()
	if in.mem.refused {
		in.limited(plugin.LimitMemory, "it asked for more than "+size(in.mem.limit))
	}
	if in.metrics == nil {
		return
	}
	in.metrics.Call(in.component, in.budget.at.Sub(in.budget.began), in.budget.used)
	if in.mem.size != in.shown {
		in.shown = in.mem.size
		in.metrics.Memory(in.component, in.shown)
	}
}

// arena asks the guest for n bytes and returns a view of them, good until the guest runs again.
func (in *instance) arena(ctx context.Context, n int) ([]byte, error) {
	ptr, err := in.run(ctx, &in.guest.alloc, uint64(n))
	if err != nil {
		return nil, err
	}
	if ptr == 0 {
		return nil, in.die(fmt.Errorf("it has no memory for %d bytes of input", n))
	}
	view, ok := in.module.Memory().Read(uint32(ptr), uint32(n))
	if !ok {
		return nil, in.die(fmt.Errorf("it gave %#x for %d bytes, which is not in its memory", uint32(ptr), n))
	}
	return view, nil
}

// die records why the instance is dead and frees what it has. The caller has the turn.
func (in *instance) die(cause error) *plugin.Error {
	if e := in.overspent(cause); e != nil {
		in.bury(e)
		return e
	}
	e := &plugin.Error{
		Class:   abi.Fatal,
		Message: fmt.Sprintf("the plugin broke in %s: %s", in.inside, in.lastWords(cause)),
		Err:     cause,
	}
	if in.mem.refused {
		e.Message = fmt.Sprintf("the plugin asked for more memory than its limit of %s, and broke in %s: %s",
			size(in.mem.limit), in.inside, in.lastWords(cause))
		e.Hint = "raise limits.memory, or let it work on less at a time"
	}
	in.bury(e)
	return e
}

// bury makes every later call answer e, and frees memory, files, sockets, requests, and what was emitted and not handed out. What was handed out
// may still become durable: what is promised for then is kept until an ack or Close.
func (in *instance) bury(e *plugin.Error) {
	in.dead = e
	in.dropQueue()
	in.serving.Refuse("it was not stored")
	in.requests.Close()
	in.sockets.Abandon()
	if in.module != nil {
		if err := in.module.Close(context.Background()); err != nil {
			in.log.To.Warn("closing a plugin's files", "error", err)
		}
	}
	in.mem.Free()
	in.dirs.close()
}

// lastWords tells cause in one line: what the guest wrote last, how it ended, and where, if it trapped.
func (in *instance) lastWords(cause error) string {
	words := in.stderr.Words()
	if exit, ok := errors.AsType[*sys.ExitError](cause); ok {
		return strings.TrimSuffix(fmt.Sprintf("it exited with code %d: %s", exit.ExitCode(), words), ": ")
	}
	head, _, _ := strings.Cut(cause.Error(), "\n")
	return strings.TrimPrefix(words+": ", ": ") + head + whereabouts(cause)
}

// whereabouts says in which functions a guest was that trapped, " at f ← g", as far as that is known.
func whereabouts(cause error) string {
	_, trace, _ := strings.Cut(cause.Error(), "\nwasm stack trace:")
	frames := strings.FieldsFunc(trace, func(r rune) bool { return r == '\n' || r == '\t' })
	if len(frames) > 0 && strings.HasPrefix(frames[0], abi.Module+"."+abi.ImportYield+"(") { // which the guest did not call of its own accord
		frames = frames[1:]
	}
	if n := len(frames); n > maxFrames {
		frames = append(frames[:maxFrames], fmt.Sprintf("%d more", n-maxFrames))
	}
	if len(frames) == 0 {
		return ""
	}
	at := strings.Join(frames, " ← ")
	if len(at) > maxTrace {
		at = at[:maxTrace] + "…"
	}
	return " at " + strings.ToValidUTF8(at, "")
}

// discard buries an instance that nobody else has seen.
func (in *instance) discard() {
	if in.dead == nil {
		in.bury(&plugin.Error{Class: abi.Fatal, Message: "the plugin could not be opened"})
	}
	in.sockets.Close()
}

// Close wakes the guest, waits until its call has ended, lets it close, and frees it. The second time it does nothing.
func (in *instance) Close() (err error) {
	in.once.Do(func() { err = in.shut() })
	return err
}

func (in *instance) shut() error {
	close(in.closing)
	defer in.sockets.Close()
	defer in.commits.Close()
	ctx := context.Background()
	switch err := in.enter(ctx); {
	case err != nil:
		return nil // dead and freed; whoever was inside has been told why
	default:
		defer in.leave()
	}
	var err error
	if in.opened && in.guest.close.there {
		err = in.optional(in.run(ctx, &in.guest.close))
	}
	if in.dead != nil {
		return err
	}
	in.bury(&plugin.Error{Class: abi.Fatal, Message: "the plugin has been closed"})
	return err
}

// idle gives a guest that asks for it a moment now and then. The caller has the turn.
func (in *instance) idle(ctx context.Context) error {
	if !in.guest.idle.there || time.Since(in.idled) < idleEvery {
		return nil
	}
	in.idled = time.Now()
	code, err := in.run(ctx, &in.guest.idle)
	if code == abi.EINTR {
		return err
	}
	return in.optional(code, err)
}

// failure is what a guest said through fail about the code that it returns next.
type failure struct {
	said  bool
	text  string
	path  string
	delay time.Duration
}

// failed makes an error of a negative code, with what the guest said about it.
func (in *instance) failed(code abi.Code) *plugin.Error {
	var said failure
	if in.failure.said {
		said, in.failure = in.failure, failure{}
	}
	message, hint, _ := strings.Cut(said.text, "\n")
	message = cmp.Or(message, in.inside+" answered without saying why")
	if in.lost != nil {
		message += ": " + in.lost.Error()
	}
	return &plugin.Error{
		Class: code.Class(), Code: code, Path: said.path, Delay: said.delay, Hint: strings.TrimSpace(hint),
		Message: message, Err: in.lost,
	}
}

// fileFailed tells what happened to a file, and keeps it for the error of the running call.
func (in *instance) fileFailed(path string, err error) {
	in.log.Warn("plugin's file operation failed", path, err)
	in.lost = err
	if errors.Is(err, errManyFiles) {
		in.count(plugin.LimitHandles)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		in.lost = e.Err // the guest says itself which file, and what it did
	}
}

// denied counts what the guest tried and was not granted, and logs it the first time.
func (in *instance) denied(capability, what string) {
	in.count(capability)
	if in.log.Once("denied " + capability + what) {
		in.log.To.Warn("plugin tried what was not granted", slog.String("capability", capability), slog.String("what", what))
	}
}

// limited counts what went over a limit, and logs it the first time.
func (in *instance) limited(limit, what string) {
	in.count(limit)
	if in.log.Once("limit " + limit) {
		in.log.To.Warn("plugin is at its limit", slog.String("limit", "limits."+limit), slog.String("what", what))
	}
}

func (in *instance) count(capability string) {
	if in.metrics != nil {
		in.metrics.Denied(in.component, capability)
	}
}
