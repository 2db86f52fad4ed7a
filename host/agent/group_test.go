// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// destination is a server that takes so many events, and then answers that it is not available.
type destination struct {
	*httptest.Server
	left, got atomic.Int64
}

func newDestination(t *testing.T, left int64) *destination {
	d := &destination{}
	d.left.Store(left)
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := int64(strings.Count(strings.TrimSpace(string(body)), "\n") + 1)
		if d.left.Add(-n) < 0 {
			d.left.Add(n)
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		d.got.Add(n)
	}))
	t.Cleanup(d.Close)
	return d
}

// groupOf is a pipeline with a group of sinks, one for each destination.
func groupOf(group string, count int, to ...*destination) string {
	var s strings.Builder
	fmt.Fprintf(&s, `
source "generate" "g" {
  into = channel.main
  config { count = %d }
}
channel "wal" "main" {}
sink_group "all" {
  from    = channel.main
  members = [sink.s1, sink.s2, sink.s3]
  %s
}
`, count, group)
	for i, d := range to {
		fmt.Fprintf(&s, `
sink "http" "s%d" {
  batch {
    events = 1
    wait   = "0s"
  }
  config { url = "%s/" }
}
`, i+1, d.URL)
	}
	return s.String()
}

func TestAGroupFailsOverFromOneMemberToTheNext(t *testing.T) {
	s1, s2, s3 := newDestination(t, 10), newDestination(t, 50), newDestination(t, 1000)
	r := run(t, t.TempDir(), groupOf(`failover {
    cool_down     = "10s"
    max_cool_down = "10s"
    fail_back     = "10s"
  }`, 65, s1, s2, s3))
	eventually(t, "all is delivered", func() bool { return s1.got.Load()+s2.got.Load()+s3.got.Load() >= 65 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	// A pause has full jitter, so that one of them may be tried again and fail again; what each takes stays the same.
	if a, b, c := s1.got.Load(), s2.got.Load(), s3.got.Load(); a != 10 || b != 50 || c != 5 {
		t.Errorf("the members got %d, %d and %d", a, b, c)
	}
}

func TestAGroupSharesOutAndNoneGoesToADeadMember(t *testing.T) {
	s1, s2, s3 := newDestination(t, 1000), newDestination(t, 0), newDestination(t, 1000)
	// So slowly that both mostly have nothing to do: one that a busy machine does not let run gets less.
	r := run(t, t.TempDir(), strings.Replace(groupOf(`policy = "load_balance"`, 200, s1, s2, s3), "config { count = 200 }", "config {\n    count = 200\n    rate  = 200\n  }", 1))
	eventually(t, "all is delivered", func() bool { return s1.got.Load()+s3.got.Load() >= 200 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if a, b, c := s1.got.Load(), s2.got.Load(), s3.got.Load(); b != 0 || a+c != 200 || a < 40 || c < 40 {
		t.Errorf("the members got %d, %d and %d", a, b, c)
	}
}
