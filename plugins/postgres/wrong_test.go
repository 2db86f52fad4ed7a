// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/spec/abi"
)

// TestWrongArgumentsOfTheSink needs no server: what is wrong is seen before it is asked.
func TestWrongArgumentsOfTheSink(t *testing.T) {
	for name, c := range map[string]struct {
		config map[string]any
		want   string
	}{
		"no host":             {map[string]any{"host": ""}, "is empty"},
		"no user":             {map[string]any{"user": ""}, "is empty"},
		"tls":                 {map[string]any{"tls": "maybe"}, `"verify", "require" or "off"`},
		"no such file":        {map[string]any{"tls_ca": "/nowhere"}, "cannot be read"},
		"half a pair":         {map[string]any{"tls_cert": "/x"}, "go together"},
		"three parts":         {map[string]any{"table": "a.b.c"}, "SCHEMA.TABLE"},
		"no table":            {map[string]any{"table": ""}, "SCHEMA.TABLE"},
		"ranges":              {map[string]any{"ranges": "."}, "SCHEMA.TABLE"},
		"a column of nothing": {map[string]any{"columns": map[string]string{"a": "bodies"}}, "is none of body"},
		"no path":             {map[string]any{"columns": map[string]string{"a": "body..x"}}, "no name after it"},
		"no end":              {map[string]any{"columns": map[string]string{"a": `body["x]`}}, "ends"},
		"no number":           {map[string]any{"columns": map[string]string{"a": `body[-1]`}}, "neither"},
		"update of what":      {map[string]any{"on_conflict": "update"}, `key = ["id"]`},
		"key of what":         {map[string]any{"on_conflict": "update", "key": []string{"id"}}, "none of columns"},
		"conflict":            {map[string]any{"on_conflict": "replace"}, `"error", "ignore" or "update"`},
	} {
		t.Run(name, func(t *testing.T) {
			config := map[string]any{"host": "127.0.0.1", "port": 1, "user": "u", "database": "d", "table": "t"}
			for k, v := range c.config {
				config[k] = v
			}
			s := newSinkOf(t)
			s.Configure(config)
			if code, text := codeAndText(s.Restart()); code != abi.EINVAL || !strings.Contains(text, c.want) {
				t.Errorf("%v: %s, want %q in it", code, text, c.want)
			}
		})
	}
	s := newSinkOf(t)
	s.Configure(map[string]any{"host": "127.0.0.1", "port": 1, "user": "u", "database": "d", "table": "t", "password": "hush"})
	if code, text := codeAndText(s.Restart()); code.Class() != abi.Retry || !strings.Contains(text, "127.0.0.1:1/d") || !strings.Contains(text, "refused") || strings.Contains(text, "hush") {
		t.Errorf("nobody listens: %v: %s", code, text)
	}
}

// certificates writes those of a server called localhost, signed by one that it returns, and of another that signed nothing.
func certificates(t *testing.T, dir string) (ca, other string) {
	t.Helper()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issue := func(name string, signer *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour), IsCA: signer == nil, BasicConstraintsValid: true, DNSNames: []string{name}}
		if signer == nil {
			signer, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".crt", "CERTIFICATE", der)
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return parsed, key
	}
	signer, by := issue("ca", nil, nil)
	issue("other", nil, nil)
	_, key := issue("localhost", signer, by)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write("localhost.key", "PRIVATE KEY", der)
	return filepath.Join(dir, "ca.crt"), filepath.Join(dir, "other.crt")
}

// TestHowItConnects goes over TCP, with and without TLS, as roles that may and may not.
func TestHowItConnects(t *testing.T) {
	dir, err := os.MkdirTemp("", "tls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ca, other := certificates(t, dir)
	pgtest.Give(t, dir, filepath.Join(dir, "localhost.crt"), filepath.Join(dir, "localhost.key"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	srv := pgtest.Start(t, "fsync=off", fmt.Sprintf("port=%d", port), "listen_addresses=127.0.0.1", "ssl=on", "ssl_cert_file="+filepath.Join(dir, "localhost.crt"), "ssl_key_file="+filepath.Join(dir, "localhost.key"))
	srv.Exec(`CREATE ROLE writer LOGIN PASSWORD 'right'; CREATE ROLE nobody LOGIN PASSWORD 'right'; CREATE TABLE t (body text)`)
	srv.Exec(ranges{table: relation{"", "penstock_ranges"}}.ddl())
	srv.Exec(`GRANT INSERT ON t TO writer; GRANT SELECT, INSERT, UPDATE, DELETE ON penstock_ranges TO writer`)
	srv.Authenticate("host all writer,nobody 127.0.0.1/32 scram-sha-256")
	base := map[string]any{"host": "localhost", "port": port, "user": "writer", "password": "right", "database": "postgres", "table": "t", "columns": map[string]string{"body": "body"}, "tls_ca": ca}
	for name, c := range map[string]struct {
		change map[string]any
		code   abi.Class
		want   string // in the message; "": it writes
	}{
		"verified":             {nil, 0, ""},
		"any certificate":      {map[string]any{"tls": "require", "tls_ca": other}, 0, ""},
		"nothing encrypted":    {map[string]any{"tls": "off"}, 0, ""},
		"signed by another":    {map[string]any{"tls_ca": other}, abi.Config, "tls_ca"},
		"another name":         {map[string]any{"host": "127.0.0.1"}, abi.Config, "not for that host"},
		"another password":     {map[string]any{"password": "wrong"}, abi.Config, "SQLSTATE 28P01"},
		"another role":         {map[string]any{"user": "somebody"}, abi.Config, "pg_hba.conf"},
		"another database":     {map[string]any{"database": "none"}, abi.Config, "SQLSTATE 3D000"},
		"a role without right": {map[string]any{"user": "nobody"}, abi.Config, "grant the role"},
		"no right to create":   {map[string]any{"table": "mine", "create": true}, abi.Config, "grant the role"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSinkOf(t)
			config := map[string]any{}
			for _, m := range []map[string]any{base, c.change} {
				for k, v := range m {
					config[k] = v
				}
			}
			s.Configure(config)
			s.Stream = name
			err := s.Restart()
			if err == nil {
				err = s.Send("x")
			}
			code, text := codeAndText(err)
			if c.want == "" && err != nil || c.want != "" && (err == nil || code.Class() != c.code || !strings.Contains(text, c.want)) || strings.Contains(text, "right'") {
				t.Errorf("%v: %s, want %q in it", code, text, c.want)
			}
			_ = s.Close()
		})
	}
}

func TestAServerWithoutRoom(t *testing.T) {
	srv := pgtest.Start(t, "fsync=off", "max_connections=5", "superuser_reserved_connections=0")
	var last error
	for range 6 {
		s := newSinkOf(t)
		s.Configure(sinkConfigOf(t, srv, nil))
		if last = s.Restart(); last != nil {
			break
		}
		t.Cleanup(func() { _ = s.Close() })
	}
	if code, text := codeAndText(last); code.Class() != abi.Retry || !strings.Contains(text, "max_connections") {
		t.Errorf("%v: %s", code, text)
	}
}
