// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// TLSOptions say what a block tls says: files in PEM form, by absolute path.
type TLSOptions struct {
	Cert, Key  string // a server needs both; a client shows them when it is asked to
	CA         string // a client: who may have signed the server's certificate, instead of the system's roots; a server: clients must show one signed so
	ServerName string // a client: the name that the certificate must have; "": the host that is dialled
	SkipVerify bool   // a client: takes any certificate. The pipeline file says so where everybody can see it
	MinVersion string // "1.2" (the default) or "1.3"
	Log        *slog.Logger
}

const (
	// recheck is how often the files are looked at, at most: a stat of three files for each handshake would be felt under a flood of them.
	recheck = time.Second
	// settle is how long files may be broken before anything is said: certificate and key are two files, which are not written in one moment.
	settle = 2 * time.Second
)

// TLSFiles are the files of one block, and what they said last when they could be used. They are looked at when there is a handshake, and by Look.
// Methods may be called from any goroutine. They hold nothing that must be freed.
type TLSFiles struct {
	o    TLSOptions
	last atomic.Pointer[tlsContent]
	said atomic.Pointer[string] // why they cannot be used, as it was logged; nil: they can, or that is not sure yet

	mu     sync.Mutex // of looks, which wait for the disk
	looked time.Time
	seen   [3]stamp
	broken bool      // they could not be used when they were looked at last
	since  time.Time // when that began
}

// TLSState is what there is to say about files.
type TLSState struct {
	Cert, CA Validity // of what is in use; of several authorities, that of the one which is valid longest
	Broken   string   // why the files cannot be used as they are now, and could not for a while; "": they can
}

// Validity is from when until when something is valid. The zero value: there is nothing.
type Validity struct{ From, Until time.Time }

// tlsContent is what files said. It is not changed.
type tlsContent struct {
	cert  *tls.Certificate // nil: none
	roots *x509.CertPool   // nil: the system's
	ca    Validity
}

// stamp tells a file that was replaced or written again.
type stamp struct {
	size int64
	time time.Time
}

// OpenTLS reads the files.
func OpenTLS(o TLSOptions) (*TLSFiles, error) {
	switch o.MinVersion {
	case "", "1.2", "1.3":
	default:
		return nil, fmt.Errorf("min_version %q of TLS: write \"1.2\" or \"1.3\"", o.MinVersion)
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("cert and key of TLS come together")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	f := &TLSFiles{o: o}
	return f, f.load()
}

// Server makes the configuration of a server, which speaks one of the protocols; none: of none is spoken. Later handshakes see what the files say
// then; while they are broken, what they said last.
func (f *TLSFiles) Server(protocols ...string) (*tls.Config, error) {
	if f.o.Cert == "" {
		return nil, errors.New("a server of TLS needs cert and key")
	}
	var mu sync.Mutex
	var of *tlsContent
	var made *tls.Config // of that content; kept, since the keys of its tickets are its own
	return &tls.Config{
		MinVersion: f.version(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := f.current()
			mu.Lock()
			defer mu.Unlock()
			if now != of {
				of, made = now, &tls.Config{MinVersion: f.version(), NextProtos: protocols, Certificates: []tls.Certificate{*now.cert}, ClientCAs: now.roots}
				if now.roots != nil {
					made.ClientAuth = tls.RequireAndVerifyClientCert
				}
			}
			return made, nil
		},
	}, nil
}

// Client makes the configuration of a client of host, which speaks one of the protocols. Later handshakes see what the files say then, as with a server.
func (f *TLSFiles) Client(host string, protocols ...string) *tls.Config {
	name := cmp.Or(f.o.ServerName, host)
	cfg := &tls.Config{MinVersion: f.version(), ServerName: name, InsecureSkipVerify: f.o.SkipVerify, NextProtos: protocols}
	if f.o.Cert != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.current().cert, nil }
	}
	if f.o.CA != "" && !f.o.SkipVerify {
		// The roots of a tls.Config never change, so the check is ours: the same as that of package tls.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return verify(s, name, f.current().roots) }
	}
	return cfg
}

