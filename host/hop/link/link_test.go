// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs certificates into files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue makes a certificate that is good until then.
func (a *authority) issue(t testing.TB, name string, until time.Time) endpoint.TLSOptions {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	of := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	der, _ = x509.MarshalECPrivateKey(key)
	a.write(t, name+".key", "EC PRIVATE KEY", der)
	return endpoint.TLSOptions{
		Cert: filepath.Join(a.dir, name+".pem"), Key: filepath.Join(a.dir, name+".key"), CA: filepath.Join(a.dir, "ca.pem"),
	}
}

// receiver is an address with a source behind it, and what would be its channel.
type receiver struct {
	t       testing.TB
	l       *endpoint.Listener
	addr    address.Address
	source  plugin.Source
	stop    context.CancelFunc
	ended   chan struct{}
	refused int // handshakes

	mu     sync.Mutex
	cursor event.Cursor
	bodies []string
	denied map[string]int
	fail   int           // so many puts are taken before one is refused; 0: none is
	full   bool          // nothing is read
	hold   chan struct{} // what is read is put when that is closed; nil: at once
}

func newReceiver(t testing.TB, tls endpoint.TLSOptions) *receiver {
	r := &receiver{t: t, cursor: event.Cursor{}, denied: map[string]int{}}
	files, err := endpoint.OpenTLS(tls)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := files.Server(hoppb.ALPN)
	if err != nil {
		t.Fatal(err)
	}
	at, err := address.Parse(abi.NeedListen, "tls://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.l, err = endpoint.Listen(at, endpoint.ListenOptions{TLS: cfg, Refused: func(net.Addr, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.refused++
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.addr = at
	r.addr.Port = r.l.Grant().Addr.(*net.TCPAddr).Port
	r.open()
	t.Cleanup(func() {
		r.close()
		if err := r.l.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *receiver) Plugin(_ string, _ int, name string, n float64) {
	r.mu.Lock()
	r.denied[name] += int(n)
	r.mu.Unlock()
}

func (r *receiver) Call(string, time.Duration, time.Duration) {}
func (r *receiver) Memory(string, uint64)                     {}
func (r *receiver) Denied(_, capability string)               { r.mu.Lock(); r.denied[capability]++; r.mu.Unlock() }
func (r *receiver) stored() int                               { r.mu.Lock(); defer r.mu.Unlock(); return len(r.bodies) }
func (r *receiver) counted(capability string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.denied[capability]
}

// open starts an instance from the cursor that is on disk, and puts what it emits, as package pipeline does.
func (r *receiver) open() {
	r.mu.Lock()
	req := plugin.Request{
		Component: "source.edges", Config: json.RawMessage(`{"clients": ["edge*"], "upstreams": 3, "window": 4}`), Cursor: maps.Clone(r.cursor), Buffers: event.Heap{},
		Log: slog.New(slog.DiscardHandler), Metrics: r, Grants: plugin.Grants{Listen: map[string]plugin.Listener{listenHandle: r.l.Grant()}},
	}
	r.mu.Unlock()
	s, err := openSource(req)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.source, r.stop, r.ended = s, stop, make(chan struct{})
	go func() {
		defer close(r.ended)
		for {
			r.mu.Lock()
			full := r.full
			r.mu.Unlock()
			if full {
				<-ctx.Done()
				return
			}
			em, err := s.Read(ctx)
			if err != nil {
				return
			}
			r.mu.Lock()
			hold := r.hold
			r.mu.Unlock()
			if hold != nil {
				<-hold
			}
			r.mu.Lock()
			refuse := false
			if r.fail > 0 {
				r.fail--
				refuse = r.fail == 0
			}
			if !refuse {
				for _, e := range em.Batch.All() {
					r.bodies = append(r.bodies, string(e.Body))
				}
				for key, value := range em.Changed {
					if r.cursor[key] = value; len(value) == 0 {
						delete(r.cursor, key)
					}
				}
			}
			r.mu.Unlock()
			em.Batch.Release()
			if refuse {
				_ = s.Ack(ctx, em.Seq, errors.New("refused"))
				_ = s.Close()
				return
			}
			_ = s.Ack(ctx, em.Seq, nil)
		}
	}()
}

func (r *receiver) close() {
	r.stop()
	<-r.ended
	if err := r.source.Close(); err != nil {
		r.t.Error(err)
	}
}

// sender is what opens sinks.
type sender struct {
	t     testing.TB
	dial  plugin.Dialer
	lives []abi.Incarnation
	ends  []event.Offset
	more  string // config
	lone  bool
	loses bool         // its log is not durable
	said  bytes.Buffer // its log
	had   answered
	name  string                               // "" = up
	done  func() (event.Offset, []event.Range) // of one of several; nil: it is alone
}

func newSender(t testing.TB, to *receiver, tls endpoint.TLSOptions) *sender {
	t.Helper()
	files, err := endpoint.OpenTLS(tls)
	if err != nil {
		t.Fatal(err)
	}
	dial, err := endpoint.Dial(to.addr, endpoint.DialOptions{TLS: files.Client("127.0.0.1", hoppb.ALPN)})
	if err != nil {
		t.Fatal(err)
	}
	return &sender{t: t, dial: dial, lives: []abi.Incarnation{{ID: 7}}, ends: []event.Offset{1000}}
}

// newPair is a receiver, and a sender that it lets in.
func newPair(t testing.TB) (*receiver, *sender) {
	t.Helper()
	ca, hour := newAuthority(t), time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour))
	return r, newSender(t, r, ca.issue(t, "edge-1", hour))
}

func (s *sender) open() (plugin.Streamer, []plugin.Held, error) {
	inst, err := s.instance()
	if err != nil {
		return nil, nil, err
	}
	return inst.Sink.(plugin.Streamer), inst.Held, nil
}

func (s *sender) instance() (plugin.Instance, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	return openSink(ctx, plugin.Request{
		Component: "sink." + cmp.Or(s.name, "up"), Channel: "main", Reader: "sink_group.ups", Stream: "channel/reader/1", Incarnations: s.lives, Ends: s.ends,
		Durable: !s.loses, Shared: s.lone, Settled: s.done,
		Config: json.RawMessage(`{"address": "the receiver", "window": 8` + s.more + `}`), Log: slog.New(slog.NewTextHandler(&s.said, nil)),
		Grants: plugin.Grants{Dial: map[string]plugin.Dialer{dialHandle: s.dial}},
	}, &s.had)
}

// batch has the numbers of a range as bodies.
func batch(t testing.TB, r event.Range) event.Batch {
	w := event.Builder{Base: r.First}
	for o := r.First; o < r.Next; o++ {
		if err := w.Append(event.Event{Time: 1, Body: fmt.Append(nil, o)}); err != nil {
			t.Fatal(err)
		}
	}
	return w.Batch()
}

// deliver sends [from, to), ten at a time, a window ahead, and returns what is known to be held.
func deliver(t testing.TB, s plugin.Streamer, from, to event.Offset) (event.Offset, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var waiting []event.Offset
	held := from
	for at := from; at < to || len(waiting) > 0; {
		if at < to && len(waiting) < s.Window() {
			r := event.Range{First: at, Next: min(at+10, to)}
			if err := s.Send(ctx, r, batch(t, r)); err != nil {
				return held, err
			}
			at = r.Next
			waiting = append(waiting, at)
			continue
		}
		if err := s.Outcome(ctx); err != nil {
			return held, err
		}
		held, waiting = waiting[0], waiting[1:]
	}
	return held, nil
}

func (r *receiver) expect(t *testing.T, n int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bodies) != n {
		t.Fatalf("%d events arrived, of %d", len(r.bodies), n)
	}
	for i, b := range r.bodies {
		if b != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, b)
		}
	}
}

