// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// askTimeout is how long a child may take to say what it wants to be connected to.
const askTimeout = 10 * time.Second

// dials is a unix socket at which a child's client libraries ask for connections to what it was granted, by the handle (spec/subprocess.md §6).
//
// What they get is not the connection but the other end of bytes that this process passes on: one that is handed over could be disconnected,
// bound, and connected to something else, in the agent's network.
type dials struct {
	l      *net.UnixListener
	path   string
	grants map[string]plugin.Dialer
	limit  int
	denied func(capability, what string)

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	mu     sync.Mutex
	open   map[net.Conn]struct{} // of the child
}

// listenForDials makes the socket in the child's directory, where the plugin has anything to dial by a handle; else it answers nil.
func (p *Plugin) listenForDials(kind abi.Kind, open plugin.Request, dir string) (*dials, error) {
	one, _ := p.manifest.Find(kind, open.Plugin)
	if open.Network || !slices.ContainsFunc(one.Needs, func(n abi.Need) bool { return n.Kind == abi.NeedDial }) {
		return nil, nil
	}
	d := &dials{
		path: filepath.Join(dir, "dial"), grants: open.Grants.Dial, limit: cmp.Or(open.Limits.Handles, abi.DefaultHandles), open: map[net.Conn]struct{}{},
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for what a plugin dials: %w", err)
	}
	d.l = l
	d.ctx, d.cancel = context.WithCancel(context.Background())
	if err := os.Chmod(d.path, 0o666); err != nil { // the directory is the child's alone
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// environment tells the child where it is.
func (d *dials) environment() []string {
	if d == nil {
		return nil
	}
	return []string{pluginpb.DialKey + "=" + d.path}
}

// serve accepts what the child asks until close.
func (d *dials) serve(child int, denied func(capability, what string)) {
	if d == nil {
		return
	}
	d.denied = denied
	d.work.Go(func() {
		for {
			conn, err := d.l.AcceptUnix()
			if err != nil {
				return // it is closed: nothing else ends it
			}
			if ofChild(conn, child) != nil {
				_ = conn.Close() // a stranger: there is nobody to tell
				continue
			}
			if !d.admit(conn) {
				_ = refuseDial(conn, abi.EAGAIN, "it has as many connections as limits.handles allows")
				_ = conn.Close()
				continue
			}
			d.work.Go(func() {
				d.connect(conn)
				d.forget(conn)
			})
		}
	})
}

// admit counts a connection, or answers false when there are too many or no more.
func (d *dials) admit(conn net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
		return false
	}
	if len(d.open) >= d.limit {
		d.denied(plugin.LimitHandles, "one more connection")
		return false
	}
	d.open[conn] = struct{}{}
	return true
}

func (d *dials) forget(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, conn)
	_ = conn.Close()
}

// connect reads which handle is meant, dials, and passes bytes on until both ends have nothing more to say.
func (d *dials) connect(local *net.UnixConn) {
	_ = local.SetDeadline(time.Now().Add(askTimeout))
	handle, err := readLine(local)
	if err != nil {
		return
	}
	_ = local.SetDeadline(time.Time{})
	dial, ok := d.grants[handle]
	if !ok {
		d.denied(abi.ImportNetOpen, handle)
		_ = refuseDial(local, abi.EACCES, fmt.Sprintf("%q was not granted", handle))
		return
	}
	remote, err := dial(d.ctx)
	if err != nil {
		code := abi.EIO
		slow, timed := errors.AsType[net.Error](err)
		switch {
		case errors.Is(err, plugin.ErrForbidden):
			d.denied("dial", handle)
		case timed && slow.Timeout():
			code = abi.ETIMEOUT
		}
		_ = refuseDial(local, code, err.Error())
		return
	}
	defer remote.Close()
	stop := context.AfterFunc(d.ctx, func() { _ = remote.Close() })
	defer stop()
	if network := remote.RemoteAddr().Network(); strings.HasPrefix(network, "udp") || network == "unixgram" {
		_ = refuseDial(local, abi.ENOSYS, fmt.Sprintf("%q takes datagrams, and here are bytes alone", handle))
		return
	}
	if _, err := local.Write([]byte{pluginpb.DialConnected}); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pass(remote, local) })
	pass(local, remote)
	both.Wait()
}

// pass copies bytes until from ends, and then ends to, as far as it can say so.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from) // in the kernel, where both are sockets
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}

// readLine reads up to a line feed, and nothing beyond.
func readLine(from io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) <= maxName; {
		if _, err := io.ReadFull(from, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return string(line), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("the name of a handle is too long")
}

// refuseDial says why there is no connection.
func refuseDial(local net.Conn, code abi.Code, why string) error {
	_, err := fmt.Fprintf(local, "%d %s", code, strings.ToValidUTF8(why[:min(len(why), abi.MaxText)], "\uFFFD"))
	return err
}

// close ends all connections, and waits.
func (d *dials) close() error {
	if d == nil {
		return nil
	}
	err := d.l.Close()
	d.mu.Lock()
	d.cancel()
	for conn := range d.open {
		_ = conn.Close()
	}
	d.mu.Unlock()
	d.work.Wait()
	return err
}
