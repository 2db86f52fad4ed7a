// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// filled is a batch of events with bodies of so many bytes.
func filled(tb testing.TB, events, body int) event.Batch {
	list := make([]string, events)
	for i := range list {
		list[i] = string(make([]byte, body))
	}
	return batch(tb, list...)
}

// BenchmarkSink delivers batches to a sink that looks at every event.
func BenchmarkSink(b *testing.B) {
	for name, data := range map[string]event.Batch{"256KiB": filled(b, 930, 256), "100x256B": filled(b, 100, 256)} {
		b.Run(name, func(b *testing.B) {
			var s setup
			k := s.sink(b)
			took := make([]time.Duration, 0, 1<<16)
			b.SetBytes(int64(data.Size()))
			for b.Loop() {
				began := time.Now()
				if _, err := k.Write(b.Context(), event.Range{Next: event.Offset(data.Len())}, data); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(b.N*data.Len())/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
		})
	}
}

// BenchmarkSinkBesideBare delivers to a sink and sends over a bare stream of gRPC by turns, so that both meet the same machine, and
// tells the median of each, in MB/s: of a bare stream whose messages are answered one by one, and of one where eight are on their way.
func BenchmarkSinkBesideBare(b *testing.B) {
	var s setup
	k, data := s.sink(b), filled(b, 930, 256)
	stream, message := bare(b, false), &pluginpb.WriteRequest{Batch: make([]byte, data.Size())}
	const turn = 8
	exchange := func(ahead int) {
		for range ahead {
			if err := stream.Send(message); err != nil {
				b.Fatal(err)
			}
		}
		for range ahead {
			if _, err := stream.Recv(); err != nil {
				b.Fatal(err)
			}
		}
	}
	ways := []func(){
		func() {
			for range turn {
				if _, err := k.Write(b.Context(), event.Range{Next: event.Offset(data.Len())}, data); err != nil {
					b.Fatal(err)
				}
			}
		},
		func() {
			for range turn {
				exchange(1)
			}
		},
		func() { exchange(turn) },
	}
	took := make([][]time.Duration, len(ways))
	for b.Loop() {
		for i, way := range ways {
			began := time.Now()
			way()
			took[i] = append(took[i], time.Since(began))
		}
	}
	for i, name := range []string{"sink-MB/s", "bare-MB/s", "bare-ahead-MB/s"} {
		slices.Sort(took[i])
		b.ReportMetric(turn*float64(data.Size())/1e6/took[i][len(took[i])/2].Seconds(), name)
	}
}

// BenchmarkSource reads batches.
func BenchmarkSource(b *testing.B) {
	for name, config := range map[string]string{
		"256KiB":   `{"count":1000000000,"each":930,"size":256}`,
		"100x256B": `{"count":1000000000,"each":100,"size":256}`,
	} {
		b.Run(name, func(b *testing.B) {
			s := setup{config: config}
			src := s.source(b)
			n := 0
			for b.Loop() {
				e, err := src.Read(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(e.Batch.Size()))
				n += e.Batch.Len()
				e.Batch.Release()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkRestart kills a child, and delivers the next batch to another.
func BenchmarkRestart(b *testing.B) {
	p := load(b, both)
	data := filled(b, 1, 256)
	var s setup
	var took []time.Duration
	for b.Loop() {
		in, err := p.Open(b.Context(), abi.Sink, s.request(abi.Sink))
		if err != nil {
			b.Fatal(err)
		}
		if err := syscall.Kill(pidOf(in.Sink), syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if _, err := in.Sink.Write(b.Context(), event.Range{Next: 1}, data); plugin.ClassOf(err) != abi.Fatal {
			b.Fatal(err)
		}
		if err := in.Sink.Close(); err != nil {
			b.Fatal(err)
		}
		if in, err = p.Open(b.Context(), abi.Sink, s.request(abi.Sink)); err != nil {
			b.Fatal(err)
		}
		if _, err := in.Sink.Write(b.Context(), event.Range{Next: 1}, data); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		if err := in.Sink.Close(); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "p50-ms")
}

// BenchmarkBare is a stream of gRPC between the same two processes at the same transport, with nothing of ours on it but the message:
// what is sent is answered before the next is sent, or not.
func BenchmarkBare(b *testing.B) {
	for _, c := range []struct {
		name    string
		bytes   int
		secured bool
		ahead   int
	}{
		{"256KiB", 256 << 10, false, 1},
		{"256KiB/ahead", 256 << 10, false, 8},
		{"256KiB/mTLS", 256 << 10, true, 1},
		{"256KiB/mTLS/ahead", 256 << 10, true, 8},
		{"28KiB", 28 << 10, false, 1},
		{"28KiB/mTLS", 28 << 10, true, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			stream := bare(b, c.secured)
			data := &pluginpb.WriteRequest{Batch: make([]byte, c.bytes)}
			b.SetBytes(int64(c.bytes))
			open := 0
			for b.Loop() {
				if err := stream.Send(data); err != nil {
					b.Fatal(err)
				}
				if open++; open == c.ahead {
					if _, err := stream.Recv(); err != nil {
						b.Fatal(err)
					}
					open--
				}
			}
		})
	}
}

// bare starts a child that answers, and connects to it.
func bare(b *testing.B, secured bool) grpc.BidiStreamingClient[pluginpb.WriteRequest, pluginpb.WriteReply] {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	socket := filepath.Join(b.TempDir(), "s")
	how := "bare"
	creds := insecure.NewCredentials()
	if secured {
		how, creds = "bare-tls", credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate()}})
	}
	child := exec.Command(self, "child", how, socket)
	in, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	options := append(new(connected).dialOptions(),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(encoding.GetCodecV2("proto"))),
		grpc.WithTransportCredentials(creds), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}))
	conn, err := grpc.NewClient("passthrough:x", options...)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(func() {
		cancel()
		_ = conn.Close()
		_ = in.Close()
		_ = child.Wait()
	})
	stream, err := pluginpb.NewSinkClient(conn).Write(ctx, grpc.WaitForReady(true))
	if err != nil {
		b.Fatal(err)
	}
	return stream
}

type bareSink struct {
	pluginpb.UnimplementedSinkServer
}

func (bareSink) Write(s grpc.BidiStreamingServer[pluginpb.WriteRequest, pluginpb.WriteReply]) error {
	for {
		if _, err := s.Recv(); err != nil {
			return err
		}
		if err := s.Send(&pluginpb.WriteReply{Credit: 1, Done: true}); err != nil {
			return err
		}
	}
}

// bareMain serves it, as the SDK sets it up.
func bareMain(socket string, secured bool) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(pluginpb.MaxMessage), grpc.InitialWindowSize(pluginpb.Window), grpc.InitialConnWindowSize(pluginpb.Window),
		grpc.WriteBufferSize(ioBuffer), grpc.ReadBufferSize(ioBuffer),
	}
	if secured {
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate()}, ClientAuth: tls.RequireAnyClientCert})))
	}
	s := grpc.NewServer(options...)
	pluginpb.RegisterSinkServer(s, bareSink{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return s.Serve(l)
}

// certificate is of the kind that go-plugin makes for AutoMTLS.
func certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(fmt.Sprint("BUG: ", err))
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
