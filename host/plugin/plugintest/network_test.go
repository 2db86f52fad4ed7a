// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) {
	hangUp = 2 * time.Second
	goleak.VerifyTestMain(m)
}

// misdeeds are what a fake with a network can do wrong.
type misdeeds struct {
	keepsOpen, cuts                        bool // source of lines
	early, before, mute, wrongStatus       bool // source of requests
	swallows, trusts, givesUp              bool // sink of lines
	believes, rejects, forgetful, scramble bool // sink of requests
}

// wired is a plugin in Go that has handles: sources of lines and of requests, sinks of lines and of requests.
type wired struct{ misdeeds }

func (w *wired) Digest() string { return "" }
func (w *wired) Close() error   { return nil }
func (w *wired) Manifest() abi.Manifest {
	return abi.Manifest{Name: "wired", Version: "1.0.0", Plugins: []abi.Plugin{
		{Kind: abi.Source, Name: "lines", Replay: "none"}, {Kind: abi.Source, Name: "hook", Replay: "ack"},
		{Kind: abi.Sink, Name: "lines", Effects: "none"}, {Kind: abi.Sink, Name: "post", Effects: "none"},
	}}
}

func (w *wired) Open(ctx context.Context, kind abi.Kind, r plugin.Request) (plugin.Instance, error) {
	switch {
	case kind == abi.Source && r.Plugin == "hook":
		return plugin.Instance{Source: &hook{misdeeds: w.misdeeds, in: r.Grants.Serve, open: map[uint64]*plugin.Exchange{}}}, nil
	case kind == abi.Source:
		ctx, stop := context.WithCancel(context.Background())
		s := &listening{misdeeds: w.misdeeds, stop: stop, lines: make(chan string)}
		s.work.Go(func() { s.accept(ctx, r.Grants.Listen["in"]) })
		return plugin.Instance{Source: s}, nil
	case r.Plugin == "post":
		return plugin.Instance{Sink: &posting{misdeeds: w.misdeeds, to: r.Grants.HTTP["url"]}}, nil
	}
	return plugin.Instance{Sink: &writing{misdeeds: w.misdeeds, dial: r.Grants.Dial["to"]}}, nil
}

// listening brings the lines of all connections.
type listening struct {
	misdeeds
	lines chan string // never closed
	stop  context.CancelFunc
	work  sync.WaitGroup
	seq   uint64
}

func (s *listening) accept(ctx context.Context, l plugin.Listener) {
	for {
		select {
		case c := <-l.Conns:
			s.work.Go(func() { s.read(ctx, c) })
		case <-ctx.Done():
			return
		}
	}
}

func (s *listening) read(ctx context.Context, c net.Conn) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil && (s.cuts || line == "") {
			break
		}
		select {
		case s.lines <- strings.TrimSuffix(line, "\n"):
		case <-ctx.Done():
		}
	}
	if s.keepsOpen {
		<-ctx.Done()
	}
}

func (s *listening) Read(ctx context.Context) (plugin.Emission, error) {
	select {
	case line := <-s.lines:
		s.seq++
		b, err := encode(0, event.Event{Body: []byte(line)})
		return plugin.Emission{Seq: s.seq, Batch: b}, err
	case <-ctx.Done():
		return plugin.Emission{}, ctx.Err()
	}
}

func (s *listening) Ack(context.Context, uint64, error) error { return nil }
func (s *listening) Close() error                             { s.stop(); s.work.Wait(); return nil }

// hook brings the body of each POST.
type hook struct {
	misdeeds
	in    <-chan *plugin.Exchange
	open  map[uint64]*plugin.Exchange
	later []byte
	seq   uint64
}

func (s *hook) Read(ctx context.Context) (plugin.Emission, error) {
	if s.later != nil {
		return s.emit(nil, s.later)
	}
	for {
		select {
		case x := <-s.in:
			switch {
			case s.mute && x.Request.Method != "POST":
			case s.wrongStatus:
				x.Answer(http.StatusNoContent, nil, nil)
			case x.Request.Method != "POST":
				x.Answer(http.StatusMethodNotAllowed, nil, nil)
			case s.before:
				x.Answer(http.StatusOK, nil, nil)
				s.later = x.Body
				return plugin.Emission{Seq: s.count()}, nil
			case s.early:
				x.Answer(http.StatusOK, nil, nil)
				return s.emit(nil, x.Body)
			default:
				return s.emit(x, x.Body)
			}
		case <-ctx.Done():
			return plugin.Emission{}, ctx.Err()
		}
	}
}

func (s *hook) count() uint64 { s.seq++; return s.seq }

func (s *hook) emit(x *plugin.Exchange, body []byte) (plugin.Emission, error) {
	s.later = nil
	b, err := encode(0, event.Event{Body: body})
	e := plugin.Emission{Seq: s.count(), Batch: b}
	if x != nil {
		s.open[e.Seq] = x
	}
	return e, err
}

func (s *hook) Ack(_ context.Context, seq uint64, err error) error {
	if x := s.open[seq]; x != nil && err == nil {
		x.Answer(http.StatusOK, nil, nil)
		delete(s.open, seq)
	}
	return nil
}

func (s *hook) Close() error {
	for _, x := range s.open {
		x.Refuse("gone")
	}
	return nil
}

// writing writes lines over one connection.
type writing struct {
	misdeeds
	dial plugin.Dialer
	conn net.Conn
}

