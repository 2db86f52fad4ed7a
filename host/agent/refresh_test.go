// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/penstock-io/penstock/host/config"
)

// guarded has a sink that is given a password, and another that is not.
const guarded = `
secret "door" {
  from    = "file:DIR/password"
  refresh = "1h"
}
plugin "faulty" {
  source = "./faulty.wasm"
  grant {
    secrets = ["door"]
    dir "until" {
      path   = "DIR"
      access = "read"
    }
  }
}
plugin "plain" {
  source = "./faulty.wasm"
}
source "plain" "lines" {
  into = channel.main
  config {
    count = 1000
    every = 5000
  }
}
channel "wal" "main" {}
sink "faulty" "door" {
  from = channel.main
  config {
    until    = "DIR/faulty.wasm"
    password = secret.door
  }
}
sink "discard" "other" {
  from = channel.main
}
`

// TestASecretThatIsAnotherIsTakenUpByWhoUsesItAlone goes from one password to another that does, to one that does not, and to one that cannot be read.
func TestASecretThatIsAnotherIsTakenUpByWhoUsesItAlone(t *testing.T) {
	dir := t.TempDir()
	password := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "password"), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	password("hunter-one")
	r := run(t, dir, strings.Replace(agentBlock, "150ms", "2s", 1)+guarded, func(o *Options) {
		secrets, diags := config.ReadSecrets(o.Config)
		if o.Secrets = secrets; diags.HasErrors() {
			t.Fatal(diags)
		}
		if o.Revealed, diags = config.RevealWith(o.Config, secrets); diags.HasErrors() {
			t.Fatal(diags)
		}
	})
	eventually(t, "all is delivered", func() bool { return r.component("sink.door").Events == 1000 })
	f := newRefresher(r.Agent)
	again := func(changed ...string) {
		t.Helper()
		before := r.started()
		f.refresh(t.Context(), r.current(), r.current().Config.Secrets)
		r.onlyChanged(t, before, changed...)
	}
	given := func(want string) {
		t.Helper()
		eventually(t, "it runs", func() bool { return r.component("sink.door").State == "running" })
		if got := string(r.current().Revealed["sink.door"].Config); !strings.Contains(got, want) {
			t.Errorf("it is given %s, and not %s", got, want)
		}
	}
	again()

	// What is in the files by now is for a reload: neither another pipeline nor another module is taken up.
	write(t, dir, strings.Replace(guarded, `sink "discard"`, `sink "nothing"`, 1))
	if err := os.WriteFile(filepath.Join(dir, "faulty.wasm"), []byte("no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	password("wrong-two")
	again("sink.door")
	given("hunter-one")
	again() // it is the same that did not do
	password("hunter-three")
	again("sink.door")
	given("hunter-three")
	again()
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	again()
	given("hunter-three")
	for _, never := range []string{"hunter", "wrong-"} {
		if strings.Contains(r.log.String(), never) {
			t.Errorf("%s is in the log", never)
		}
	}
	if err := testutil.GatherAndCompare(r.registry, strings.NewReader(`# HELP penstock_secret_refreshes_total Secrets that were read again, by result: same; changed = who uses it runs with it now; returned = they have failed with it, and run with the one before; unread = it could not be read, and the one before stays.
# TYPE penstock_secret_refreshes_total counter
penstock_secret_refreshes_total{result="changed",secret="door"} 1
penstock_secret_refreshes_total{result="returned",secret="door"} 1
penstock_secret_refreshes_total{result="same",secret="door"} 3
penstock_secret_refreshes_total{result="unread",secret="door"} 1
`), "penstock_secret_refreshes_total"); err != nil {
		t.Error(err)
	}
}

func TestASecretIsReadAgainAtItsInterval(t *testing.T) {
	f := newRefresher(nil)
	start := time.Unix(1000, 0)
	all := []config.Secret{{Name: "a", Refresh: 2 * time.Second}, {Name: "b", Refresh: 5 * time.Second}, {Name: "never"}}
	var read []string
	for i := range 12 {
		if i == 8 {
			all[1].Refresh = 2 * time.Second // by a reload
		}
		for _, s := range f.duty(all, start.Add(time.Duration(i)*time.Second)) {
			read = append(read, s.Name+" "+time.Duration(i*int(time.Second)).String())
		}
	}
	if diff := cmp.Diff([]string{"a 2s", "a 4s", "b 5s", "a 6s", "a 8s", "a 10s", "b 10s"}, read); diff != "" {
		t.Error(diff)
	}
	if f.duty(nil, start); len(f.due) != 0 {
		t.Errorf("it remembers what is gone: %v", f.due)
	}
}
