// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
)

// Server stands for what a sink sends to.
type Server struct {
	Format Format
	// Fail is how many connections or requests it refuses, one after the other, when that is tried; 0: it is not.
	Fail int
}

// Format says how the bodies of events are told from what arrives.
type Format string

// The formats.
const (
	FormatLines Format = "lines" // a body is a line; what has no newline at its end is one too
	FormatJSON  Format = "json"  // a body is a value, of a stream or of arrays; a string is what it says
	FormatAny   Format = "any"   // that is not looked at
)

// compares says whether it can be told what the destination has.
func (c Case) compares() bool {
	for _, s := range c.Servers {
		if s.Format == FormatAny {
			return false
		}
	}
	return len(c.Servers) > 0
}

func (c Case) fails() bool {
	for _, s := range c.Servers {
		if s.Fail > 0 {
			return true
		}
	}
	return false
}

// hangsUp is how a request is refused that is not answered.
const hangsUp = 0

// passing are the ways in which requests are refused for a while.
var passing = []int{http.StatusServiceUnavailable, hangsUp, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway}

// destination is a Server that runs.
type destination struct {
	Server
	address net.Addr
	dialer  func(context.Context) (net.Conn, error)
	stream  net.Listener // nil: of datagrams
	packet  net.PacketConn
	http    *http.Server // nil: of connections
	work    sync.WaitGroup

	mu      sync.Mutex
	keep    bool // else what arrives is forgotten
	fail    int  // how many are refused from now on
	always  int  // the status of every answer; 0: as it is
	refused int  // so far
	arrived [][]byte
	open    map[net.Conn]struct{}
}

// start begins to listen for what the handle leads to. close ends it.
func (d *destination) start(h Handle) (err error) {
	d.open = map[net.Conn]struct{}{}
	at := loopback(h.Datagrams)
	if h.Datagrams {
		if d.packet, err = net.ListenPacket(at.Network(), at.Target()); err != nil {
			return err
		}
		d.address = d.packet.LocalAddr()
		d.work.Go(d.receive)
	} else {
		if d.stream, err = net.Listen(at.Network(), at.Target()); err != nil {
			return err
		}
		d.address = d.stream.Addr()
		d.work.Go(d.serve(h))
	}
	dialled, err := address.Parse(abi.NeedDial, at.Scheme+"://"+d.address.String())
	if err == nil {
		d.dialer, err = endpoint.Dial(dialled, endpoint.DialOptions{})
	}
	return err
}

// serve is what accepts: the requests, or the connections.
func (d *destination) serve(h Handle) func() {
	if h.Kind != abi.NeedHTTP {
		return d.accept
	}
	d.http = &http.Server{Handler: d}
	return func() { _ = d.http.Serve(d.stream) } // until close
}

func (d *destination) close() error {
	switch {
	case d.packet != nil:
		_ = d.packet.Close()
	case d.http != nil:
		_ = d.http.Close()
	default:
		_ = d.stream.Close()
		d.hangUp()
	}
	d.work.Wait()
	return nil
}

// refuses says whether the next one is to be refused, and how many were before it.
func (d *destination) refuses() (how int, yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.always != 0 {
		return d.always, true
	}
	if d.fail == 0 {
		return 0, false
	}
	d.fail--
	d.refused++
	return passing[(d.refused-1)%len(passing)], true
}

// store keeps what arrives at the place, a new one if that is negative, and answers it.
func (d *destination) store(place int, b []byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.keep {
		return place
	}
	if place < 0 {
		place = len(d.arrived)
		d.arrived = append(d.arrived, nil)
	}
	d.arrived[place] = append(d.arrived[place], b...)
	return place
}

// dial is how the plugin connects: it is refused as a port is at which nobody listens.
func (d *destination) dial(ctx context.Context) (net.Conn, error) {
	if d.stream != nil {
		if _, refused := d.refuses(); refused {
			return nil, fmt.Errorf("dial %s: %w", d.address, syscall.ECONNREFUSED)
		}
	}
	return d.dialer(ctx)
}

func (d *destination) accept() {
	for {
		c, err := d.stream.Accept()
		if err != nil {
			return // closed
		}
		d.mu.Lock()
		d.open[c] = struct{}{}
		d.mu.Unlock()
		d.work.Go(func() { d.read(c) })
	}
}

// read reads a connection to its end.
func (d *destination) read(c net.Conn) {
	place := -1
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			place = d.store(place, buf[:n])
		}
		if err != nil {
			break
		}
	}
	_ = c.Close()
	d.mu.Lock()
	delete(d.open, c)
	d.mu.Unlock()
}

// hangUp closes all connections; of HTTP those over which nothing goes.
func (d *destination) hangUp() {
	if d.http != nil {
		d.http.SetKeepAlivesEnabled(false)
		d.http.SetKeepAlivesEnabled(true)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.open {
		_ = c.Close()
	}
}

func (d *destination) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := d.packet.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		d.store(-1, buf[:n])
	}
}

// ServeHTTP implements [http.Handler].
func (d *destination) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		body, err = unzipped(body)
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	switch status, refused := d.refuses(); {
	case refused && status == hangsUp:
		panic(http.ErrAbortHandler)
	case refused:
		w.WriteHeader(status)
	default:
		d.store(-1, body)
	}
}

func unzipped(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// bodies are those of all events that arrived. It waits for what is on its way, until there are so many; if ended, also until everybody
// has hung up.
func (d *destination) bodies(want int, ended bool) ([]string, error) {
	for deadline := time.Now().Add(onItsWay); ; time.Sleep(pieces) {
		got, open, err := d.now()
		late := time.Now().After(deadline)
		if err == nil && (len(got) >= want && !(open && ended) || late) || err != nil && late {
			return got, err
		}
	}
}

// onItsWay is how long what a plugin has sent may take to arrive.
const onItsWay = 2 * time.Second

// now is what has arrived, and whether there may be more of it.
func (d *destination) now() (bodies []string, open bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.arrived {
		if d.Format == FormatLines {
			bodies = append(bodies, strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")...)
			continue
		}
		if bodies, err = values(bodies, b); err != nil {
			return bodies, false, err
		}
	}
	return bodies, len(d.open) > 0, nil
}

// values adds the values of JSON in b.
func values(bodies []string, b []byte) ([]string, error) {
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var v json.RawMessage
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			return bodies, nil
		} else if err != nil {
			return bodies, fmt.Errorf("what arrived is not JSON: %w: %.80q", err, b)
		}
		list := []json.RawMessage{v}
		if v[0] == '[' {
			if err := json.Unmarshal(v, &list); err != nil {
				return bodies, err
			}
		}
		for _, v := range list {
			var text string
			if json.Unmarshal(v, &text) != nil {
				text = string(v)
			}
			bodies = append(bodies, text)
		}
	}
}
