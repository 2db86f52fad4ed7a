// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

const (
	// DefaultMemory is how many bytes of events wait in a client at most, unless its Config says otherwise.
	DefaultMemory = 32 << 20
	// joined is how large a batch becomes that is put together of several: the receiver puts it in one transaction, and a larger one gains nothing.
	joined = 1 << 20
	// maxAddresses bounds the addresses of a client, which are tried one after the other.
	maxAddresses = 64
)

// Config is what a client is opened with.
type Config struct {
	// Addresses are where receivers listen: "tls://collector:7421", "unix:///run/penstock/hop", or "tcp://127.0.0.1:7421", which has no TLS and is for
	// loopback alone. The first attempt is with the first of them; the others are tried when it fails.
	Addresses []string

	// Cert and Key are files with the certificate of this client and its key, in PEM form: who the client is to the receiver is the name in it. CA is a file
	// with the authorities that may sign the receiver's; "" are those of the system. All are read again for each connection.
	Cert, Key, CA string
	// TLS is used instead of these files. The client sets what its protocol needs in a copy, and the ServerName if there is none.
	TLS *tls.Config

	// Stream names the sequence of events that this client sends, for the receiver to remember how far it got: 1 to 191 bytes of printable
	// ASCII without blanks. "" = it remembers nothing, and events may come twice. One client at a time sends a stream.
	Stream string
	// Incarnations are the lives of the stream's numbering, the oldest first; the last is the one of today. Leave it nil where an event has the
	// same number for ever. It is for numbers that may be given twice, as by a database that was restored from a backup: see spec/hop.md §3.
	Incarnations []Incarnation
	// Durable says with Incarnations that no crash takes away what was numbered.
	Durable bool

	// Memory is how many bytes of encoded events wait for their acknowledgement at most; 0 = [DefaultMemory]. A single batch may have as many, and 16 MiB at most.
	Memory int
	// Sender is how the receiver calls this client in its messages; "" = the name of the program.
	Sender string
	// Log gets what happens to connections; nil = nobody does.
	Log *slog.Logger
}

// Incarnation is one life of a stream's numbering: the numbers in [First, Next).
type Incarnation struct {
	ID          uint64 // random, and not 0
	First, Next event.Offset
}

// always is the numbering that has one life.
var always = []Incarnation{{ID: 1, First: 0, Next: math.MaxUint64}}

// check says what is wrong with a config, and fills in what it leaves out.
func (c *Config) check() error {
	switch {
	case len(c.Addresses) == 0 || len(c.Addresses) > maxAddresses:
		return fmt.Errorf("there are %d addresses, of 1 to %d", len(c.Addresses), maxAddresses)
	case (c.Cert == "") != (c.Key == ""):
		return errors.New("the certificate of this client and its key go together: Cert and Key")
	case len(c.Stream) > hoppb.MaxStream || strings.ContainsFunc(c.Stream, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return fmt.Errorf("the stream %q: a name has %d bytes at most, of printable ASCII without blanks", c.Stream, hoppb.MaxStream)
	case c.Stream == "" && c.Incarnations != nil:
		return errors.New("incarnations are those of a stream, and there is none: set Stream")
	case c.Memory < 0:
		return fmt.Errorf("a memory of %d bytes", c.Memory)
	}
	if c.Memory == 0 {
		c.Memory = DefaultMemory
	}
	if c.Stream != "" && c.Incarnations == nil {
		c.Incarnations, c.Durable = always, false
	}
	if c.Sender == "" {
		c.Sender = os.Args[0][strings.LastIndexByte(os.Args[0], '/')+1:]
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c.checkIncarnations()
}

func (c *Config) checkIncarnations() error {
	if len(c.Incarnations) > hoppb.MaxIncarnations {
		return fmt.Errorf("%d incarnations, of %d at most", len(c.Incarnations), hoppb.MaxIncarnations)
	}
	seen := make(map[uint64]bool, len(c.Incarnations))
	for i, one := range c.Incarnations {
		if one.ID == 0 || seen[one.ID] || one.Next < one.First || i > 0 && one.First < c.Incarnations[i-1].Next {
			return fmt.Errorf("incarnation %016x from %d to %d is out of order, or there twice", one.ID, one.First, one.Next)
		}
		seen[one.ID] = true
	}
	return nil
}

// address is where a receiver listens.
type address struct {
	text        string
	network, at string // of package net
	host        string // for TLS
	secure      bool
}

func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return address{}, fmt.Errorf("the address %q: %w", text, err)
	}
	a := address{text: text, network: "tcp", at: u.Host, host: u.Hostname(), secure: u.Scheme == "tls"}
	switch {
	case u.Scheme == "unix" && u.Path != "" && u.Host == "":
		a.network, a.at, a.host = "unix", u.Path, "localhost"
		return a, nil
	case u.Scheme != "tls" && u.Scheme != "tcp" || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.User != nil || u.RawQuery != "":
		return address{}, fmt.Errorf(`the address %q is none: write "tls://collector:7421", or without TLS "unix:///run/hop" or "tcp://127.0.0.1:7421"`, text)
	case !a.secure && !loopback(a.host):
		return address{}, fmt.Errorf("the address %q: anybody on the way could read along: write tls://, without are a unix socket and 127.0.0.1", text)
	}
	return a, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// tls is how to speak with the receiver at an address; nil = without TLS. It reads the files anew.
func (c *Config) tls(a address) (*tls.Config, error) {
	if !a.secure {
		return nil, nil
	}
	t := &tls.Config{}
	if c.TLS != nil {
		t = c.TLS.Clone()
	} else if err := c.readFiles(t); err != nil {
		return nil, err
	}
	t.MinVersion = max(t.MinVersion, tls.VersionTLS12)
	t.NextProtos = []string{hoppb.ALPN}
	if t.ServerName == "" {
		t.ServerName = a.host
	}
	return t, nil
}

func (c *Config) readFiles(t *tls.Config) error {
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return fmt.Errorf("read the authorities: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM form", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return fmt.Errorf("read the certificate of this client and its key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return nil
}
