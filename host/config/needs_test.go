// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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
