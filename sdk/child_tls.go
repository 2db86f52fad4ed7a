// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"crypto/tls"
	"crypto/x509"
	"os"
)

// ClientTLS is what a plugin with a client library of its own is configured with, under the names of arguments that all such plugins have. Where the agent makes the
// connections, by [Open.Network] or a grant with TLS, there is no need of it.
type ClientTLS struct {
	Mode      string // of tls: "" and "verify", "require" (encrypted, but to whoever answers) or "off"
	CA        string // of tls_ca: a file of certificates that are trusted instead of the system's; "" = those
	Cert, Key string // of tls_cert and tls_key: files with the certificate of this client, and its key
}

// Config checks the arguments, and reads the files unless read is false, as where a plugin may do no I/O. It is nil where nothing is encrypted. An
// error is a [ConfigError] that names the argument.
func (c ClientTLS) Config(read bool) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	switch c.Mode {
	case "", "verify":
	case "require":
		t.InsecureSkipVerify = true
	case "off":
		return nil, nil
	default:
		return nil, ConfigError("tls", `is %q, wanted "verify", "require" or "off"`, c.Mode)
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, ConfigError("tls_cert", "and tls_key go together: the certificate of this client, and its key")
	}
	if !read {
		return t, nil
	}
	if err := c.load(t); err != nil {
		return nil, err
	}
	return t, nil
}

func (c ClientTLS) load(t *tls.Config) error {
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return ConfigError("tls_ca", "cannot be read: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return ConfigError("tls_ca", "%s holds no certificate in PEM form", c.CA)
		}
	}
	if c.Cert != "" {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return ConfigError("tls_cert", "and tls_key cannot be used: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return nil
}
