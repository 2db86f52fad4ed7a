// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
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

// recheck is how often the files are looked at, at most: a stat of three files for each handshake would be felt under a flood of them.
const recheck = time.Second

// ServerTLS reads the files and makes the configuration of a server. Later handshakes see what the files say then; while they are
// broken, what they said last.
func ServerTLS(o TLSOptions) (*tls.Config, error) {
	if o.Cert == "" || o.Key == "" {
		return nil, errors.New("a server of TLS needs cert and key")
	}
	f := &tlsFiles{o: o}
	if err := f.read(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         f.version(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.current().server, nil },
	}, nil
}

// ClientTLS reads the files and makes the configuration of a client of host. Later handshakes see what the files say then.
func ClientTLS(host string, o TLSOptions) (*tls.Config, error) {
	f := &tlsFiles{o: o}
	if f.o.ServerName == "" {
		f.o.ServerName = host
	}
	if err := f.read(); err != nil {
		return nil, err
	}
	cfg := &tls.Config{MinVersion: f.version(), ServerName: f.o.ServerName, InsecureSkipVerify: o.SkipVerify}
	if o.Cert != "" {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.current().cert, nil }
	}
	if o.CA != "" && !o.SkipVerify {
		// The roots of a tls.Config never change, so the check is ours: the same as that of package tls.
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = f.verify
	}
	return cfg, nil
}

// tlsFiles are the files of one block, and what they said last.
type tlsFiles struct {
	o TLSOptions

	mu     sync.Mutex
	last   tlsState
	looked time.Time
	seen   [3]stamp
	failed string // what was logged last
}

type tlsState struct {
	cert   *tls.Certificate // nil: none
	roots  *x509.CertPool   // nil: the system's
	server *tls.Config      // nil: it is a client's
}

// stamp tells a file that was replaced or written again.
type stamp struct {
	size int64
	time time.Time
}

func (f *tlsFiles) version() uint16 {
	if f.o.MinVersion == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// current reads the files again if they have changed.
func (f *tlsFiles) current() tlsState {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < recheck {
		return f.last
	}
	f.looked = time.Now()
	if f.stamps() == f.seen {
		return f.last
	}
	err := f.load()
	switch {
	case err != nil && err.Error() != f.failed && f.o.Log != nil:
		f.failed = err.Error()
		f.o.Log.Error("reading the files of TLS again, going on with what they said before", "error", err)
	case err == nil && f.o.Log != nil:
		f.failed = ""
		f.o.Log.Info("read the files of TLS again")
	}
	return f.last
}

func (f *tlsFiles) read() error {
	switch f.o.MinVersion {
	case "", "1.2", "1.3":
	default:
		return fmt.Errorf("min_version %q of TLS: write \"1.2\" or \"1.3\"", f.o.MinVersion)
	}
	if (f.o.Cert == "") != (f.o.Key == "") {
		return errors.New("cert and key of TLS come together")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load()
}

func (f *tlsFiles) stamps() (s [3]stamp) {
	for i, name := range []string{f.o.Cert, f.o.Key, f.o.CA} {
		if info, err := os.Stat(name); name != "" && err == nil {
			s[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return s
}

// load reads the files. The caller has the lock. The stamps are taken first: what changes meanwhile is read again.
func (f *tlsFiles) load() error {
	var s tlsState
	stamps := f.stamps()
	if f.o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.o.Cert, f.o.Key)
		if err != nil {
			return pemError(err, f.o.Cert+" and "+f.o.Key)
		}
		s.cert = &pair
	}
	if f.o.CA != "" {
		pem, err := os.ReadFile(f.o.CA)
		if err != nil {
			return pemError(err, f.o.CA)
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s holds no certificate in PEM form", f.o.CA)
		}
	}
	if s.cert != nil {
		s.server = &tls.Config{MinVersion: f.version(), Certificates: []tls.Certificate{*s.cert}, ClientCAs: s.roots}
		if s.roots != nil {
			s.server.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	f.last, f.seen = s, stamps
	return nil
}

// pemError names the file, once.
func pemError(err error, names string) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	return fmt.Errorf("%s: %w", names, err)
}

// verify is what package tls does about the server's certificate, with the roots of today.
func (f *tlsFiles) verify(s tls.ConnectionState) error {
	o := x509.VerifyOptions{Roots: f.current().roots, DNSName: f.o.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	if _, err := s.PeerCertificates[0].Verify(o); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
	}
	return nil
}
