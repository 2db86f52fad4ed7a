// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// child is one instance that is served to an agent over gRPC (spec/subprocess.md). What it shares between calls belongs to whoever has
// the turn, as in a guest of WebAssembly: calls into a plugin never overlap.
type child struct {
	pluginpb.UnimplementedPluginServer

	guest   *Guest
	reports reports
	outside outside

	turn        chan struct{} // holds a token while somebody is inside; never closed
	waiting     atomic.Int32  // calls that wait for the turn of one that sleeps
	nudge       chan struct{} // a token: who sleeps should look whether somebody waits; never closed
	interrupted atomic.Bool   // the agent wants the running call back
	leaving     chan struct{} // closed when the agent asks for no more batches
	closing     chan struct{} // closed by the first Close
	once        sync.Once

	// What follows belongs to whoever has the turn.
	ctx      context.Context // of the running call
	inside   calling
	slept    bool // the running call has slept
	timer    *time.Timer
	said     *pluginpb.Status // what fail said about the code that comes next
	lost     string           // what the agent said about a call of the running one that did not work
	changed  []*pluginpb.CursorEntry
	queue    []*pluginpb.Emission // emitted and not sent
	queued   int                  // bytes in it
	spare    []byte               // room for a batch that is emitted
	seq      uint64
	most     int // bytes of one batch; 0: no other than the format's own
	secrets  map[string]string
	rejected []*pluginpb.Rejection
	held     []*pluginpb.Held
}

// calling is what is running inside the instance.
type calling int

const (
	inNothing calling = iota
	inOpen
	inPoll
	inWrite
	inProcess
)

// serve gives an agent one instance, and returns an error when it cannot. It does not return once it can: the agent ends the process.
func serve(plugins map[string]Plugin) error {
	versions := strings.Split(os.Getenv(pluginpb.VersionsKey), ",")
	if !slices.Contains(versions, strconv.Itoa(pluginpb.Version)) {
		return fmt.Errorf("the agent speaks version %s of the contract with plugins, and this plugin version %d: build it with an SDK that is as old or as new as the agent",
			strings.Join(versions, " or "), pluginpb.Version)
	}
	path := filepath.Join(os.Getenv(pluginpb.SocketDirKey), "plugin.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen for the agent: %w", err)
	}
	c := newChild(plugins)
	s := grpc.NewServer(grpc.ForceServerCodecV2(pluginpb.Codec{}),
		grpc.MaxRecvMsgSize(pluginpb.MaxMessage), grpc.MaxSendMsgSize(pluginpb.MaxMessage),
		grpc.InitialWindowSize(pluginpb.Window), grpc.InitialConnWindowSize(pluginpb.Window),
		grpc.WriteBufferSize(ioBuffer), grpc.ReadBufferSize(ioBuffer))
	c.register(s)
	go c.endWithAgent()
	if _, err := fmt.Printf(pluginpb.Handshake, pluginpb.Version, path); err != nil {
		return fmt.Errorf("tell the agent where this plugin listens: %w", err)
	}
	return s.Serve(onlyParent{l, os.Getppid()})
}

// ioBuffer is what one system call reads or writes at most: a batch of 256 KiB goes in a few.
const ioBuffer = 128 << 10

func newChild(plugins map[string]Plugin) *child {
	c := &child{
		turn: make(chan struct{}, 1), nudge: make(chan struct{}, 1), leaving: make(chan struct{}), closing: make(chan struct{}), timer: time.NewTimer(time.Hour),
		ctx: context.Background(), reports: newReports(), outside: newOutside(),
	}
	c.timer.Stop()
	c.guest = NewGuest(plugins, c.host())
	return c
}

func (c *child) register(s *grpc.Server) {
	pluginpb.RegisterPluginServer(s, c)
	pluginpb.RegisterSourceServer(s, &childSource{child: c})
	pluginpb.RegisterSinkServer(s, &childSink{child: c})
	pluginpb.RegisterProcessorServer(s, &childProcessor{child: c})
	h := health.NewServer()
	h.SetServingStatus(pluginpb.HealthService, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, h)
}

// endWithAgent ends this process, and what it has started, with the agent: its end of our standard input closes whatever
// it died of.
func (c *child) endWithAgent() {
	asked := terminations()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	select {
	case <-gone:
	case <-asked:
	}
	select {
	case <-c.closing:
		os.Exit(0)
	default:
		endGroup()
	}
}

// enter waits for the turn. On nil the caller must leave.
func (c *child) enter(ctx context.Context, to calling) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.ctx, c.inside, c.slept, c.said, c.lost = ctx, to, false, nil, ""
	return nil
}