func TestEachEventArrivesOnceThroughInstancesThatComeAndGo(t *testing.T) {
	t.Parallel()
	for _, more := range []string{"", `, "compression": "zstd"`} {
		ca := newAuthority(t)
		r := newReceiver(t, ca.issue(t, "collector", time.Now().Add(time.Hour)))
		s := newSender(t, r, ca.issue(t, "edge-1", time.Now().Add(time.Hour)))
		s.more = more
		at := event.Offset(0)
		for round := 0; at < 500 && round < 50; round++ {
			r.mu.Lock()
			r.fail = 3 + round // a put is refused; then the instance is replaced
			r.mu.Unlock()
			sink, held, err := s.open()
			if err != nil {
				t.Fatal(err)
			}
			at = 0
			for _, h := range held {
				at = h.Range.Next
			}
			if at, err = deliver(t, sink, at, 500); err != nil {
				t.Log(err)
			}
			if err := sink.Close(); err != nil {
				t.Error(err)
			}
			r.close()
			r.open()
		}
		r.expect(t, 500)
	}
}

func TestWhateverIsPackedSaysItsSize(t *testing.T) {
	t.Parallel()
	batch := bytes.Repeat([]byte("to be packed; "), 10_000)
	for n := 0; n <= len(batch); n += 1 + n/64 {
		packed := pack(nil, batch[:n])
		size, err := unpackedSize(packed)
		if err != nil || size != n {
			t.Fatalf("of %d bytes: %d, %v", n, size, err)
		}
		if back := make([]byte, n); unzstd(back, packed) != nil || !bytes.Equal(back, batch[:n]) {
			t.Fatalf("%d bytes come back as something else", n)
		}
	}
}

