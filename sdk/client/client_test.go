// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachEventOfAStreamArrivesOnceThoughAnswersAreLost(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	r.after = func(n int) error { // it is stored, and nobody hears of it
		if n%3 == 1 {
			return errCut
		}
		return nil
	}
	r.before = func(n int) error { // it is not stored
		if n%5 == 2 {
			return errCut
		}
		return nil
	}
	r.again = func(n int) bool { return n%7 == 3 }
	cfg := plain(r)
	cfg.Stream = "numbers"
	c := open(t, cfg)
	if c.Have() != (Position{}) {
		t.Fatal(c.Have())
	}
	for i := 0; i < 200; i += 10 {
		if _, err := c.Queue(within(t), lines(i, 10)); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if err := c.Flush(within(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r.got(), 200)
	if s := c.Stats(); s.Acknowledged != 200 || s.Waiting != 0 || s.WaitingBytes != 0 || s.Calls < 2 {
		t.Errorf("%+v", s)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	c = open(t, cfg) // the application starts again, and asks where it was
	if at := c.Have(); at.Offset != 200 {
		t.Fatalf("have is %v", at)
	}
	if err := c.Send(within(t), Batch{Events: lines(190, 10).Events, First: 190, Next: 200}); err != nil { // it was not sure
		t.Fatal(err)
	}
	_, err := c.Queue(within(t), Batch{Events: lines(195, 10).Events, First: 195, Next: 205})
	if !errors.Is(err, ErrOrder) {
		t.Fatal(err)
	}
	if err := c.Send(within(t), lines(200, 5)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryQueue(Batch{Events: lines(200, 5).Events, First: 200, Next: 205}); !errors.Is(err, ErrOrder) {
		t.Fatal(err)
	}
	expect(t, r.got(), 205)
}

func TestWithoutAStreamNothingIsLostThoughItMayComeTwice(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	r.after = func(n int) error {
		if n == 1 {
			return errCut
		}
		return nil
	}
	c := open(t, plain(r))
	for i := range 3 {
		if err := c.Send(within(t), lines(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.got(); !slices.Equal(got, []string{"0", "1", "1", "2"}) {
		t.Fatal(got)
	}
}

func TestWhatWaitsGoesOutTogether(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	hold := make(chan struct{})
	r.before = func(n int) error {
		if n == 0 {
			<-hold
		}
		return nil
	}
	cfg := plain(r)
	cfg.Stream = "together"
	c := open(t, cfg)
	var receipts []Receipt
	for i := range 1000 {
		got, err := c.Queue(within(t), lines(i, 1))
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, got)
		if i < 8 {
			time.Sleep(5 * time.Millisecond) // each goes out by itself, until the window is full
		}
	}
	time.Sleep(20 * time.Millisecond) // until the window is full
	close(hold)
	for _, one := range receipts {
		if err := one.Wait(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, r.got(), 1000)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.number > 500 {
		t.Errorf("%d messages", r.number)
	}
}

func TestWhatGoesOutTogetherIsNoMoreThanTheReceiverTakes(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	r.limit = 2000
	hold := make(chan struct{})
	r.before = func(n int) error {
		if n == 0 {
			<-hold
		}
		return nil
	}
	c := open(t, plain(r))
	for i := range 200 {
		if _, err := c.Queue(within(t), lines(i, 1)); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	if err := c.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r.got(), 200)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most > r.limit || r.most < r.limit/4 {
		t.Errorf("a message of %d bytes, and the receiver takes %d", r.most, r.limit)
	}
}

func TestNoReceiptSaysThatSomethingArrived(t *testing.T) {
	t.Parallel()
	c := open(t, plain(listen(t, "127.0.0.1:0")))
	r, err := c.Queue(t.Context(), Batch{}) // of no event
	if err == nil {
		t.Fatal("it is queued")
	}
	if err := r.Wait(t.Context()); err == nil {
		t.Error("what was not queued has arrived")
	}
}

func TestAFullQueueSaysSoOrWaits(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	hold := make(chan struct{})
	r.before = func(int) error { <-hold; return nil }
	cfg := plain(r)
	cfg.Memory = 1000
	c := open(t, cfg)
	n := 0
	for more := true; more; { // when what waits is put together, there is some more room
		more = false
		for ; n < 100; n++ {
			if _, err := c.TryQueue(lines(n, 1)); errors.Is(err, ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			more = true
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n == 0 || n == 100 || c.Stats().WaitingBytes > cfg.Memory {
		t.Fatalf("%d were queued, %+v", n, c.Stats())
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Queue(short, lines(n, 1)); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if _, err := c.TryQueue(Batch{Events: []event.Event{{Body: make([]byte, 1000)}}}); !errors.Is(err, ErrTooBig) {
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := c.Queue(within(t), lines(n, 1))
		waits <- err
	}()
	time.Sleep(20 * time.Millisecond) // it waits
	close(hold)
	if err := <-waits; err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(within(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, r.got(), n+1)
}

func TestAnotherAddressIsTakenWhenOneIsGone(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	c := open(t, plain(a, b))
	if err := c.Send(within(t), lines(0, 1)); err != nil {
		t.Fatal(err)
	}
	if c.Stats().Address != "tcp://"+a.at {
		t.Errorf("%+v", c.Stats())
	}
	a.close()
	for i := range 9 {
		if err := c.Send(within(t), lines(i+1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, append(a.got(), b.got()...), 10)
}

// cuts counts what is logged of streams that have ended.
type cuts struct {
	slog.Handler
	n atomic.Int64
}

// Handle implements [slog.Handler].
func (c *cuts) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		c.n.Add(1)
	}
	return nil
}

// Enabled implements [slog.Handler].
func (c *cuts) Enabled(context.Context, slog.Level) bool { return true }

func TestEachCutIsLoggedOnce(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	at, logged := r.at, new(cuts)
	cfg := plain(r)
	cfg.Log = slog.New(logged)
	c := open(t, cfg)
	for n := range 3 {
		if err := c.Send(within(t), lines(n, 1)); err != nil {
			t.Fatal(err)
		}
		if got := logged.n.Load(); got != int64(n) {
			t.Fatalf("%d cuts are logged, after %d", got, n)
		}
		r.close()
		time.Sleep(200 * time.Millisecond) // it tries in vain
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		r.serve(l)
	}
}

func TestAnotherReceiverIsNoneForAStream(t *testing.T) {
	t.Parallel()
	a, b := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	cfg := plain(a, b)
	cfg.Stream = "one"
	c := open(t, cfg)
	if err := c.Send(within(t), lines(0, 10)); err != nil {
		t.Fatal(err)
	}
	at := a.at
	a.close()
	late, err := c.Queue(within(t), lines(10, 10))
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := late.Wait(short); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), at) && !strings.Contains(err.Error(), "another receiver") {
		t.Fatal(err)
	}
	if got := b.got(); len(got) != 0 {
		t.Fatal(got)
	}
	l, err := net.Listen("tcp", at) // it is back
	if err != nil {
		t.Fatal(err)
	}
	a.serve(l)
	if err := late.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	expect(t, a.got(), 20)
}

func TestWhoIsBiddenToWaitWaits(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	const pause = 300 * time.Millisecond
	var asked []time.Time
	r.hello = func(n int) *hoppb.Refusal {
		asked = append(asked, time.Now())
		if n < 2 {
			return &hoppb.Refusal{Code: int32(abi.EAGAIN), Reason: hoppb.Reason_FULL, RetryAfterMs: pause.Milliseconds(), Message: "full"}
		}
		return nil
	}
	open(t, plain(r))
	for i := range 2 {
		if d := asked[i+1].Sub(asked[i]); d < pause {
			t.Errorf("it came again after %v", d)
		}
	}
}

func TestWhatIsRefusedForGoodIsSaid(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		refusal *hoppb.Refusal
		ok      func(*RefusedError) bool
	}{
		{&hoppb.Refusal{Code: int32(abi.EINVAL), Reason: hoppb.Reason_DIVERGED, Message: "diverged: so", Have: &hoppb.Position{Incarnation: 9, Offset: 7}},
			func(e *RefusedError) bool { return e.Diverged() && e.Have == Position{9, 7} }},
		{&hoppb.Refusal{Code: int32(abi.EACCES), Reason: hoppb.Reason_NOT_ALLOWED, Message: "not listed"},
			func(e *RefusedError) bool { return !e.Diverged() && e.Code == abi.EACCES }},
	} {
		r := listen(t, "127.0.0.1:0")
		r.hello = func(int) *hoppb.Refusal { return c.refusal }
		cfg := plain(r)
		cfg.Stream = "s"
		_, err := Open(within(t), cfg)
		e, ok := errors.AsType[*RefusedError](err)
		if !ok || errors.Is(err, context.DeadlineExceeded) || !c.ok(e) || !strings.Contains(err.Error(), c.refusal.Message) {
			t.Errorf("error is %v", err)
		}
	}

	// Of a client that is open, too: whoever waits hears it.
	r := listen(t, "127.0.0.1:0")
	r.hello = func(n int) *hoppb.Refusal {
		if n > 0 {
			return &hoppb.Refusal{Code: int32(abi.EINVAL), Reason: hoppb.Reason_DIVERGED, Message: "diverged: so"}
		}
		return nil
	}
	r.before = func(int) error { return errCut }
	cfg := plain(r)
	cfg.Stream = "s"
	c := open(t, cfg)
	err := c.Send(within(t), lines(0, 1))
	if e, ok := errors.AsType[*RefusedError](err); !ok || !e.Diverged() {
		t.Fatal(err)
	}
	if _, err := c.TryQueue(lines(1, 1)); err == nil {
		t.Fatal("it is queued")
	}
}

func TestAReceiverThatHoldsWhatTheNumberingDoesNotKnowIsRefused(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	r.have["s"] = &hoppb.Position{Incarnation: 77, Offset: 5}
	cfg := plain(r)
	cfg.Stream = "s"
	if _, err := Open(within(t), cfg); err == nil || !strings.Contains(err.Error(), "diverged") {
		t.Fatal(err)
	}
	cfg.Incarnations = []Incarnation{{77, 0, 10}, {78, 10, 20}}
	c := open(t, cfg)
	if c.Have() != (Position{77, 5}) {
		t.Fatal(c.Have())
	}
	if err := c.Send(within(t), Batch{Events: lines(0, 1).Events, First: 5, Next: 10}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryQueue(Batch{Events: lines(0, 3).Events, First: 11, Next: 13}); err == nil {
		t.Fatal("three events have two numbers")
	}
}

func TestAClientThatIsClosedSaysWhatIsInDoubt(t *testing.T) {
	t.Parallel()
	r := listen(t, "127.0.0.1:0")
	hold := make(chan struct{})
	r.before = func(int) error { <-hold; return errCut }
	c := open(t, plain(r))
	one, err := c.Queue(within(t), lines(0, 3))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err == nil || !strings.Contains(err.Error(), "3 events are not acknowledged") {
		t.Fatal(err)
	}
	close(hold)
	if err := one.Wait(within(t)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryQueue(lines(3, 1)); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestWhoCannotBeReachedIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, Config{Addresses: []string{"tcp://" + at}})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), at) || !strings.Contains(err.Error(), "refused") {
		t.Fatal(err)
	}
}

func TestAConfigIsChecked(t *testing.T) {
	for says, c := range map[string]Config{
		"addresses":   {},
		"is none":     {Addresses: []string{"collector:7421"}},
		"tls://":      {Addresses: []string{"tcp://collector:7421"}},
		"go together": {Addresses: []string{"tls://c:1"}, Cert: "x"},
		"authorities": {Addresses: []string{"tls://c:1"}, CA: "/does/not/exist"},
		"blanks":      {Addresses: []string{"tls://c:1"}, Stream: "a b"},
		"set Stream":  {Addresses: []string{"tls://c:1"}, Incarnations: always},
		"out of":      {Addresses: []string{"tls://c:1"}, Stream: "s", Incarnations: []Incarnation{{1, 5, 9}, {2, 8, 9}}},
	} {
		if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestBothSidesShowACertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority, signer := pair(t, dir, "ca", nil, nil)
	pair(t, dir, "server", authority, signer)
	pair(t, dir, "app", authority, signer)
	pair(t, dir, "other", nil, nil)
	file := func(name string) string { return filepath.Join(dir, name) }
	cert, err := tls.LoadX509KeyPair(file("server.pem"), file("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	r := listen(t, "127.0.0.1:0", grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert})))
	good := Config{Addresses: []string{"tls://" + r.at}, Cert: file("app.pem"), Key: file("app.key"), CA: file("ca.pem")}
	c := open(t, good)
	if err := c.Send(within(t), lines(0, 1)); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Config){
		"certificate": func(c *Config) { c.Cert, c.Key = "", "" },
		"tls":         func(c *Config) { c.Cert, c.Key = file("other.pem"), file("other.key") },
		"certificate signed by unknown authority": func(c *Config) { c.CA = file("other.pem") },
	} {
		wrong := good
		change(&wrong)
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			if _, err := Open(ctx, wrong); err == nil || !strings.Contains(err.Error(), says) {
				t.Error(err)
			}
		})
	}
}
