// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
)

// calls is what became of the requests, or connections, of clients.
type calls struct {
	good, busy, refused, reset, other atomic.Int64
	last                              atomic.Pointer[error] // of other
}

func (c *calls) note(err error) {
	switch {
	case err == nil:
		c.good.Add(1)
	case errors.Is(err, syscall.ECONNREFUSED):
		c.refused.Add(1)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ENOTCONN), errors.Is(err, io.EOF):
		c.reset.Add(1)
	default:
		c.other.Add(1)
		c.last.Store(&err)
	}
}

// check says what clients have seen.
func (c *calls) check(t *testing.T) {
	t.Helper()
	t.Logf("%d were taken, %d told to come again", c.good.Load(), c.busy.Load())
	if c.refused.Load()+c.reset.Load()+c.other.Load() > 0 || c.good.Load() == 0 {
		t.Errorf("%d were refused, %d reset, %d failed otherwise", c.refused.Load(), c.reset.Load(), c.other.Load())
		if err := c.last.Load(); err != nil {
			t.Error(*err)
		}
	}
}

// clients are several that do something again and again, until they are stopped.
func clients(t *testing.T, n int, do func(client, i int)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var g errgroup.Group
	for client := range n {
		g.Go(func() error {
			for i := 0; ctx.Err() == nil; i++ {
				do(client, i)
			}
			return nil
		})
	}
	return func() {
		cancel()
		_ = g.Wait()
	}
}

// address is where a source listens.
func (r rig) address(source string) string {
	for _, l := range r.component(source).Listeners {
		_, at, _ := strings.Cut(l.Address, "://")
		return at
	}
	return ""
}

func TestNobodyIsRefusedOrResetWhileAnHTTPSourceIsReloaded(t *testing.T) {
	pipeline := `
source "http" "in" {
  into = channel.main
  config { listen = "tcp://127.0.0.1:0" }
}
channel "wal" "main" {
  durability = "os"
}
sink "file" "a" {
  from = channel.main
  config { path = "DIR/a.log" }
}
`
	r := run(t, t.TempDir(), pipeline)
	eventually(t, "it listens", func() bool { return r.component("source.in").State == admin.Running })
	url := "http://" + r.address("source.in") + "/"
	var seen calls
	const many = 8
	kept := make([]*http.Client, many) // every second one makes a connection for each request
	for i := range kept {
		kept[i] = &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 1}}
	}
	stop := clients(t, many, func(client, i int) {
		body := fmt.Sprintf("client %d request %d\n", client, i)
		resp, err := kept[client].Post(url, "text/plain", strings.NewReader(body))
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			err = errors.Join(err, resp.Body.Close())
			if resp.StatusCode == http.StatusServiceUnavailable {
				seen.busy.Add(1)
				return
			}
			if resp.StatusCode/100 != 2 {
				err = errors.New(resp.Status)
			}
		}
		seen.note(err)
	})
	for i := range 20 {
		before := r.started()
		changed := strings.Replace(pipeline, "into = channel.main", fmt.Sprintf("into = channel.main\n  through = [processor.f%d]", i), 1) +
			fmt.Sprintf("processor \"filter\" \"f%d\" {\n  config { matches = \"client\" }\n}\n", i)
		if err := r.reload(t, changed); err != nil {
			t.Fatal(err)
		}
		r.onlyChanged(t, before, "source.in")
	}
	stop()
	for _, c := range kept {
		c.CloseIdleConnections()
	}
	seen.check(t)
	taken := int(seen.good.Load())
	eventually(t, "everything that was answered is delivered", func() bool { return int(r.component("sink.a").Events) >= taken && r.component("sink.a").Waiting == 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, line := range r.out(t, "a") {
		count[line]++
	}
	for line, n := range count {
		if n > 1 {
			t.Errorf("%q is there %d times", line, n)
		}
	}
	if len(count) < taken {
		t.Errorf("%d were answered, %d are there", taken, len(count))
	}
}

func TestAnAddressPassesToAPluginThatCallsItOtherwise(t *testing.T) {
	pipeline := strings.ReplaceAll(`
source "PLUGIN" "in" {
  into = channel.main
  config {
    listen = "tcp://127.0.0.1:PORT"
    MORE
  }
}
channel "wal" "main" {}
sink "file" "a" {
  from = channel.main
  config { path = "DIR/a.log" }
}
`, "PORT", fmt.Sprint(addresstest.FreePort(t)))
	tcp := strings.NewReplacer("PLUGIN", "tcp", "MORE", "")
	hop := strings.NewReplacer("PLUGIN", "hop", "MORE", `clients = ["*"]`)
	r := run(t, t.TempDir(), tcp.Replace(pipeline))
	for _, plugin := range []*strings.Replacer{hop, tcp} { // "in" to one, "listen" to the other
		if err := r.reload(t, plugin.Replace(pipeline)); err != nil {
			t.Fatalf("to %s: %v", plugin.Replace("PLUGIN"), err)
		}
		eventually(t, plugin.Replace("PLUGIN")+" runs", func() bool { return r.component("source.in").State == admin.Running })
	}
}