func TestASenderThatIsRestoredFromABackupIsHeld(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 0, 100); err != nil {
		t.Fatal(err)
	}
	_ = sink.Close()
	s.lives, s.ends = []abi.Incarnation{{ID: 7}, {ID: 8, First: 1 << 32}}, []event.Offset{60, 1<<32 + 5}
	_, _, err = s.open()
	e, ok := errors.AsType[*plugin.Error](err)
	if !ok || e.Class != abi.Config || !strings.Contains(e.Error(), "diverged") || !strings.Contains(e.Hint, "penstock channel replay main sink_group.ups --from here") {
		t.Fatalf("error is %v", err)
	}
	if r.counted("hop.diverged") != 1 {
		t.Errorf("counted: %v", r.denied)
	}
	r.expect(t, 100)
}

func TestWhoIsNotAllowedIsRefusedAndCounted(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	hour := time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour))
	foreign := other.issue(t, "edge-1", hour)
	foreign.CA = filepath.Join(ca.dir, "ca.pem")
	for says, c := range map[string]struct {
		tls    endpoint.TLSOptions
		reason string
	}{
		"another name":         {ca.issue(t, "stranger", hour), `"stranger" is not one of those`},
		"an expired one":       {ca.issue(t, "edge-2", time.Now().Add(-time.Hour)), "certificate"},
		"of another authority": {foreign, "certificate"},
		"none":                 {endpoint.TLSOptions{CA: foreign.CA}, "certificate"},
	} {
		_, _, err := newSender(t, r, c.tls).open()
		if err == nil || !strings.Contains(err.Error(), c.reason) || plugin.ClassOf(err) != abi.Retry {
			t.Errorf("%s: %v", says, err)
		}
	}
	if n := r.counted("hop.not_allowed"); n != 1 {
		t.Errorf("%d are counted that are not allowed", n)
	}
	refused := 0
	for deadline := time.Now().Add(10 * time.Second); refused != 3 && time.Now().Before(deadline); time.Sleep(time.Millisecond) { // the client may know first
		r.mu.Lock()
		refused = r.refused
		r.mu.Unlock()
	}
	if refused != 3 {
		t.Errorf("%d handshakes were refused", refused)
	}
}

func TestNobodyMovesThePositionOfAnother(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour))
	first, second := newSender(t, r, ca.issue(t, "edge-1", hour)), newSender(t, r, ca.issue(t, "edge-2", hour))
	for _, s := range []*sender{first, second} { // the same stream
		sink, held, err := s.open()
		if err != nil || len(held) != 0 {
			t.Fatal(held, err)
		}
		if _, err := deliver(t, sink, 0, 20); err != nil {
			t.Fatal(err)
		}
		_ = sink.Close()
	}
	if n := r.stored(); n != 40 || len(r.cursor) != 2 {
		t.Errorf("%d events, and %d positions", n, len(r.cursor))
	}
}

