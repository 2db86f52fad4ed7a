// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/cmd/penstock/crash/proxy"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/sdk/client"
	"github.com/penstock-io/penstock/spec/event"
)

// linked puts a proxy between the two agents of a hop, and has the far one write at once.
func linked(t *testing.T, near, far *rig) *proxy.Proxy {
	t.Helper()
	text, err := os.ReadFile(near.cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := bytes.Cut(text, []byte(`address = "tls://127.0.0.1:`))
	port, _, _ = bytes.Cut(port, []byte(`"`))
	link, err := proxy.Listen("127.0.0.1:0", "127.0.0.1:"+string(port))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- link.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	there, err := os.ReadFile(far.cfg)
	if err == nil {
		err = errors.Join(
			os.WriteFile(near.cfg, bytes.Replace(text, port, strconv.AppendInt(nil, int64(link.Port()), 10), 1), 0o644),
			os.WriteFile(far.cfg, bytes.Replace(there, []byte("  delivery = \"exactly_once\"\n"), []byte("  delivery = \"exactly_once\"\n  batch { wait = \"5ms\" }\n"), 1), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return link
}

// TestALinkThatWasCutIsUsedAgainSoon: what waited meanwhile begins to arrive within a second or so of the moment at which the network is mended, however long it
// was away. The figure is in spec/performance.md.
func TestALinkThatWasCutIsUsedAgainSoon(t *testing.T) {
	const rounds, each = 9, 200
	const patience, soon = time.Minute, 5 * time.Second // of a busy machine; and what most rounds take less than on any
	near, far := newHop(t)
	link := linked(t, near, far)
	up, from := far.start(), near.start()
	near.write(0, each)
	near.delivered(each)
	var took []time.Duration
	for i := 1; i <= rounds; i++ {
		link.Set(proxy.Fault{Cut: true})
		time.Sleep(time.Duration(i) * 150 * time.Millisecond) // the pauses between attempts have become as long as they get
		near.write(i*each, (i+1)*each)
		near.until("it waits", func(s admin.Status) bool { return component(s, "sink.out").Waiting > 0 })
		before := near.outSize()
		link.Set(proxy.Fault{})
		mended := time.Now()
		for near.outSize() == before {
			if time.Since(mended) > patience {
				t.Fatalf("nothing arrives %v after the link is back; before that it took %v\n%s\n%s", patience, took, near.state(), &near.said)
			}
			time.Sleep(2 * time.Millisecond)
		}
		took = append(took, time.Since(mended).Round(time.Millisecond))
		near.delivered(uint64(i+1) * each)
	}
	near.terminate(from, 0)
	far.until("all is delivered", func(s admin.Status) bool { return component(s, "sink.out").Waiting == 0 })
	far.terminate(up, 0)
	near.came((rounds + 1) * each)
	slices.Sort(took)
	median := took[len(took)/2]
	t.Logf("from the link's return to the first line: median %v, most %v", median, took[len(took)-1])
	if median > soon {
		t.Errorf("half of the times it takes more than %v: %v", soon, took)
	}
}

// resident is the memory of a process, in MiB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// TestAThousandUpstreamsTakeLittleMemory: each has a connection of its own over TLS, and sends something.
func TestAThousandUpstreamsTakeLittleMemory(t *testing.T) {
	const upstreams, atOnce = 1000, 16
	near, far := newHop(t)
	up := far.start()
	text, err := os.ReadFile(far.cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, address, _ := strings.Cut(string(text), `listen  = "`)
	address, _, _ = strings.Cut(address, `"`)
	say := func(n int) *client.Client {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := client.Open(ctx, client.Config{
			Addresses: []string{address}, Stream: fmt.Sprint("stream-", n),
			Cert: near.path("near.pem"), Key: near.path("near.key"), CA: near.path("far.pem"),
		})
		if err == nil {
			err = c.Send(ctx, client.Batch{Events: []event.Event{{Body: fmt.Appendf(nil, "line %d", n)}}})
		}
		if err != nil {
			t.Errorf("upstream %d: %v", n, err)
		}
		return c
	}
	clients := make([]*client.Client, upstreams)
	clients[0] = say(0)
	before := resident(t, up.Process.Pid)
	var work sync.WaitGroup
	for part := range atOnce {
		work.Go(func() {
			for n := 1 + part; n < upstreams; n += atOnce {
				clients[n] = say(n)
			}
		})
	}
	work.Wait()
	more := resident(t, up.Process.Pid) - before
	far.until("all is delivered", func(s admin.Status) bool {
		return component(s, "source.in").Events == upstreams && component(s, "sink.out").Waiting == 0
	})
	for _, c := range clients {
		if c != nil {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	far.terminate(up, 0)
	t.Logf("%d upstreams: %.0f MiB more than one", upstreams, more)
	if more > 200 {
		t.Errorf("%d upstreams take %.0f MiB", upstreams, more)
	}
}
