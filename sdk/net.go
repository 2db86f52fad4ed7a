// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
)

// ErrTimeout is what a call answers that waited as long as it was allowed to, or found nothing and was not allowed to wait.
var ErrTimeout = errors.New("timed out")

// waited is check for calls that wait.
func waited(code abi.Code, doing string) error {
	switch code {
	case abi.EAGAIN, abi.ETIMEOUT:
		return ErrTimeout
	case abi.EOF:
		return io.EOF
	}
	return check(code, doing)
}

// Secret returns the value of a secret that was granted under the handle.
func (o *Open) Secret(handle string) (string, error) {
	var buf []byte
	value, code := ask(&buf, func(into []byte) abi.Code { return o.host.Secret(handle, into) })
	return string(value), check(code, "read the secret "+handle)
}

// Network is the sockets of the instance: what was granted, by handle. It stays valid as long as the instance.
type Network struct{ host *Host }

// Network returns the sockets of the instance.
func (o *Open) Network() Network { return Network{o.host} }

// Dial connects to the address that was granted under the handle, or waits no longer. After [ErrTimeout] and [ErrInterrupted] the dial
// goes on: dial again to have its connection.
func (n Network) Dial(handle string, wait time.Duration) (*Conn, error) {
	code := n.host.NetOpen(handle, wait)
	if err := waited(code, "dial "+handle); err != nil {
		return nil, err
	}
	return &Conn{ID: int32(code), ReadWait: Forever, WriteWait: Forever, host: n.host}, nil
}

// Listen returns the listener that was granted under the handle.
func (n Network) Listen(handle string) (*Listener, error) {
	code := n.host.NetOpen(handle, 0)
	if code < 0 {
		return nil, check(code, "listen at "+handle)
	}
	return &Listener{ID: int32(code), host: n.host}, nil
}

// Wait puts the IDs of connections and listeners of the instance into ready that can be read or accepted from, after waiting for the
// first of them, and answers how many. One that still can comes again the next time. [ErrTimeout]: none. [ErrInterrupted]: the host wants the
// plugin back; return it.
func (n Network) Wait(ready []int32, wait time.Duration) (int, error) {
	code := n.host.NetWait(ready, wait)
	return int(max(code, 0)), waited(code, "wait for connections")
}

// Listener is where connections, or datagrams, come in.
type Listener struct {
	ID   int32 // as [Network.Wait] gives it
	host *Host
}

// Accept takes a connection, after waiting for one: not at all when wait is 0, which is [ErrTimeout]. Its reads and writes do not wait
// until they are told to.
func (l *Listener) Accept(wait time.Duration) (*Conn, error) {
	code := l.host.NetAccept(l.ID, wait)
	if err := waited(code, "accept"); err != nil {
		return nil, err
	}
	return &Conn{ID: int32(code), host: l.host}, nil
}

// Receive takes one datagram into b, cut to its length, and the address of its sender into from.
func (l *Listener) Receive(b, from []byte, wait time.Duration) (n int, sender []byte, err error) {
	size := l.host.NetReceive(l.ID, b, from, wait)
	if size < 0 {
		return 0, nil, waited(abi.Code(size), "receive")
	}
	return int(uint32(size)), from[:size>>32], nil
}

// Conn is a connection: an [io.ReadWriteCloser] whose calls wait as long as it is told, less than 0 is [Forever], and then
// answer [ErrTimeout]; or [ErrInterrupted], when the host wants the plugin back.
type Conn struct {
	ID        int32 // as [Network.Wait] gives it
	ReadWait  time.Duration
	WriteWait time.Duration // of one write, all of it
	host      *Host
}

// Read implements [io.Reader].
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	code := c.host.NetRead(c.ID, b, c.ReadWait)
	return int(max(code, 0)), waited(code, "read from a connection")
}

// Write implements [io.Writer]: what was written has been handed to the system. After an error some of it may have been.
func (c *Conn) Write(b []byte) (n int, err error) {
	until := c.until()
	for {
		code := c.host.NetWrite(c.ID, b[n:], c.left(until), 0)
		if err := waited(code, "write to a connection"); err != nil {
			return n, err
		}
		if n += int(code); n == len(b) {
			return n, nil
		}
	}
}

// until is when a write must be over, in the time of the host; 0: whenever it is.
func (c *Conn) until() int64 {
	if c.WriteWait <= 0 {
		return 0
	}
	return c.host.Now() + int64(c.WriteWait)
}

func (c *Conn) left(until int64) time.Duration {
	if until == 0 {
		return c.WriteWait
	}
	return max(time.Duration(until-c.host.Now()), 0)
}

// WriteAfter has the host write b when the batch of that number, which [Poll.Flush] returned, is durable, whatever the plugin does then. If the
// batch is refused the connection is closed instead. What is written later leaves later. At most 1 MiB.
func (c *Conn) WriteAfter(b []byte, seq uint64) error {
	return waited(c.host.NetWrite(c.ID, b, c.WriteWait, int64(seq)), "write to a connection")
}

// CloseWrite says that nothing more will be written; reading goes on.
func (c *Conn) CloseWrite() error { return check(c.host.NetShutdown(c.ID), "shut a connection down") }

// Close implements [io.Closer]. What was written, also what waits for a batch, is still sent.
func (c *Conn) Close() error { return check(c.host.NetClose(c.ID), "close a connection") }

// Pass gives a connection back that was accepted, for the next instance of the plugin, whose first reads of it are rest: what was read and is not in a
// batch yet. So a connection outlives a reload; call it when the plugin is closed, and at no other time. On an error, as when a batch was
// refused, it is the plugin's as before, which closes it.
func (c *Conn) Pass(rest []byte) error {
	return check(c.host.NetPass(c.ID, rest), "pass a connection on")
}

// Info describes a connection.
type Info struct {
	Local  string `json:"local"`
	Remote string `json:"remote"` // of a unix socket mostly ""
	TLS    *struct {
		Version    string `json:"version"`
		ServerName string `json:"server_name"`
		Peer       *struct {
			Subject string `json:"subject"`
			SHA256  string `json:"sha256"` // of its certificate
		} `json:"peer"`
	} `json:"tls"`
}

// Info says who is at the two ends.
func (c *Conn) Info() (i Info, err error) {
	var buf []byte
	doc, code := ask(&buf, func(into []byte) abi.Code { return c.host.NetInfo(c.ID, into) })
	if code < 0 {
		return i, check(code, "describe a connection")
	}
	if err := json.Unmarshal(doc, &i); err != nil {
		return i, fmt.Errorf("describe a connection: %w", err)
	}
	return i, nil
}

var _ io.ReadWriteCloser = (*Conn)(nil)