func TestANewerStreamOfTheSameUpstreamEndsTheOlder(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	old, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, old, 0, 20); err != nil {
		t.Fatal(err)
	}
	newer, held, err := s.open()
	if err != nil || len(held) != 1 || held[0].Range.Next != 20 {
		t.Fatal(held, err)
	}
	if err := old.Outcome(t.Context()); err == nil || !strings.Contains(err.Error(), "another stream") {
		t.Errorf("the older one: %v", err)
	}
	if _, err := deliver(t, newer, 20, 40); err != nil {
		t.Fatal(err)
	}
	_, _ = old.Close(), newer.Close()
	r.expect(t, 40)
}

func TestACertificateThatIsReplacedHoldsForWhoComesNext(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour))
	s := newSender(t, r, ca.issue(t, "edge-1", hour))
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	ca.issue(t, "collector", hour.Add(time.Minute))
	ca.issue(t, "edge-1", hour.Add(time.Minute))
	if _, err := deliver(t, sink, 0, 20); err != nil { // what is open stays open
		t.Fatal(err)
	}
	_ = sink.Close()
	if sink, _, err = s.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 20, 40); err != nil {
		t.Fatal(err)
	}
	_ = sink.Close()
	r.expect(t, 40)
}

func TestASenderWithoutAPositionIsAnswered(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	s.lone = true
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, sink, 0, 100); err != nil {
		t.Fatal(err)
	}
	_ = sink.Close()
	r.expect(t, 100)
	if len(r.cursor) != 0 {
		t.Error("a position is kept")
	}
}

func TestWhoFindsNoRoomIsBiddenToComeAgain(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	r := newReceiver(t, ca.issue(t, "collector", hour))
	r.mu.Lock()
	r.full = true
	r.mu.Unlock()
	r.close()
	r.open()
	s := newSender(t, r, ca.issue(t, "edge-1", hour))
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	_, err = deliver(t, sink, 0, 100)
	_ = sink.Close()
	e, ok := errors.AsType[*plugin.Error](err)
	if !ok || e.Class != abi.Retry || e.Delay != plugin.RetryAfter || r.counted("hop.full") != 1 {
		t.Fatalf("error is %v, counted %v", err, r.denied)
	}
	if r.stored() != 0 {
		t.Error("something is stored")
	}
}

func TestAConfigIsLookedAt(t *testing.T) {
	for _, c := range []struct {
		kind         abi.Kind
		config, path string
	}{
		{abi.Source, `{"listen": "tls://:7421", "clients": ["*"]}`, ""},
		{abi.Source, `{"listen": "tcp://127.0.0.1:7421", "clients": ["local"]}`, ""},
		{abi.Source, `{"listen": "unix:///run/hop", "clients": ["local"]}`, ""},
		{abi.Source, `{"listen": "tcp://:7421", "clients": ["local"]}`, "listen"},
		{abi.Source, `{"listen": "tls://:7421", "clients": []}`, "clients"},
		{abi.Sink, `{"address": "tcp://collector:7421"}`, "address"},
		{abi.Sink, `{"address": "tcp://localhost:7421"}`, ""},
	} {
		path, err := Check(c.kind, json.RawMessage(c.config))
		if path != c.path || (err != nil) != (c.path != "") {
			t.Errorf("%s: %q %v", c.config, path, err)
		}
	}
}

func TestAMessageThatIsNoBatchEndsTheStreamAndMovesNothing(t *testing.T) {
	t.Parallel()
	r, s := newPair(t)
	sink, _, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	bad := event.Trusted([]byte("this is no batch, of however many bytes"), 0, nil)
	if err := sink.Send(t.Context(), event.Range{First: 0, Next: 1}, bad); err != nil {
		t.Fatal(err)
	}
	err = sink.Outcome(t.Context())
	_ = sink.Close()
	if plugin.ClassOf(err) != abi.Config || len(r.cursor) != 0 {
		t.Errorf("error is %v, positions %v", err, r.cursor)
	}
	if _, err := hop.ReadHolding([]byte("short")); err == nil {
		t.Error("half a position is one")
	}
}
