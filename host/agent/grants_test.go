// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm"
	"github.com/penstock-io/penstock/plugins/bundle"
)

const needsHandles = `
name    = "net"
version = "1.0.0"
source "generate" {
  replay = "none"
  argument "rate" {
    type    = number
    default = 1
  }
  argument "address" {
    type = string
  }
  argument "token" {
    type      = string
    sensitive = true
  }
  need "listen" "in" {
    value = config.address
  }
  need "dial" "out" {
    value = config.address
  }
  need "env" "env" {
    value = ["PENSTOCK_TEST_ZONE", "PENSTOCK_TEST_NOT_SET"]
  }
  need "secret" "token" {
    value = config.token
  }
}`

// netModule writes the builtin module with another manifest, of a source that listens.
func netModule(t *testing.T, dir string) {
	t.Helper()
	code, err := bundle.Module("std")
	if err != nil {
		t.Fatal(err)
	}
	manifest, _, diags := config.ParseManifest([]byte(needsHandles), "plugin.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if code, err = wasm.Pack(code, manifest); err == nil {
		err = os.WriteFile(filepath.Join(dir, "net.wasm"), code, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

const listening = `
secret "token" {
  from = "env:PENSTOCK_TEST_TOKEN"
}
plugin "net" {
  source = "./net.wasm"
  grant {
    listen "in" { address = "ADDRESS" }
    dial "out" { address = "ADDRESS" }
    env     = ["PENSTOCK_TEST_ZONE", "PENSTOCK_TEST_NOT_SET"]
    secrets = ["token"]
  }
}
source "net" "g" {
  into = channel.main
  config {
    address = "ADDRESS"
    token   = secret.token
  }
}
channel "memory" "main" {}
sink "discard" "d" {
  from = channel.main
}
`

func revealed(t *testing.T) func(*Options) {
	return func(o *Options) {
		var diags error
		r, unread := config.Reveal(o.Config)
		if unread.HasErrors() {
			diags = unread
		}
		if o.Revealed = r; diags != nil {
			t.Fatal(diags)
		}
	}
}

func TestWhatIsGrantedIsOpenedOnceForAllInstancesAndClosedAtTheEnd(t *testing.T) {
	t.Setenv("PENSTOCK_TEST_TOKEN", "hunter2")
	t.Setenv("PENSTOCK_TEST_ZONE", "Z")
	dir := t.TempDir()
	netModule(t, dir)
	socket := filepath.Join(dir, "in.sock")
	r := run(t, dir, strings.ReplaceAll(listening, "ADDRESS", "unix://"+socket), revealed(t))
	eventually(t, "it runs", func() bool { return len(r.Ready()) == 0 })
	source := r.running()[1]
	first, second := r.current().request(source), r.current().request(source)
	in := first.Grants.Listen["in"]
	if in.Conns == nil || in.Conns != second.Grants.Listen["in"].Conns {
		t.Errorf("two instances get %v and %v", in, second.Grants.Listen["in"])
	}
	if first.Grants.Env["PENSTOCK_TEST_ZONE"] != "Z" || len(first.Grants.Env) != 1 {
		t.Errorf("the environment is %v", first.Grants.Env)
	}
	if first.Grants.Secrets["token"] != "hunter2" || strings.Contains(string(first.Config), "hunter2") || strings.Contains(string(first.Config), "token") {
		t.Errorf("the secrets are %v, the config %s", first.Grants.Secrets, first.Config)
	}
	mine, err := first.Grants.Dial["out"](t.Context())
	if err != nil {
		t.Fatal(err)
	}
	theirs := <-in.Conns
	if err := errors.Join(mine.Close(), theirs.Close()); err != nil {
		t.Error(err)
	}
	if may := strings.Join(r.component("source.g").May, ", "); !strings.Contains(may, "listen on unix://"+socket) || !strings.Contains(may, "know secret.token") {
		t.Errorf("it may %s", may)
	}
	if r.current().request(r.running()[0]).Grants.Listen["in"].Conns != nil {
		t.Error("the other component has it too")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("unix", socket); err == nil {
		_ = c.Close()
		t.Error("it still listens")
	}
	if strings.Contains(r.log.String(), "hunter2") {
		t.Error("the secret is in the log")
	}
}

// refusal is what an agent says that does not start.
func refusal(t *testing.T, pipeline string, edit ...func(*Options)) error {
	t.Helper()
	dir := t.TempDir()
	netModule(t, dir)
	file := filepath.Join(dir, "pipeline.hcl")
	if err := os.WriteFile(file, []byte(fmt.Sprintf("agent \"test\" {\n  data_dir = %q\n}\n%s", filepath.Join(dir, "data"), pipeline)), 0o600); err != nil {
		t.Fatal(err)
	}
	modules := &Modules{}
	c, _, diags := config.Load(file, modules.ConfigOptions(dir))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	o := Options{Setup: Setup{Config: c, Modules: modules}, Listen: "off", Log: slog.New(slog.DiscardHandler)}
	for _, e := range edit {
		e(&o)
	}
	a, err := New(t.Context(), o)
	if err == nil {
		t.Fatal(errors.Join(errors.New("it starts"), a.Close()))
	}
	return err
}

func TestAnAddressThatIsTakenIsRefusedWithWhoWantedIt(t *testing.T) {
	t.Setenv("PENSTOCK_TEST_TOKEN", "x")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // of a test
	err = refusal(t, strings.ReplaceAll(listening, "ADDRESS", taken.Addr().String()), revealed(t))
	for _, part := range []string{"source.g", "tcp://" + taken.Addr().String(), "in use"} {
		if !errors.Is(err, ErrEnvironment) || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %s", err, part)
		}
	}
}

func TestANameThatIsGrantedByAPatternIsDialledWithinIt(t *testing.T) {
	t.Setenv("PENSTOCK_TEST_TOKEN", "x")
	for pattern, reached := range map[string]bool{"127.0.0.0/8": true, "10.0.0.0/8": false} {
		free, err := net.Listen("tcp4", "localhost:0")
		if err != nil {
			t.Fatal(err)
		}
		port := fmt.Sprint(free.Addr().(*net.TCPAddr).Port)
		_ = free.Close()
		dir := t.TempDir()
		netModule(t, dir)
		text := strings.ReplaceAll(listening, `dial "out" { address = "ADDRESS" }`, `dial "out" { address = "`+pattern+`:`+port+`" }`)
		r := run(t, dir, strings.ReplaceAll(text, "ADDRESS", "localhost:"+port), revealed(t))
		eventually(t, "it runs", func() bool { return len(r.Ready()) == 0 })
		c, err := r.current().request(r.running()[1]).Grants.Dial["out"](t.Context())
		if err == nil {
			_ = c.Close()
		}
		if reached != (err == nil) || !reached && !errors.Is(err, plugin.ErrForbidden) {
			t.Errorf("localhost within %s: %v", pattern, err)
		}
		if may := strings.Join(r.component("source.g").May, ", "); !strings.Contains(may, "connect to tcp://localhost:"+port+" within "+pattern) {
			t.Errorf("it may %s", may)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWithoutItsSecretNothingIsOpened(t *testing.T) {
	err := refusal(t, strings.ReplaceAll(listening, "ADDRESS", "127.0.0.1:1"))
	if !strings.Contains(err.Error(), "source.g: its secrets were not read") {
		t.Error(err)
	}
}

func TestTheSameFileUnderOtherBoundsIsAnotherModule(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir, `
plugin "faulty" {
  source = "./faulty.wasm"
}
plugin "traps" {
  source  = "./faulty.wasm"
  trusted = true
  limits {
    cpu       = "3s"
    cpu_share = 0.5
    handles   = 7
    log_rate  = 8
    metrics   = 9
    output    = "1MiB"
  }
}
source "faulty" "a" {
  into = channel.main
  config {
    count = 1
    every = 10
  }
}
source "traps" "b" {
  into = channel.main
  config {
    count = 1
    every = 10
  }
}
channel "memory" "main" {}
sink "discard" "d" {
  from = channel.main
}
`)
	plain, trusted := r.running()[1], r.running()[2]
	if r.current().plugin(plain.Component) == r.current().plugin(trusted.Component) || r.current().plugin(trusted.Component) == nil {
		t.Error("a trusted plugin is the same as one that is not")
	}
	l := r.current().request(trusted).Limits
	if l.Call != 3*time.Second || l.Share != 0.5 || l.Handles != 7 || l.LogRate != 8 || l.Metrics != 9 || l.OutputBytes != 1<<20 || l.MemoryBytes == 0 {
		t.Errorf("its limits are %+v", l)
	}
	if may := r.component("source.b").May; len(may) != 1 || may[0] != "use the processor without a bound" || len(r.component("source.a").May) != 0 {
		t.Errorf("it may %v", may)
	}
	eventually(t, "both are done", func() bool { return r.component("sink.d").Events == 2 })
}

func TestAModuleOverItsSizeIsRefusedWhenTheFilesAreRead(t *testing.T) {
	dir := t.TempDir()
	netModule(t, dir)
	file := filepath.Join(dir, "pipeline.hcl")
	if err := os.WriteFile(file, []byte("plugin \"net\" {\n  source = \"./net.wasm\"\n  limits { module_size = \"1MiB\" }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, diags := config.Load(file, (&Modules{}).ConfigOptions(dir))
	if len(diags) == 0 || config.CodeOf(diags[0]) != "E4002" || !strings.Contains(diags[0].Detail, "over limits.module_size of 1048576") {
		t.Error(diags)
	}
}
