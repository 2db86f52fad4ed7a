// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

const (
	// httpWrite is how long a client may take to receive its answer.
	httpWrite = 10 * time.Second
	// httpShutdown is how long what is being answered at the end may take; then it is cut.
	httpShutdown = 2 * time.Second
)

// ServeOptions bound what an HTTP server takes. Zero means the default: see package abi.
type ServeOptions struct {
	TLS        *tls.Config        // nil: without
	MaxBody    int64              // bytes of one body; more is answered with 413
	MaxHeader  int                // bytes of request line and headers; more is answered with 431
	MaxConns   int                // at once; more are hung up on
	PerPeer    int                // of those, from one IP address; 0: three quarters
	MaxWaiting int                // requests that have been read, at once; more are answered with 503
	MaxHeld    int64              // bytes of bodies at once; more are answered with 503
	Handshake  time.Duration      // of TLS
	Header     time.Duration      // to send the header; then it hangs up
	Body       time.Duration      // to send the body; answered with 408
	Wait       time.Duration      // until a plugin takes a request; answered with 503
	Answer     time.Duration      // until the plugin has answered; answered with 503
	Idle       time.Duration      // between two requests; then it hangs up
	Log        *slog.Logger       // nil: none
	Over       func(limit string) // as of [ListenOptions]: "serve.body"
}

func (o ServeOptions) orDefaults() ServeOptions {
	o.MaxBody = cmp.Or(o.MaxBody, abi.DefaultHTTPBody)
	o.MaxHeader = cmp.Or(o.MaxHeader, abi.DefaultHTTPHeader)
	o.MaxConns = cmp.Or(o.MaxConns, abi.DefaultHTTPConnections)
	o.MaxWaiting = cmp.Or(o.MaxWaiting, abi.DefaultHTTPRequests)
	o.MaxHeld = max(cmp.Or(o.MaxHeld, abi.DefaultHTTPHeld), o.MaxBody) // one at least
	o.Header = cmp.Or(o.Header, abi.DefaultHTTPHeaderTimeout)
	o.Body = cmp.Or(o.Body, abi.DefaultHTTPBodyTimeout)
	o.Wait = cmp.Or(o.Wait, abi.DefaultHTTPQueueTimeout)
	o.Answer = cmp.Or(o.Answer, abi.DefaultHTTPAnswerTimeout)
	o.Idle = cmp.Or(o.Idle, abi.DefaultHTTPIdle)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// HTTPServer takes requests at one address and hands them, read whole, to whoever receives from Requests. Nothing of a request that is
// refused was seen by anyone. It speaks HTTP/1.1 alone: there one connection has one request at a time, so that bounds on connections are
// bounds on work.
type HTTPServer struct {
	o        ServeOptions
	listener net.Listener
	http     *http.Server
	requests chan *plugin.Exchange // never closed
	active   chan struct{}         // a token for each handler; never closed
	slots    chan struct{}         // a token for each request that waits; never closed
	held     *semaphore.Weighted   // bytes of bodies
	ending   chan struct{}         // closed by Close
	cut      context.CancelFunc    // ends all requests
	over     overs
	answers  [6]atomic.Uint64 // as in [Counts]
	work     sync.WaitGroup
	once     sync.Once
	closed   error
}

// Serve takes the address, and serves from then on. The caller closes it, after every instance that has its grant.
func Serve(a address.Address, o ServeOptions) (*HTTPServer, error) {
	if a.Packet() {
		return nil, fmt.Errorf("serve HTTP on %s: it needs an address of connections, as tcp://host:port", a)
	}
	l, err := Listen(a, ListenOptions{
		TLS: o.TLS, Connections: cmp.Or(o.MaxConns, abi.DefaultHTTPConnections), PerPeer: o.PerPeer, Handshake: o.Handshake,
		Log: o.Log, Over: o.Over, block: serveBlock,
	})
	if err != nil {
		return nil, err
	}
	return serve(&acceptor{Listener: l, ended: make(chan struct{})}, o), nil
}

// acceptor is a Listener as net/http wants it.
type acceptor struct {
	*Listener
	once  sync.Once
	ended chan struct{} // closed by Close
}

func (a *acceptor) Addr() net.Addr { return a.stream.Addr() }

func (a *acceptor) Accept() (net.Conn, error) {
	select {
	case c := <-a.conns:
		return c, nil
	case <-a.ended:
		return nil, net.ErrClosed
	}
}

func (a *acceptor) Close() error {
	a.once.Do(func() { close(a.ended) })
	return a.Listener.Close()
}

// serve is Serve for a listener that is there already, which becomes the server's.
func serve(l net.Listener, o ServeOptions) *HTTPServer {
	o = o.orDefaults()
	ctx, cut := context.WithCancel(context.Background())
	s := &HTTPServer{
		o: o, listener: l,
		requests: make(chan *plugin.Exchange),
		active:   make(chan struct{}, o.MaxConns),
		slots:    make(chan struct{}, o.MaxWaiting),
		held:     semaphore.NewWeighted(o.MaxHeld),
		ending:   make(chan struct{}),
		cut:      cut,
		over:     overs{block: serveBlock, told: o.Over, log: o.Log.With("address", l.Addr().String())},
	}
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: o.Header,
		IdleTimeout:       o.Idle,
		MaxHeaderBytes:    o.MaxHeader,
		ConnContext:       withConn,
		ConnState:         connState,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug), // what clients do wrong
		Protocols:         new(http.Protocols),
	}
	s.http.Protocols.SetHTTP1(true)
	s.work.Go(func() {
		if err := s.http.Serve(watching{l, s}); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("serving HTTP has ended", "address", l.Addr().String(), "error", err)
		}
	})
	return s
}

