// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

const (
	// startTimeout is how long a child may take until it serves: an interpreter that loads a client library takes some seconds on a
	// busy machine.
	startTimeout = 30 * time.Second
	// ioBuffer is what one system call reads or writes at most: a batch of 256 KiB goes in a few.
	ioBuffer = 128 << 10
)

// connected is a child that serves.
type connected struct {
	process *process
	client  *goplugin.Client
	conn    *grpc.ClientConn
	dials   *dials // nil: it dials nothing by handles

	sockets  string        // the directory that holds the one of the child's sockets
	patience time.Duration // that it has until it serves
}

// instancePlugin is what go-plugin is told that a child has: the connection is all that this package wants of it.
type instancePlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

// GRPCServer implements [goplugin.GRPCPlugin]. It is never called in an agent.
func (instancePlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("an agent serves no plugin")
}

// GRPCClient implements [goplugin.GRPCPlugin].
func (instancePlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// connect starts a child and waits until it serves. Errors are *plugin.Error.
func (p *Plugin) connect(ctx context.Context, kind abi.Kind, open plugin.Request, work string, stdout, stderr io.Writer) (*connected, error) {
	sockets, err := p.runtime.socketDir()
	if err != nil {
		return nil, &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: err.Error(), Err: err}
	}
	c := &connected{patience: p.runtime.times.start, sockets: sockets, process: &process{stdout: stdout, stderr: stderr, over: make(chan struct{})}}
	c.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginpb.CookieKey, MagicCookieValue: pluginpb.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{pluginpb.Version: {pluginpb.HealthService: instancePlugin{}}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		SkipHostEnv:      true,
		StartTimeout:     p.runtime.times.start,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: sockets},
		Logger:           hclogTo(open.Log),
		GRPCDialOptions:  c.dialOptions(),
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			c.process.cmd, c.process.sockets = &exec.Cmd{Path: cmp.Or(p.private, p.path), Args: p.args}, dir
			var err error
			if c.dials, err = p.listenForDials(kind, open, dir); err != nil {
				return nil, err
			}
			if err := prepare(c.process.cmd, open, append(spec.Env, c.dials.environment()...), work); err != nil {
				return nil, err
			}
			if err := p.confine(c.process.cmd, open, work, dir); err != nil {
				return nil, err
			}
			c.process.start = p.start
			return c.process, nil
		},
	})
	stop := context.AfterFunc(ctx, c.abort) // go-plugin knows no context
	defer stop()
	protocol, err := c.client.Client()
	if err == nil {
		var conn any
		if conn, err = protocol.Dispense(pluginpb.HealthService); err == nil {
			c.conn = conn.(*grpc.ClientConn)
			return c, nil
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	} else {
		err = c.unserved(err)
	}
	c.close(0)
	return nil, err
}

// start starts the command of a process, if the binary is still the one that was loaded.
func (p *Plugin) start(proc *process) error {
	if ok, err := p.stat.same(p.path); p.private == "" && (err != nil || !ok) {
		return fmt.Errorf("%s has been changed since it was loaded (%w): reload the pipeline, if the new one is meant", p.path, errors.Join(errChanged, err))
	}
	var err error
	p.runtime.starter.run(func() { err = proc.launch(proc.cmd.Start) })
	return err
}

var errChanged = errors.New("it is another file")

// abort ends a child that is being started, or is about to be.
func (c *connected) abort() {
	c.process.unwanted.Store(true)
	if c.process.started() {
		c.process.kill()
	}
}

// unserved says why a child does not serve.
func (c *connected) unserved(err error) *plugin.Error {
	e := &plugin.Error{Class: abi.Fatal, Err: err}
	heard, ended, confined := "", false, true
	if c.process.started() {
		c.process.kill()
		c.process.mu.Lock()
		heard, ended, confined = c.process.heard, !c.process.killed, c.process.status != ExitConfinement
		c.process.mu.Unlock()
	}
	text := err.Error()
	switch {
	case !c.process.started():
		e.Class, e.Message = abi.Config, text
	case !confined:
		e.Class, e.Message = abi.Config, "it was not started: "+strings.TrimPrefix(c.process.words(), "Error: ")
	case heard != "":
		e.Class = abi.Config
		e.Message = fmt.Sprintf("it is not a plugin: it began with %q instead of the handshake, and %s", cut(heard), c.process.state)
		e.Hint = "a plugin calls sdk.Main, or does what spec/subprocess.md says, and prints nothing before that"
	case strings.Contains(text, "timeout while waiting"):
		e.Message = fmt.Sprintf("it did not say that it serves within %v", c.patience)
		e.Hint = "see what it waits for: it should connect to nothing before it is opened"
	case strings.Contains(text, "API version"):
		e.Class = abi.Config
		e.Message = fmt.Sprintf("it speaks another version of the contract with plugins: this agent speaks version %d, and the plugin does not", pluginpb.Version)
		e.Hint = "build it with an SDK of this version"
	case !ended:
		e.Message = text
	default:
		e.Message = fmt.Sprintf("it ended before it served: %s", c.process.state)
	}
	return e
}

// cut shortens what a stranger said, for a message.
func cut(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// close ends the child, after so long if it does not by itself, and frees what there is of it.
func (c *connected) close(grace time.Duration) {
	if c.process.started() {
		c.process.end(grace)
	}
	_ = c.dials.close()      // nobody is left to ask
	c.client.Kill()          // removes the socket, and waits for what go-plugin has started
	_ = removeAll(c.sockets) // what is left goes with the runtime
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

func (c *connected) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(c.dial),
		grpc.WithInitialWindowSize(pluginpb.Window), grpc.WithInitialConnWindowSize(pluginpb.Window),
		grpc.WithReadBufferSize(ioBuffer), grpc.WithWriteBufferSize(ioBuffer),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginpb.MaxMessage), grpc.MaxCallSendMsgSize(pluginpb.MaxMessage),
			grpc.ForceCodecV2(pluginpb.Codec{})),
		grpc.WithNoProxy(),
	}
}

// dial connects to the socket that the child said, and makes sure that it is the child who listens there.
func (c *connected) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.process.address)
	if err != nil {
		return nil, err
	}
	if err := ofChild(conn.(*net.UnixConn), c.process.cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// hclogTo gives what go-plugin logs to log, for whoever looks closely: what matters of it is said by this package.
func hclogTo(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Debug})
	l.RegisterSink(hclogSink{log})
	return l
}

// hclogSink is a sink of hclog's.
type hclogSink struct{ to *slog.Logger }

// Accept implements [hclog.SinkAdapter].
func (s hclogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level > hclog.Trace {
		s.to.Debug("go-plugin: "+msg, args...)
	}
}
