// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/spec/abi"
)

func TestAddressesAreComparedInOneForm(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{abi.NeedDial, "db:5432", "tcp://db:5432"},
		{abi.NeedDial, "tcp://DB.Internal.:05432", "tcp://db.internal:5432"},
		{abi.NeedDial, "tls://[0:0::1]:1", "tls://[::1]:1"},
		{abi.NeedDial, "unixgram:///run//x/../y.sock", "unixgram:///run/y.sock"},
		{abi.NeedListen, "udp://*:514", "udp://:514"},
		{abi.NeedListen, ":0", "tcp://:0"},
		{abi.NeedServe, "tls://0.0.0.0:443", "tls://0.0.0.0:443"},
		{abi.NeedHTTP, "https://API.internal:443", "https://api.internal"},
		{abi.NeedHTTP, "http://api.internal:80/a/./b/../c/", "http://api.internal/a/c"},
		{abi.NeedHTTP, "http://[::1]:8080/%2e/x", "http://[::1]:8080/%2e/x"},
	} {
		a, err := parseAddress(c.kind, c.text)
		if err != nil || a.String() != c.want {
			t.Errorf("%s %s is %s, want %s (%v)", c.kind, c.text, a, c.want, err)
			continue
		}
		if again, err := parseAddress(c.kind, a.String()); err != nil || again != a {
			t.Errorf("%s reads back as %s (%v)", a, again, err)
		}
	}
}

func TestAGrantCoversTheSameAddressAndWhatIsBelowAURL(t *testing.T) {
	for _, c := range []struct {
		kind, have, want string
		covers           bool
	}{
		{abi.NeedDial, "db:1", "tcp://DB:1", true},
		{abi.NeedDial, "db:1", "db:2", false},
		{abi.NeedDial, "db:1", "tls://db:1", false},
		{abi.NeedDial, "db:1", "db.internal:1", false},
		{abi.NeedDial, "unix:///run/a", "unix:///run/a/b", false},
		{abi.NeedListen, ":1", "0.0.0.0:1", false},
		{abi.NeedHTTP, "https://a/in", "https://a/in", true},
		{abi.NeedHTTP, "https://a/in", "https://a/in/deep", true},
		{abi.NeedHTTP, "https://a/in/", "https://a/in", true},
		{abi.NeedHTTP, "https://a/in", "https://a/inner", false},
		{abi.NeedHTTP, "https://a/in", "https://a/in/../out", false},
		{abi.NeedHTTP, "https://a/in", "https://a/", false},
		{abi.NeedHTTP, "https://a", "http://a", false},
		{abi.NeedHTTP, "https://a", "https://a:444/", false},
	} {
		have, err1 := parseAddress(c.kind, c.have)
		want, err2 := parseAddress(c.kind, c.want)
		if err1 != nil || err2 != nil || have.covers(want) != c.covers {
			t.Errorf("%s covers %s: %v (%v, %v)", c.have, c.want, have.covers(want), err1, err2)
		}
	}
}

const secretModule = `
name    = "net"
version = "1.0.0"
sink "net" {
  argument "password" {
    type      = string
    sensitive = true
    pattern   = "[a-z-]+"
  }
  argument "token" {
    type      = string
    sensitive = true
    default   = "none"
  }
  argument "plain" {
    type      = string
    sensitive = true
  }
  need "secret" "password" {
    value = config.password
  }
  need "secret" "plain" {
    value = config.plain
  }
}`

// reveal loads a sink with that config, and reads its secrets.
func reveal(t *testing.T, config string) (Component, map[string]Revealed, string) {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "token")
	pipeline := `
secret "pg" {
  from = "env:PENSTOCK_TEST_PG"
}
secret "token" {
  from = "file:` + key + `"
}
secret "unused" {
  from = "env:PENSTOCK_TEST_NOT_SET"
}
plugin "net" {
  source = "./net.wasm"
  grant { secrets = ["pg", "token"] }
}
channel "wal" "main" {}
sink "net" "out" {
  from = channel.main
  config {
    ` + config + `
  }
}`
	for name, text := range map[string]string{"pipeline.hcl": pipeline, "net.wasm": secretModule, "token": "t0ken\r\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, files, diags := Load(filepath.Join(dir, "pipeline.hcl"), testOptions(stdManifest(t), dir))
	if c == nil {
		t.Fatal(diags)
	}
	revealed, unread := Reveal(c)
	var shown bytes.Buffer
	WriteDiagnostics(&shown, unread, files, false, 0)
	return c.Sinks[0].Component, revealed, shown.String()
}

func TestSecretsAreRevealedToTheComponentThatNamesThem(t *testing.T) {
	t.Setenv("PENSTOCK_TEST_PG", "hunter-two")
	c, revealed, shown := reveal(t, `
    password = "a-${secret.pg}"
    token    = "Bearer ${upper(secret.token)}"
    plain    = "as it stands"`)
	r := revealed["sink.out"]
	if shown != "" || r.Secrets["password"] != "a-hunter-two" || r.Secrets["plain"] != "as it stands" || len(r.Secrets) != 2 {
		t.Errorf("%v %s", r.Secrets, shown)
	}
	if string(r.Config) != `{"token":"Bearer T0KEN"}` || string(c.Config) != `{}` {
		t.Errorf("opened with %s, shown is %s", r.Config, c.Config)
	}
	if !slices.Equal(c.Secrets, []string{"pg", "token"}) || strings.Contains(r.String(), "hunter") {
		t.Errorf("names %v, shown as %s", c.Secrets, r)
	}
}

func TestASecretThatIsWrongIsToldAndNotShown(t *testing.T) {
	for value, want := range map[string]string{"Hunter2 is no word": "E1304", "": "E5002", "hunter\xff": "E5002"} {
		t.Setenv("PENSTOCK_TEST_PG", value)
		_, revealed, shown := reveal(t, `password = secret.pg`)
		if !strings.Contains(shown, want) || strings.Contains(strings.ToLower(shown), "hunter") || value == "" && revealed != nil {
			t.Errorf("%q: %s", value, shown)
		}
	}
	os.Unsetenv("PENSTOCK_TEST_PG")
	if _, _, shown := reveal(t, `password = secret.pg`); !strings.Contains(shown, "PENSTOCK_TEST_PG is not set") {
		t.Error(shown)
	}
	t.Setenv("PENSTOCK_TEST_PG", "x")
	if _, _, shown := reveal(t, `password = ["a", "b"][secret.pg]`); !strings.Contains(shown, "E1401") {
		t.Error(shown)
	}
}
