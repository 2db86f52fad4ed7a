// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
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

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// limit is how long a test waits for what must happen.
const limit = 20 * time.Second

// receiver is a server that keeps the rules, but for what a test has it do.
type receiver struct {
	hoppb.UnimplementedHopServer
	t      *testing.T
	server *grpc.Server
	at     string // address
	ended  chan struct{}

	mu     sync.Mutex
	have   map[string]*hoppb.Position // by stream
	bodies []string
	hellos int
	// before is asked before a message is looked at, and after when it is stored, before the answer: an error ends the call; nil goes on.
	before, after func(n int) error
	// hello is asked of each Hello.
	hello func(n int) *hoppb.Refusal
	// again has the message be asked for again.
	again  func(n int) bool
	number int               // messages, of all calls
	old    bool              // it does not know Finish
	finish func(n int) error // asked before a Finish is answered: an error ends the call, of which the stream is forgotten
	ends   int               // Finishes that came
	most   int               // bytes of the largest message
	limit  int               // of a message, in bytes; 0: as many as there may be
}

var errCut = errors.New("cut")

func listen(t *testing.T, address string, opts ...grpc.ServerOption) *receiver {
	t.Helper()
	r := &receiver{t: t, have: map[string]*hoppb.Position{}}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r.serve(l, opts...)
	return r
}

func (r *receiver) serve(l net.Listener, opts ...grpc.ServerOption) {
	r.at, r.ended = l.Addr().String(), make(chan struct{})
	r.server = grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(hoppb.MaxMessage))...)
	hoppb.RegisterHopServer(r.server, r)
	ended, server := r.ended, r.server
	go func() { defer close(ended); _ = server.Serve(l) }()
	r.t.Cleanup(r.close)
}

func (r *receiver) close() {
	r.server.Stop()
	<-r.ended
}

// Send implements [hoppb.HopServer].
func (r *receiver) Send(stream grpc.BidiStreamingServer[hoppb.Up, hoppb.Down]) error {
	up, err := stream.Recv()
	if err != nil {
		return err
	}
	h := up.GetHello()
	r.mu.Lock()
	n := r.hellos
	r.hellos++
	w := &hoppb.Welcome{Version: 1, Window: 4, MaxBatch: uint32(cmp.Or(r.limit, event.MaxBatch)), Have: r.have[h.Stream], Finish: !r.old}
	var refusal *hoppb.Refusal
	if r.hello != nil {
		refusal = r.hello(n)
	}
	r.mu.Unlock()
	if refusal != nil {
		return stream.Send(&hoppb.Down{Says: &hoppb.Down_Refusal{Refusal: refusal}})
	}
	if err := stream.Send(&hoppb.Down{Says: &hoppb.Down_Welcome{Welcome: w}}); err != nil {
		return err
	}
	for told := uint64(1); ; told++ {
		up, err := stream.Recv()
		if err != nil {
			return err
		}
		a := new(hoppb.Answer)
		if m := up.GetMessage(); m != nil {
			a, err = r.take(h.Stream, m)
		} else {
			err = r.forget(h.Stream)
		}
		if err != nil {
			return err
		}
		a.Messages = told
		if err := stream.Send(&hoppb.Down{Says: &hoppb.Down_Answer{Answer: a}}); err != nil {
			return err
		}
	}
}

func (r *receiver) forget(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.have, name)
	r.ends++
	if r.finish != nil {
		return r.finish(r.ends)
	}
	return nil
}

func (r *receiver) take(name string, m *hoppb.Message) (*hoppb.Answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.number
	r.number++
	if r.before != nil {
		if err := r.before(n); err != nil {
			return nil, err
		}
	}
	have := r.have[name]
	next := &hoppb.Position{Incarnation: m.Incarnation, Offset: m.Next}
	switch {
	case r.again != nil && r.again(n):
		return &hoppb.Answer{Have: have, Again: true}, nil
	case name != "" && have.GetOffset() >= m.Next: // one incarnation
		return &hoppb.Answer{Have: have}, nil
	case name != "" && (m.Prev.GetIncarnation() != have.GetIncarnation() || m.Prev.GetOffset() != have.GetOffset()):
		return &hoppb.Answer{Have: have, Again: true}, nil
	}
	b, err := event.Parse(m.Batch)
	if err != nil {
		return nil, err
	}
	r.most = max(r.most, b.Size())
	for _, e := range b.All() {
		r.bodies = append(r.bodies, string(e.Body))
	}
	if name != "" {
		r.have[name] = next
	} else {
		next = nil
	}
	if r.after != nil {
		if err := r.after(n); err != nil {
			return nil, err
		}
	}
	return &hoppb.Answer{Have: next}, nil
}

func (r *receiver) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.bodies)
}

func open(t *testing.T, c Config) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cl, err := Open(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

func plain(r ...*receiver) Config {
	c := Config{}
	for _, one := range r {
		c.Addresses = append(c.Addresses, "tcp://"+one.at)
	}
	return c
}

func lines(from, n int) Batch {
	b := Batch{}
	for i := range n {
		b.Events = append(b.Events, event.Event{Time: 1, Body: fmt.Append(nil, from+i)})
	}
	return b
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func expect(t *testing.T, got []string, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d events arrived, of %d", len(got), n)
	}
	for i, b := range got {
		if b != fmt.Sprint(i) {
			t.Fatalf("event %d is %s", i, b)
		}
	}
}

// pair writes a certificate of an authority and its key, and returns their files.
func pair(t *testing.T, dir, name string, authority *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: authority == nil, BasicConstraintsValid: true,
	}
	if authority == nil {
		authority, signer = of, key
	}
	der, err := x509.CreateCertificate(rand.Reader, of, authority, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err := errors.Join(err,
		os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600)); err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}
