// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Client is somebody who connects to what a source listens on.
type Client struct {
	Handle  string
	Send    []string // one after the other; where datagrams go, one each
	Receive string   // what it must get then, before it hangs up
}

// Request is what somebody asks of a source by HTTP.
type Request struct {
	Handle, Method, Path string
	Header               map[string]string
	Body                 string
	Status               int // of the answer
}

// hangUp is how long a plugin may take to answer, to close a connection whose other end has ended it, and to bring what was sent. Tests
// have less patience.
var hangUp = 10 * time.Second

// pieces is the time between two pieces of what is sent, so that they come in one by one.
const pieces = 2 * time.Millisecond

// errStopped is why senders are ended whom nobody reads any more.
var errStopped = errors.New("stopped")

// senders are all who send to a source at a time.
type senders struct {
	going   context.Context // ends when something went wrong, which is its cause
	sending context.Context // ends when all have finished as well
	fail    context.CancelCauseFunc
	some    bool // there are any
	work    sync.WaitGroup
}

// finished says whether all have sent what they had, and were answered.
func (o *senders) finished() bool { return o.sending.Err() != nil }

// stop ends them, waits, and says what went wrong.
func (o *senders) stop() error {
	o.fail(errStopped)
	o.work.Wait()
	if err := context.Cause(o.going); !errors.Is(err, errStopped) {
		return err
	}
	return nil
}

// others says whether there is somebody who sends.
func (s subject) others() bool { return len(s.Clients)+len(s.Requests) > 0 }

// send begins to do what the clients and requests of the case say.
func (s subject) send(ctx context.Context) *senders {
	var all []func(context.Context) error
	for i, c := range s.Clients {
		all = append(all, func(ctx context.Context) error {
			if err := c.do(ctx, s.network.at[c.Handle]); err != nil {
				return fmt.Errorf("client %d of %q: %w", i+1, c.Handle, err)
			}
			return nil
		})
	}
	if len(s.Requests) > 0 {
		all = append(all, s.requests)
	}
	return begin(ctx, all...)
}

// begin has all of them send at the same time. The caller stops them.
func begin(ctx context.Context, all ...func(context.Context) error) *senders {
	o := &senders{some: len(all) > 0}
	o.going, o.fail = context.WithCancelCause(ctx)
	sending, end := context.WithCancel(o.going)
	o.sending = sending
	var each sync.WaitGroup
	for _, do := range all {
		each.Go(func() {
			if err := do(o.going); err != nil {
				o.fail(err)
			}
		})
	}
	if len(all) == 0 {
		end()
		return o
	}
	o.work.Go(func() { defer end(); each.Wait() })
	return o
}

// connect connects to where the plugin listens. The connection is closed when ctx ends.
func connect(ctx context.Context, to net.Addr) (net.Conn, func(), error) {
	if to == nil {
		return nil, nil, errors.New("the plugin listens on no such handle")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, to.Network(), to.String())
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, func() { stop(); _ = c.Close() }, nil
}

func (c Client) do(ctx context.Context, to net.Addr) error {
	conn, closed, err := connect(ctx, to)
	if err != nil {
		return err
	}
	defer closed()
	for _, piece := range c.Send {
		if _, err := io.WriteString(conn, piece); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		rest(ctx, pieces)
	}
	got := make([]byte, len(c.Receive))
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if n, err := io.ReadFull(conn, got); len(got) > 0 && (err != nil || string(got) != c.Receive) {
		return errors.Join(fmt.Errorf("it got %.60q, want %.60q", got[:n], c.Receive), err)
	}
	stream, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := errors.Join(stream.CloseWrite(), stream.SetReadDeadline(time.Now().Add(hangUp))); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, stream)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it ended its side of the connection, and the plugin has not closed its own within %v", hangUp)
	case err != nil:
		return fmt.Errorf("the plugin does not close the connection in an orderly way: %w", err)
	}
	return nil
}

func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// requests sends the requests of the case, each when the one before was answered.
func (s subject) requests(ctx context.Context) error {
	for i, q := range s.Requests {
		status, err := q.do(ctx, s.network.at[q.Handle])
		if err == nil && status != q.Status {
			err = fmt.Errorf("it is answered with %d, want %d", status, q.Status)
		}
		if err != nil {
			return q.because(i, err)
		}
	}
	return nil
}

func (q Request) because(i int, err error) error {
	return fmt.Errorf("request %d (%s %s): %w", i+1, q.Method, q.Path, err)
}

// do sends one request over a connection of its own, and answers the status.
func (q Request) do(ctx context.Context, to net.Addr) (int, error) {
	if to == nil {
		return 0, errors.New("the plugin serves no such handle")
	}
	ctx, cancel := context.WithTimeout(ctx, hangUp)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.Method, "http://"+to.String()+q.Path, strings.NewReader(q.Body))
	if err != nil {
		return 0, err
	}
	for name, value := range q.Header {
		r.Header.Set(name, value)
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a, err := client.Do(r)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("it is not answered within %v", hangUp)
		}
		return 0, err
	}
	_, err = io.Copy(io.Discard, a.Body)
	return a.StatusCode, errors.Join(err, a.Body.Close())
}
