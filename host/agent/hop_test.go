// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// arrivals stands for the plugin of a sink, and notes when which event came.
type arrivals struct {
	mu    sync.Mutex
	n     int
	first time.Time
	last  time.Time
	took  []time.Duration // since the event was read
	keep  int             // so many of them are noted
}

func (a *arrivals) Manifest() abi.Manifest { return abi.Manifest{Name: "arrivals"} }
func (a *arrivals) Digest() string         { return "arrivals" }
func (a *arrivals) Close() error           { return nil }

func (a *arrivals) Open(context.Context, abi.Kind, plugin.Request) (plugin.Instance, error) {
	return plugin.Instance{Sink: a}, nil
}

func (a *arrivals) Write(_ context.Context, _ event.Range, b event.Batch) (plugin.Outcome, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.n == 0 {
		a.first = now
	}
	a.n, a.last = a.n+b.Len(), now
	for _, e := range b.All() {
		if len(a.took) >= a.keep {
			break
		}
		a.took = append(a.took, now.Sub(time.Unix(0, e.Time)))
	}
	return plugin.Outcome{}, nil
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.n
}

// closed stands for a plugin that cannot be opened, and notes with what that was tried.
type closed struct {
	arrivals
	with chan plugin.Request
}

func (a *closed) Open(_ context.Context, _ abi.Kind, r plugin.Request) (plugin.Instance, error) {
	a.with <- r
	return plugin.Instance{}, &plugin.Error{Class: abi.Config}
}

func TestASourceKnowsWhenItsCursorIsForgotten(t *testing.T) {
	a := &closed{with: make(chan plugin.Request, 1)}
	run(t, t.TempDir(), "source \"generate\" \"in\" {\n  into = channel.main\n  config {\n    count = 1\n  }\n}\nchannel \"wal\" \"main\" {\n  forget_after = \"72h\"\n}\n"+
		"sink \"discard\" \"out\" {\n  from = channel.main\n}\n", func(o *Options) { o.StandIns, o.Cache = StandIns{"source.in": a}, filepath.Join(data, "cache") })
	if r := <-a.with; r.Forgets != 72*time.Hour {
		t.Errorf("it is told %v", r.Forgets)
	}
}

// selfSigned writes a certificate that signs itself, and its key.
func selfSigned(t testing.TB, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, cerr := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	secret, kerr := x509.MarshalECPrivateKey(key)
	if err := errors.Join(cerr, kerr,
		os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// tlsBlock is that of one end of a hop.
func tlsBlock(own, other string) string {
	return fmt.Sprintf("tls \"both\" {\n  cert = \"DIR/%s.pem\"\n  key = \"DIR/%s.key\"\n  ca = \"DIR/%s.pem\"\n}\n", own, own, other)
}

// generated is an agent that makes events, and what they come to: a sink of its own, or over a hop that of another agent.
func generated(b *testing.B, source string, hop bool) (a *arrivals) {
	dir, at := b.TempDir(), fmt.Sprint("127.0.0.1:", addresstest.FreePort(b))
	a = &arrivals{keep: 1 << 20}
	cache := filepath.Join(data, "cache") // what an agent here has compiled, all may use
	standIn := func(o *Options) { o.StandIns, o.Cache = StandIns{"sink.out": a}, cache }
	out := "sink \"discard\" \"out\" {\n  from = channel.main\n  batch {\n    wait = \"1ms\"\n  }\n}\n"
	near := "source \"generate\" \"in\" {\n  into = channel.main\n  config {\n    " + source + "\n  }\n}\nchannel \"wal\" \"main\" {}\n"
	if !hop {
		run(b, dir, near+out, standIn)
		return a
	}
	selfSigned(b, dir, "near")
	selfSigned(b, dir, "far")
	run(b, dir, "agent \"test\" {\n  data_dir = \"DIR/far\"\n}\nsource \"hop\" \"in\" {\n  into = channel.main\n  tls = tls.both\n  config {\n    listen = \"tls://"+at+"\"\n    clients = [\"near\"]\n  }\n}\nchannel \"wal\" \"main\" {}\n"+
		out+tlsBlock("far", "near"), standIn)
	run(b, dir, "agent \"test\" {\n  data_dir = \"DIR/near\"\n}\n"+near+
		"sink \"hop\" \"out\" {\n  from = channel.main\n  tls = tls.both\n  config { address = \"tls://"+at+"\" }\n}\n"+tlsBlock("near", "far"), func(o *Options) { o.Cache = cache })
	return a
}

// BenchmarkHop moves events of 256 bytes from one agent to another, durable in both, over mutual TLS, all in this process; and beside it within one.
func BenchmarkHop(b *testing.B) {
	const count = 2_000_000
	for _, hop := range []bool{false, true} {
		b.Run(fmt.Sprint("hop=", hop), func(b *testing.B) {
			for b.Loop() {
				a := generated(b, fmt.Sprintf("count = %d", count), hop)
				for a.count() < count {
					time.Sleep(5 * time.Millisecond)
				}
				b.ReportMetric(count/a.last.Sub(a.first).Seconds(), "events/s")
			}
		})
	}
}

// BenchmarkHopLatency is from the moment at which an event was made until its sink has it, at 10 000 a second.
func BenchmarkHopLatency(b *testing.B) {
	for _, hop := range []bool{false, true} {
		b.Run(fmt.Sprint("hop=", hop), func(b *testing.B) {
			for b.Loop() {
				a := generated(b, "rate = 10000", hop)
				for a.count() < 50_000 {
					time.Sleep(50 * time.Millisecond)
				}
				a.mu.Lock()
				took := slices.Clone(a.took[10_000:50_000])
				a.mu.Unlock()
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "ms-p50")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "ms-p99")
			}
		})
	}
}