func (c *child) leave() {
	c.ctx, c.inside = context.Background(), inNothing
	<-c.turn
}

// enterSoon is enter for those for whom a call that sleeps is woken.
func (c *child) enterSoon(ctx context.Context, to calling) error {
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	c.wake()
	return c.enter(ctx, to)
}

func (c *child) wake() {
	select {
	case c.nudge <- struct{}{}:
	default: // a token is there already
	}
}

// interrupt says that the agent wants the running call back.
func (c *child) interrupt() {
	c.interrupted.Store(true)
	c.wake()
}

// wanted says whether the agent wants the running call back.
func (c *child) wanted() bool {
	select {
	case <-c.leaving:
		return true
	case <-c.closing:
		return true
	default:
		return c.waiting.Load() > 0 || c.interrupted.Load() || c.ctx.Err() != nil
	}
}

// sleep waits for d, or until the agent wants the call back: EINTR.
func (c *child) sleep(d time.Duration) abi.Code {
	c.slept = true
	c.timer.Reset(d)
	defer c.timer.Stop()
	for !c.wanted() {
		select {
		case <-c.timer.C:
			return abi.OK
		case <-c.nudge:
		case <-c.closing:
		case <-c.ctx.Done():
		}
	}
	return abi.EINTR
}

// status is what a call answers that ended with code.
func (c *child) status(code abi.Code) *pluginpb.Status {
	if code >= 0 {
		return nil
	}
	s := c.said
	if c.said = nil; s == nil {
		s = &pluginpb.Status{}
	}
	s.Code = int32(code)
	if c.lost != "" {
		what, hint, more := strings.Cut(s.Message, "\n")
		if s.Message = strings.TrimPrefix(what+": "+c.lost, ": "); more {
			s.Message += "\n" + hint
		}
	}
	return s
}

// Describe implements [pluginpb.PluginServer]. The manifest lies beside the binary; the agent has read it.
func (c *child) Describe(context.Context, *pluginpb.DescribeRequest) (*pluginpb.DescribeResponse, error) {
	return &pluginpb.DescribeResponse{}, nil
}

// open opens the instance.
func (c *child) open(ctx context.Context, kind abi.Kind, r *pluginpb.OpenRequest) (*pluginpb.OpenResponse, error) {
	if err := c.enter(ctx, inOpen); err != nil {
		return nil, err
	}
	defer c.leave()
	c.secrets, c.most = r.Secrets, int(r.Limits.GetBatchBytes())
	req := abi.OpenRequest{
		Plugin: r.Plugin, Kind: kind, Config: r.Config, Instance: abi.Instance{Index: int(r.Index), Count: int(r.Count)},
		Stream: r.Stream, Cursor: r.Cursor,
	}
	for _, inc := range r.Incarnations {
		req.Incarnations = append(req.Incarnations, abi.Incarnation{ID: inc.Id, First: inc.First})
	}
	doc, err := req.Append(nil)
	if err != nil {
		return &pluginpb.OpenResponse{Status: &pluginpb.Status{Code: int32(abi.EINVAL), Message: err.Error()}}, nil
	}
	c.guest.hand(doc)
	out := &pluginpb.OpenResponse{Status: c.status(c.guest.Open(len(doc)))}
	out.Held, c.held = c.held, nil
	_, out.Prunes = c.guest.self.(Pruner)
	_, out.Acks = c.guest.self.(Acker)
	return out, nil
}

// close closes the instance. What it still has to report goes with the answer.
func (c *child) close(ctx context.Context) (*pluginpb.CloseResponse, error) {
	c.once.Do(func() { close(c.closing) })
	if err := c.enterSoon(ctx, inNothing); err != nil {
		return nil, err
	}
	defer c.leave()
	out := &pluginpb.CloseResponse{Status: c.status(c.guest.Close())}
	out.Last = c.reports.take()
	return out, nil
}

// startedByAgent says whether an agent has started this process, for it to serve a plugin.
func startedByAgent() bool { return os.Getenv(pluginpb.CookieKey) == pluginpb.CookieValue }

// howToRun is what a person is told who starts a plugin.
const howToRun = `an agent runs it. Name it in the pipeline file, with its manifest beside it:

	penstock plugin pack PLUGIN

	plugin "NAME" {
	  source  = "./PLUGIN"
	  runtime = "subprocess"
	}

or build it for WebAssembly, and an agent runs it in a sandbox:

	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o PLUGIN.wasm .
	penstock plugin pack PLUGIN.wasm
`
