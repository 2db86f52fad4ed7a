// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"crypto/tls"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestClientTLS(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	dir := t.TempDir()
	good, none := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.pem")
	for path, text := range map[string][]byte{good: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), none: []byte("x")} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		ClientTLS
		read bool
		want string // part of the error; "" = none
	}{
		{ClientTLS{}, true, ""},
		{ClientTLS{Mode: "verify", CA: good}, true, ""},
		{ClientTLS{CA: none}, false, ""},
		{ClientTLS{CA: none}, true, "none.pem holds no certificate in PEM form"},
		{ClientTLS{CA: filepath.Join(dir, "nothing")}, true, "cannot be read"},
		{ClientTLS{Cert: good}, false, "go together"},
		{ClientTLS{Key: good}, false, "go together"},
		{ClientTLS{Cert: good, Key: none}, true, "cannot be used"},
		{ClientTLS{Mode: "on"}, true, `is "on", wanted "verify", "require" or "off"`},
	} {
		got, err := c.Config(c.read)
		switch {
		case c.want != "" && (err == nil || got != nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, %v, wanted %q", c.ClientTLS, got, err, c.want)
		case c.want == "" && (err != nil || got.MinVersion != tls.VersionTLS12 || got.InsecureSkipVerify || (got.RootCAs != nil) != (c.CA != "" && c.read)):
			t.Errorf("%+v: %+v, %v", c.ClientTLS, got, err)
		}
	}
	if got, err := (ClientTLS{Mode: "off", Cert: "x"}).Config(true); got != nil || err != nil {
		t.Errorf("off: %+v, %v", got, err)
	}
	if got, err := (ClientTLS{Mode: "require"}).Config(true); err != nil || !got.InsecureSkipVerify {
		t.Errorf("require: %+v, %v", got, err)
	}
}