func (s *writing) Write(ctx context.Context, _ event.Range, b event.Batch) (out plugin.Outcome, err error) {
	if s.conn != nil && !s.trusts {
		_ = s.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := s.conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			_ = s.conn.Close()
			s.conn = nil
		}
	}
	if s.conn == nil {
		if s.conn, err = s.dial(ctx); err != nil {
			s.conn = nil
			switch {
			case s.swallows:
				return out, nil
			case s.givesUp:
				return out, &plugin.Error{Class: abi.Reject, Err: err}
			}
			return out, err
		}
	}
	var text bytes.Buffer
	for _, e := range b.All() {
		text.Write(append(e.Body, '\n'))
	}
	_, err = s.conn.Write(text.Bytes())
	return out, err
}

func (s *writing) Close() error {
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}

// posting sends a batch in one request.
type posting struct {
	misdeeds
	to plugin.HTTPClient
}

func (s *posting) Close() error { return nil }
func (s *posting) Write(ctx context.Context, _ event.Range, b event.Batch) (out plugin.Outcome, err error) {
	var lines []string
	for _, e := range b.All() {
		lines = append(lines, string(e.Body))
	}
	if s.scramble {
		slices.Reverse(lines)
	}
	if s.forgetful && len(lines) > 1 {
		lines = lines[1:]
	}
	r, err := http.NewRequestWithContext(ctx, "POST", s.to.Base.String(), strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return out, err
	}
	a, err := s.to.Client.Do(r)
	if err != nil {
		return out, err
	}
	_ = a.Body.Close()
	switch {
	case a.StatusCode < 300, s.believes && a.StatusCode < 500:
		return out, nil
	case a.StatusCode >= 500 && !s.rejects, a.StatusCode == 429:
		return out, fmt.Errorf("status %d", a.StatusCode)
	}
	return out, plugin.ErrRejected
}

func wiredCases() []Case {
	opening := func(h Handle) func(string) (Opening, error) {
		return func(string) (Opening, error) { return Opening{Config: "{}", Handles: []Handle{h}}, nil }
	}
	return []Case{
		{Kind: abi.Source, Name: "lines", Setup: opening(Handle{Kind: abi.NeedListen, Name: "in"}), Events: 3, Output: []string{"one", "two", "three"},
			Clients: []Client{{Handle: "in", Send: []string{"on", "e\ntwo\n"}}, {Handle: "in", Send: []string{"three"}}}},
		{Kind: abi.Source, Name: "hook", Setup: opening(Handle{Kind: abi.NeedServe, Name: "in"}), Events: 2, Output: []string{"one", "two"},
			Requests: []Request{{Handle: "in", Method: "POST", Path: "/", Body: "one", Status: 200}, {Handle: "in", Method: "GET", Path: "/", Status: 405},
				{Handle: "in", Method: "POST", Path: "/", Body: "two", Status: 200}}},
		{Kind: abi.Sink, Name: "lines", Setup: opening(Handle{Kind: abi.NeedDial, Name: "to"}), Servers: map[string]Server{"to": {FormatLines, 3}}},
		{Kind: abi.Sink, Name: "post", Setup: opening(Handle{Kind: abi.NeedHTTP, Name: "url", Path: "/in"}), Servers: map[string]Server{"url": {FormatLines, 5}}},
	}
}

// found runs all checks but those that take long, and answers what they say.
func found(t *testing.T, w *wired, of string) (errs []string) {
	for _, c := range wiredCases() {
		if !strings.HasPrefix(string(c.Kind)+" "+c.Name, of) {
			continue
		}
		for _, check := range Checks(w, c) {
			if strings.Contains(check.Says, "memory") {
				continue
			}
			if err := check.Run(t.Context(), t.TempDir()); err != nil {
				errs = append(errs, fmt.Sprintf("%s %s: %s: %v", c.Kind, c.Name, check.Says, err))
			}
		}
	}
	return errs
}

func TestAPluginWithANetworkKeepsTheContract(t *testing.T) {
	for _, err := range found(t, &wired{}, "") {
		t.Error(err)
	}
}

func TestEachMisdeedIsFound(t *testing.T) {
	for _, c := range []struct {
		misdeeds
		of, want string
	}{
		{misdeeds{cuts: true}, "source lines", "it brings its events, in batches that count up: read after 2 events: nothing more comes"},
		{misdeeds{keepsOpen: true}, "source lines", "it ended its side of the connection, and the plugin has not closed its own"},
		{misdeeds{early: true}, "source hook", "is answered with 200, and its events were refused"},
		{misdeeds{before: true}, "source hook", "is answered with 200, and "},
		{misdeeds{wrongStatus: true}, "source hook", "request 1 (POST /): it is answered with 204, want 200"},
		{misdeeds{mute: true}, "source hook", "it is not answered within 2s"},
		{misdeeds{swallows: true}, "sink lines", "it loses nothing when its destination refuses for a while: there are 0 events, want 70"},
		{misdeeds{swallows: true}, "sink lines", "it never takes a refusal for success: where nobody listens it says that all is stored"},
		{misdeeds{trusts: true}, "sink lines", "it loses nothing when its destination hangs up: "},
		{misdeeds{givesUp: true}, "sink lines", "it does not try again what may work later (class reject)"},
		{misdeeds{believes: true}, "sink post", "it never takes a refusal for success: with status 400 it says that all is stored"},
		{misdeeds{believes: true}, "sink post", "it loses nothing when its destination refuses for a while: "},
		{misdeeds{rejects: true}, "sink post", "it loses nothing when its destination refuses for a while: it does not try again"},
		{misdeeds{forgetful: true}, "sink post", "it stores what it was given, in order: event "},
		{misdeeds{scramble: true}, "sink post", "it stores what it was given, in order: event 1 is "},
	} {
		if errs := found(t, &wired{c.misdeeds}, c.of); !slices.ContainsFunc(errs, func(s string) bool { return strings.Contains(s, c.want) }) {
			t.Errorf("%+v: found %q, want %q", c.misdeeds, errs, c.want)
		}
	}
}