// Look looks at the files now, and so sees what was written into them before there is a handshake.
func (f *TLSFiles) Look() { f.current() }

// State says how things stand, as far as was seen. It does not wait for the disk.
func (f *TLSFiles) State() (s TLSState) {
	now := f.last.Load()
	if now.cert != nil {
		s.Cert = Validity{now.cert.Leaf.NotBefore, now.cert.Leaf.NotAfter}
	}
	s.CA = now.ca
	if said := f.said.Load(); said != nil {
		s.Broken = *said
	}
	return s
}

func (f *TLSFiles) version() uint16 {
	if f.o.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// current reads the files again if they have changed.
func (f *TLSFiles) current() *tlsContent {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.looked) < recheck {
		return f.last.Load()
	}
	f.looked = now
	if f.stamps() != f.seen {
		f.again(now)
	} else if f.broken { // they were put back as they had been
		f.mended()
	}
	return f.last.Load()
}

// again reads files that have changed. f.mu is held.
func (f *TLSFiles) again(now time.Time) {
	err := f.load()
	if err == nil {
		f.mended()
		return
	}
	if !f.broken {
		f.broken, f.since = true, now
	}
	why, said := err.Error(), f.said.Load()
	if now.Sub(f.since) >= settle && (said == nil || *said != why) {
		f.said.Store(&why)
		f.o.Log.Error("the files of TLS cannot be used as they are, so what they said before is used on: put them right", "error", err)
	}
}

// mended notes that the files can be used. f.mu is held.
func (f *TLSFiles) mended() {
	f.broken = false
	f.said.Store(nil)
	f.o.Log.Info("read the files of TLS again")
}

func (f *TLSFiles) stamps() (s [3]stamp) {
	for i, name := range []string{f.o.Cert, f.o.Key, f.o.CA} {
		if info, err := os.Stat(name); name != "" && err == nil {
			s[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return s
}

// load reads the files. The caller has the lock, or is alone. The stamps are taken first: what changes meanwhile is read again.
func (f *TLSFiles) load() error {
	c, stamps := &tlsContent{}, f.stamps()
	if f.o.Cert != "" {
		pair, err := readPair(f.o.Cert, f.o.Key)
		if err != nil {
			return err
		}
		c.cert = &pair
	}
	if f.o.CA != "" {
		text, err := readPEM(f.o.CA)
		if err != nil {
			return err
		}
		c.roots = x509.NewCertPool()
		if !c.roots.AppendCertsFromPEM(text) {
			return fmt.Errorf("%s holds no certificate in PEM form", f.o.CA)
		}
		c.ca = longest(text)
	}
	f.seen = stamps
	f.last.Store(c)
	return nil
}

// readPair reads a certificate and its key.
func readPair(certFile, keyFile string) (pair tls.Certificate, err error) {
	cert, err := readPEM(certFile)
	if err != nil {
		return pair, err
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return pair, err
	}
	if pair, err = tls.X509KeyPair(cert, key); err != nil {
		return pair, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}
	if pair.Leaf == nil { // as with GODEBUG=x509keypairleaf=0
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	return pair, err
}

// readPEM reads a file, which must not be cut off: package tls would take a chain, or a bundle, without its last certificates.
func readPEM(name string) ([]byte, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	whole := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		whole++
	}
	if begun := len(pemBegin.FindAllIndex(text, -1)); begun > whole {
		return nil, fmt.Errorf("%s is cut off or damaged: of %d parts in PEM form %d are whole", name, begun, whole)
	}
	return text, nil
}

// pemBegin is where a part in PEM form begins.
var pemBegin = regexp.MustCompile(`(?m)^-----BEGIN `)

// longest is the validity of the certificate that is valid longest.
func longest(text []byte) (v Validity) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.NotAfter.After(v.Until) { // what is none is passed over, as by package x509
			v = Validity{cert.NotBefore, cert.NotAfter}
		}
	}
	return v
}

// verify is what package tls does about the server's certificate, with the roots of today.
func verify(s tls.ConnectionState, name string, roots *x509.CertPool) error {
	o := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := s.PeerCertificates[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
	}
	return nil
}