// Addr is where it listens.
func (s *HTTPServer) Addr() net.Addr { return s.listener.Addr() }

// Requests is where they come out. A request that nobody has received is withdrawn when it has waited for long enough, when its client has
// gone, and at the end.
func (s *HTTPServer) Requests() <-chan *plugin.Exchange { return s.requests }

// Close refuses what waits, sends the answers that there are, hangs up, and waits for all that. The second time it does nothing.
func (s *HTTPServer) Close() error {
	s.once.Do(func() {
		close(s.ending)
		late, cancel := context.WithTimeout(context.Background(), httpShutdown)
		defer cancel()
		if s.closed = s.http.Shutdown(late); errors.Is(s.closed, context.DeadlineExceeded) {
			s.closed = s.http.Close()
		}
		s.cut()
		s.work.Wait()
		for range cap(s.active) { // no handler is left then
			s.active <- struct{}{}
		}
	})
	return s.closed
}

// Counts says what was seen so far.
func (s *HTTPServer) Counts() (n Counts) {
	if a, ok := s.listener.(*acceptor); ok {
		n = a.Listener.Counts()
	}
	for i := range s.answers {
		n.Answers[i] = s.answers[i].Load()
	}
	return n
}

// errBusy: there is no memory for the body now.
var errBusy = errors.New("too many bodies at once")

// ServeHTTP implements [http.Handler]: it reads the request, waits until somebody has taken it, and for the answer.
func (s *HTTPServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	connOf(r.Context()).handled()
	control := http.NewResponseController(w)
	reply := func(a answer) {
		_ = control.SetWriteDeadline(time.Now().Add(httpWrite)) // a writer that knows none of it is a test's
		s.answers[a.status/100].Add(1)
		a.write(w)
	}
	select {
	case s.active <- struct{}{}:
		defer func() { <-s.active }()
	case <-s.ending:
		reply(refusal("the server is stopping"))
		return
	}
	// The deadline stays where the body is not read to its end: what is left of it net/http reads, to keep the connection.
	_ = control.SetReadDeadline(time.Now().Add(s.o.Body))
	if r.ContentLength > s.o.MaxBody {
		reply(s.tooLong(r, fmt.Sprintf("the body has %d bytes, and may have %d", r.ContentLength, s.o.MaxBody)))
		return
	}
	body, held, err := s.body(w, r)
	defer func() { s.held.Release(held) }()
	if err != nil {
		reply(s.unreadable(r, err))
		return
	}
	select {
	case s.slots <- struct{}{}: // only now: who sends slowly keeps nobody else out
		defer func() { <-s.slots }()
	default:
		reply(refusal(s.beyond(r, limitRequests, fmt.Sprintf("%d requests wait for their answer already", s.o.MaxWaiting))))
		return
	}
	_ = control.SetReadDeadline(time.Time{}) // from here on a reader looks only whether the client goes away
	if a, ok := s.exchange(r, body); ok {
		reply(a)
		return
	}
	s.answers[0].Add(1)
}

