// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// What a caller may branch on.
var (
	// ErrExposed: the address is one that other machines reach, and nothing would guard it.
	ErrExposed = errors.New("refusing to listen where other machines can reach it")
	// ErrInUse: something else has the address or the socket.
	ErrInUse = errors.New("in use")
)

// Limits of the server. A scraper and a few people at terminals are all that it is for.
const (
	headerTimeout   = 5 * time.Second // to send a request's header
	idleTimeout     = 2 * time.Minute // longer than the usual scrape interval, so that a scraper's connection stays
	writeTimeout    = 2 * time.Minute // a profile of a minute must fit
	shutdownTimeout = 2 * time.Second // for requests in flight; then they are cut
	maxHeaderBytes  = 16 << 10
	maxScrapes      = 4 // at once; each walks every series
)

// Off is the value of Options.Listen, as is "", that leaves only the control socket.
const Off = "off"

// DefaultListen is where metrics and health are served unless a pipeline says otherwise.
const DefaultListen = "127.0.0.1:7420"

// Options say what to serve, and where.
type Options struct {
	Agent   Agent
	Control Control // asked through the control socket only
	// Components is asked through the control socket too, and so are Logs, where they are not nil.
	Components Components
	Logs       *Log

	Metrics prometheus.Gatherer
	Listen  string // host:port on loopback, unless Beyond; port 0 takes a free one; Off or "" = no TCP
	Token   string // who asks over TCP must show it; "" = none
	TLS     *tls.Config
	Beyond  bool   // other machines may connect: TLS, and Token or certificates of clients, guard it
	DataDir string // the control socket's path follows from it: see [SocketPath]
	Log     *slog.Logger
}

// Server serves an agent's metrics, health and status.
type Server struct {
	opts   Options
	tcp    net.Listener // nil when off
	socket net.Listener
}

// Listen takes the address and the control socket, so that whoever starts an agent hears at once when it
// cannot: ErrExposed, ErrInUse, or an error of the system. Run, or else Close, must follow.
func Listen(opts Options) (*Server, error) {
	s := &Server{opts: opts}
	if !isOff(opts.Listen) {
		l, err := listenTCP(opts)
		if err != nil {
			return nil, err
		}
		s.tcp = l
	}
	path, err := SocketPath(opts.DataDir)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	l, err := listenSocket(path)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.socket = newPeerListener(l, opts.Log)
	return s, nil
}

// Addr is the TCP address in use, with its port, or "" when there is none.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Run serves until ctx ends, then lets requests in flight end, and gives address and socket back.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx, s.socket, true) })
	if s.opts.Logs != nil {
		g.Go(func() error { // so that nobody who follows the log holds up the end
			<-ctx.Done()
			s.opts.Logs.end()
			return nil
		})
	}
	if s.tcp != nil {
		g.Go(func() error { return s.serve(ctx, s.tcp, false) })
	}
	return g.Wait()
}

// Close gives address and socket back. After Run it is not needed, and does nothing.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.tcp, s.socket} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close %s: %w", l.Addr(), err))
		}
	}
	return errors.Join(errs...)
}

func (s *Server) serve(ctx context.Context, l net.Listener, control bool) error {
	srv := &http.Server{
		Handler:           s.handler(control),
		ConnContext:       withPeer,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1) // one value, from the goroutine that AfterFunc starts
	stop := context.AfterFunc(ctx, func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		stopped <- srv.Shutdown(limited)
	})
	err := srv.Serve(l)
	if stop() { // nobody asked it to end
		return errors.Join(fmt.Errorf("serve on %s: %w", l.Addr(), err), srv.Close())
	}
	if err := <-stopped; err != nil {
		return srv.Close() // someone holds on to a request; it is cut
	}
	return nil
}

func isOff(addr string) bool { return addr == "" || addr == Off }

func listenTCP(opts Options) (net.Listener, error) {
	addr := opts.Listen
	if err := CheckListen(addr); err != nil && (!opts.Beyond || opts.TLS == nil || !errors.Is(err, ErrExposed)) {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if isInUse(err) {
		return nil, fmt.Errorf("listen on %s: %w; use another with --http, or http { listen = \"127.0.0.1:PORT\" } in the agent block",
			addr, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	l = newLimited(l)
	if opts.TLS != nil {
		l = tls.NewListener(l, opts.TLS)
	}
	return l, nil
}

// CheckListen says what is wrong with an address for metrics and health, or nil. Nobody is asked for
// a password there, so it must be one that only this machine reaches.
func CheckListen(addr string) error {
	if isOff(addr) {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: %w; write it as 127.0.0.1:7420", addr, err)
	}
	if host == "localhost" {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Unmap().IsLoopback() {
		return fmt.Errorf("listen on %q: %w; use 127.0.0.1, [::1] or localhost, and a proxy that asks for a password in front", addr, ErrExposed)
	}
	return nil
}
