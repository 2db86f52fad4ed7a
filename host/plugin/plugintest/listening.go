// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// answersAfter refuses what each request brings: none of them may be told that it was taken.
func (s subject) answersAfter(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	for i, q := range s.Requests {
		if q.Status >= 400 {
			continue
		}
		if err := s.refused(ctx, r, q); err != nil {
			return q.because(i, err)
		}
	}
	return nil
}

// refused has an instance of its own, so that it is ended as one is whose events were refused.
func (s subject) refused(ctx context.Context, r plugin.Request, q Request) error {
	in, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	status := 0
	out := begin(ctx, func(ctx context.Context) (err error) {
		status, err = q.do(ctx, s.network.at[q.Handle])
		return err
	})
	events := 0
	for err == nil && events == 0 {
		var e plugin.Emission
		if e, err = next(out.sending, in.Source); err != nil {
			break
		}
		events = e.Batch.Len()
		e.Batch.Release()
		var refusal error
		if events > 0 {
			refusal = &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: "the channel is full"}
		}
		err = in.Source.Ack(ctx, e.Seq, refusal)
	}
	if answered := out.finished() && errors.Is(err, context.Canceled); answered {
		err = nil // before there were any events: then there must not be any
		if late := quiet(ctx, in.Source); late != nil {
			err = fmt.Errorf("it is answered with %d, and then its events come: %w", status, late)
		}
	}
	err = errors.Join(err, in.Source.Close()) // whoever waits for an answer gets one then
	if out.work.Wait(); err == nil {
		err = out.stop()
	} else {
		_ = out.stop() // what the request says is a consequence
	}
	if err == nil && events > 0 && status < 400 {
		err = fmt.Errorf("it is answered with %d, and its events were refused", status)
	}
	return err
}

// withstands has strangers send what nobody expects, and looks that the case's own are heard afterwards as ever.
func (s subject) withstands(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	in, err := s.open(ctx, r)
	if err != nil {
		return err
	}
	silent, err := s.silent(ctx)
	if err == nil {
		rd := reader{src: in.Source, at: event.Cursor{}}
		if err = rd.during(ctx, begin(ctx, s.strangers()...), func() bool { return true }); err != nil {
			err = fmt.Errorf("while strangers send: %w", err)
		} else if rd.bodies, err = nil, rd.during(ctx, s.send(ctx), func() bool { return s.heard(rd.bodies) }); err != nil {
			err = fmt.Errorf("after strangers have sent (expected, and not among them: %.60q): %w", s.missing(rd.bodies), err)
		}
	}
	for _, hangUp := range silent {
		hangUp()
	}
	return errors.Join(err, in.Source.Close())
}

// during reads until it is enough, and stops those who send.
func (r *reader) during(ctx context.Context, out *senders, enough func() bool) error {
	err := r.until(ctx, out, enough)
	if failed := out.stop(); failed != nil {
		return failed
	}
	if errors.Is(err, io.EOF) {
		return errors.New("the source says that there will be no more")
	}
	return err
}

// heard says whether the bodies hold all that the case expects, whatever else is among them.
func (s subject) heard(bodies []string) bool {
	if s.Output == nil {
		return len(bodies) >= s.Events
	}
	return len(s.missing(bodies)) == 0
}

// missing is what the case expects and is not among the bodies.
func (s subject) missing(bodies []string) []string {
	left := slices.Clone(s.Output)
	for _, b := range bodies {
		if i := slices.Index(left, b); i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
	}
	return left
}

// strange is what strangers send. One of them says nothing, and stays.
var strange = []string{"", "\n", "\x00", "\xff\xfe\x80\n\r\n\n", "GET / HTTP/1.1\r\n\r\n", strings.Repeat("x", 60_000), strings.Repeat("\n", 5000), "cut"}

// handles are the names of those that the case's clients connect to.
func (s subject) handles() (names []string) {
	for _, c := range s.Clients {
		if !slices.Contains(names, c.Handle) {
			names = append(names, c.Handle)
		}
	}
	return names
}

// silent connects to each handle and says nothing. The caller hangs up.
func (s subject) silent(ctx context.Context) (closers []func(), err error) {
	for _, handle := range s.handles() {
		_, closed, err := connect(ctx, s.network.at[handle])
		if err != nil {
			return closers, err
		}
		closers = append(closers, closed)
	}
	return closers, nil
}

func (s subject) strangers() (all []func(context.Context) error) {
	for _, handle := range s.handles() {
		for i, text := range strange {
			all = append(all, func(ctx context.Context) error { return intrude(ctx, s.network.at[handle], text, i%2 == 1) })
		}
	}
	if len(s.Requests) == 0 {
		return all
	}
	to := s.network.at[s.Requests[0].Handle]
	for _, q := range strangeRequests(s.Requests[0]) {
		all = append(all, func(ctx context.Context) error {
			if _, err := q.do(ctx, to); err != nil {
				return fmt.Errorf("%s %.40s with a body of %d bytes: %w", q.Method, q.Path, len(q.Body), err)
			}
			return nil
		})
	}
	return all
}

// intrude sends a text, and is gone: without a farewell if abrupt.
func intrude(ctx context.Context, to net.Addr, text string, abrupt bool) error {
	conn, closed, err := connect(ctx, to)
	if err != nil {
		return err
	}
	defer closed()
	_, _ = io.WriteString(conn, text) // the plugin may have hung up, which is its right
	if tcp, ok := conn.(*net.TCPConn); ok && abrupt {
		return tcp.SetLinger(0)
	}
	return nil
}

// strangeRequests are like one of the case's own, and not quite. Each must be answered, with whatever status.
func strangeRequests(own Request) []Request {
	list := []Request{
		{Method: "BREW", Path: own.Path, Body: own.Body},
		{Method: "GET", Path: "/" + strings.Repeat("x", 2000) + "?%ff=%00"},
		{Method: own.Method, Path: own.Path, Header: map[string]string{"x-long": strings.Repeat("x", 8<<10), "content-type": "\xff"}, Body: own.Body},
	}
	for _, body := range append(strange, strings.Repeat("[", 100_000), `{"a":`, strings.Repeat("x", 1<<20)) {
		list = append(list, Request{Method: own.Method, Path: own.Path, Header: own.Header, Body: body})
	}
	return list
}