// beyond counts what a request has over a limit, and says why it is refused, with the limit's name.
func (s *HTTPServer) beyond(r *http.Request, limit, why string) string {
	s.over.tell(limit, connOf(r.Context()).peer())
	return why + " (" + s.over.name(limit) + ")"
}

func (s *HTTPServer) tooLong(r *http.Request, why string) answer {
	return failure(http.StatusRequestEntityTooLarge, s.beyond(r, limitBody, why))
}

// body reads the whole body, and says how many bytes of held it has taken, also on an error.
func (s *HTTPServer) body(w http.ResponseWriter, r *http.Request) (buf []byte, held int64, err error) {
	const first = 4 << 10 // memory grows with what has come, not with what was announced
	from := http.MaxBytesReader(w, r.Body, s.o.MaxBody)
	for {
		if len(buf) == cap(buf) {
			size := int64(max(2*cap(buf), first))
			if r.ContentLength >= int64(cap(buf)) {
				size = min(size, r.ContentLength+1) // one more, to see the end without growing
			}
			more := size - int64(cap(buf))
			if !s.held.TryAcquire(more) {
				return nil, held, errBusy
			}
			held += more
			grown := make([]byte, len(buf), size)
			copy(grown, buf)
			buf = grown
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buf, held, nil
		case err != nil:
			return nil, held, err
		}
	}
}

// unreadable says what to answer when the body could not be read.
func (s *HTTPServer) unreadable(r *http.Request, err error) answer {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return s.tooLong(r, fmt.Sprintf("the body has more than %d bytes", s.o.MaxBody))
	}
	switch {
	case errors.Is(err, errBusy):
		return refusal(s.beyond(r, limitHeld, err.Error()))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failure(http.StatusRequestTimeout, s.beyond(r, limitBodyTimeout, fmt.Sprintf("the body took longer than %v", s.o.Body)))
	default:
		return failure(http.StatusBadRequest, "the body cannot be read: "+err.Error())
	}
}

// exchange hands the request over and waits for its answer. False: the client has gone.
func (s *HTTPServer) exchange(r *http.Request, body []byte) (answer, bool) {
	answers := make(chan answer, 1) // never closed; the first answer counts
	ex := &plugin.Exchange{Request: r, Body: body, Answer: func(status int, header http.Header, body []byte) {
		select {
		case answers <- answer{status, header, body}:
		default:
		}
	}}
	timer := time.NewTimer(s.o.Wait)
	defer timer.Stop()
	select {
	case s.requests <- ex:
	case <-timer.C:
		return refusal(s.beyond(r, limitQueueTimeout, "there is no room for more now")), true
	case <-s.ending:
		return refusal("the server is stopping"), true
	case <-r.Context().Done():
		return answer{}, false
	}
	timer.Reset(s.o.Answer)
	select {
	case a := <-answers:
		return a, true
	case <-timer.C:
		return refusal(s.beyond(r, limitAnswerTimeout, "there was no answer in time")), true
	case <-r.Context().Done():
		return answer{}, false
	}
}

// answer is what a client is told.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func failure(status int, why string) answer {
	return answer{status, http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Connection": {"close"}}, []byte(why + "\n")}
}

// refusal is what [plugin.Exchange.Refuse] answers.
func refusal(why string) (a answer) {
	ex := plugin.Exchange{Answer: func(status int, header http.Header, body []byte) { a = answer{status, header, body} }}
	ex.Refuse(why)
	return a
}

func (a answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may have gone: nothing follows from it
}
