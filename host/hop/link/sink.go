// SPDX-License-Identifier: Apache-2.0

package link

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/host/hop"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

const (
	// welcomeWithin is how long a receiver may take to say Welcome: it waits for what it has on its way to disk.
	welcomeWithin = 15 * time.Second
	// askAfter is after how long of silence the receiver is asked whether it is there, while something waits for its answer. It is the least that gRPC takes.
	askAfter = 10 * time.Second
	// askWithin is how long that answer may take.
	askWithin = 3 * time.Second
)

// sink sends.
type sink struct {
	sinkConfig
	open   plugin.Request
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[hoppb.Up, hoppb.Down]
	stop   context.CancelFunc
	work   sync.WaitGroup
	window int
	most   int // bytes of a batch that the receiver takes
	zstd   bool
	packed []byte // memory for one batch; Send's
	before *answered
	key    string // of it

	mu      sync.Mutex
	seq     *hop.Sequence // nil: the receiver remembers nothing
	sent    uint64        // likewise
	done    uint64
	ready   int           // outcomes that were not asked for yet
	changed chan struct{} // has room for one; never closed
	err     error         // why there will be no more
}

var _ plugin.Streamer = (*sink)(nil)

// openSink connects, and learns what the receiver holds.
func openSink(ctx context.Context, open plugin.Request, before *answered) (plugin.Instance, error) {
	c, err := read[sinkConfig](open.Config)
	if err != nil {
		return plugin.Instance{}, &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: err.Error()}
	}
	dial := open.Grants.Dial[dialHandle]
	if dial == nil {
		return plugin.Instance{}, &plugin.Error{Class: abi.Config, Code: abi.EACCES, Path: "address", Message: "a hop connects, and was granted nothing"}
	}
	s := &sink{sinkConfig: c, open: open, changed: make(chan struct{}, 1), before: before, key: open.Component + " " + open.Stream + " " + c.Address}
	if err := s.connect(ctx, dial); err != nil {
		return plugin.Instance{}, err
	}
	held, err := s.greet(ctx)
	if err != nil {
		_ = s.Close() // what ended it says more
		return plugin.Instance{}, err
	}
	s.work.Go(s.receive)
	return plugin.Instance{Sink: s, Held: held, MaxBatch: s.most}, nil
}

// connect opens the stream.
func (s *sink) connect(ctx context.Context, dial plugin.Dialer) (err error) {
	// Its connection is made here, so that an error says what it was, and used once: a stream that ends is opened again with everything.
	c, err := dialStaggered(ctx, dial)
	if err != nil {
		return &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: fmt.Sprintf("connect to %s: %v", s.Address, err), Err: err}
	}
	once := &single{conn: enliven(c)}
	s.conn, err = grpc.NewClient("passthrough:///hop",
		grpc.WithTransportCredentials(accepted{}), grpc.WithContextDialer(once.dial), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(hoppb.MaxMessage), grpc.MaxCallSendMsgSize(hoppb.MaxMessage)),
		grpc.WithInitialWindowSize(hoppb.Window), grpc.WithInitialConnWindowSize(hoppb.Window),
		grpc.WithWriteBufferSize(ioBuffer), grpc.WithReadBufferSize(ioBuffer),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: askAfter, Timeout: askWithin}),
	)
	if err != nil {
		return errors.Join(&plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: err.Error(), Err: err}, c.Close())
	}
	lasting, stop := context.WithCancel(context.WithoutCancel(ctx)) // the stream outlives its opening
	s.stop = stop
	ended := context.AfterFunc(ctx, stop)
	defer ended()
	if s.stream, err = hoppb.NewHopClient(s.conn).Send(lasting); err != nil {
		stop()
		return errors.Join(s.gone(err), s.conn.Close(), once.close())
	}
	return nil
}

// lives are those of the channel that is read.
func (s *sink) lives() []hop.Life {
	list := make([]hop.Life, 0, len(s.open.Incarnations))
	for i, one := range s.open.Incarnations {
		l := hop.Life{ID: one.ID, First: event.Offset(one.First), Next: event.Offset(one.First)}
		if i < len(s.open.Ends) {
			l.Next = max(l.Next, s.open.Ends[i])
		}
		list = append(list, l)
	}
	return list
}

// greet says Hello and waits for the Welcome. It returns what the receiver holds.
func (s *sink) greet(ctx context.Context) (held []plugin.Held, err error) {
	hello := &hoppb.Hello{Version: hoppb.Version, Durable: s.open.Durable, Sender: s.open.Component}
	lives, parts := s.lives(), s.open.Settled != nil
	if !s.open.Shared {
		hello.Stream, hello.Parts = s.open.Stream, parts
		if parts { // of two members that send to one receiver each has its own
			hello.Stream += "/" + s.open.Component
		}
		for _, l := range lives {
			hello.Incarnations = append(hello.Incarnations, &hoppb.Incarnation{Id: l.ID, First: uint64(l.First), Next: uint64(l.Next)})
		}
	}
	if s.zstd = s.Compression == "zstd"; s.zstd {
		hello.Encodings = []hoppb.Encoding{hoppb.Encoding_ZSTD}
	}
	late := time.AfterFunc(welcomeWithin, s.stop)
	defer late.Stop()
	ended := context.AfterFunc(ctx, s.stop)
	defer ended()
	if err := s.stream.Send(&hoppb.Up{Says: &hoppb.Up_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, s.gone(err)
	}
	down, err := s.stream.Recv()
	if err != nil && !late.Stop() && ctx.Err() == nil {
		err = fmt.Errorf("no Welcome within %v: its disk does not get on, or it is no source \"hop\"", welcomeWithin)
	}
	if err != nil {
		return nil, s.gone(err)
	}
	if r := down.GetRefusal(); r != nil {
		return nil, s.refused(r)
	}
	w := down.GetWelcome()
	if w == nil || w.Version == 0 || w.Version > hoppb.Version || w.Window == 0 {
		return nil, &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: fmt.Sprintf("%s does not speak the protocol of hops: %v", s.Address, down)}
	}
	s.window = min(s.sinkConfig.Window, int(w.Window), hoppb.MaxWindow)
	s.most = min(cmp.Or(int(w.MaxBatch), event.MaxBatch), event.MaxBatch)
	if s.open.Shared {
		return nil, nil
	}
	s.seq, err = hop.Begin(lives, hop.Welcomed(w), parts)
	if d, ok := errors.AsType[*hop.DivergedError](err); ok {
		return nil, s.diverged(d.Error())
	}
	if err != nil {
		return nil, &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: err.Error()}
	}
	s.compare(hop.FromWire(w.Have))
	for _, one := range s.seq.Held() {
		held = append(held, plugin.Held(one))
	}
	return held, nil
}

// compare says so when the receiver does not have what it has said that it had: what it lost is given up here, and only who has looked knows whether it is to come again.
func (s *sink) compare(have hop.Position) {
	before := s.before.swap(s.key, s.seq.Last())
	if s.seq.Lacks(before) {
		from := "oldest"
		if have != (hop.Position{}) {
			from = fmt.Sprint(have.Offset)
		}
		s.open.Log.Error("the receiver does not have what it had answered before: it was restored from a backup, has forgotten this sender, or is another one at the same address; "+
			"what the log still has can be sent again, also what the receiver, or another of its group, has of it",
			"answered", hop.Position{Incarnation: before.Incarnation, Offset: before.Range.Next}.String(), "has", have.String(),
			"command", fmt.Sprintf("penstock channel replay %s %s --from %s", s.open.Channel, s.open.Reader, from))
		if s.open.Metrics != nil {
			s.open.Metrics.Plugin(s.open.Component, abi.MetricCounter, "receiver_lost", 1)
		}
	} else if s.open.Settled != nil && !before.Range.Empty() {
		s.before.swap(s.key, before) // which lies above where it stands
	}
}

// Window implements [plugin.Streamer].
func (s *sink) Window() int { return s.window }

// Send implements [plugin.Streamer].
func (s *sink) Send(ctx context.Context, r event.Range, b event.Batch) error {
	if b.Size() > s.most {
		return &plugin.Error{Class: abi.Reject, Code: abi.ETOOBIG, Message: fmt.Sprintf("a batch of %d bytes, and %s takes %d at a time", b.Size(), s.Address, s.most)}
	}
	m, err := s.message(r)
	if err != nil {
		return err
	}
	m.Batch = b.Bytes()
	if s.zstd {
		if s.packed = pack(s.packed, b.Bytes()); len(s.packed) < b.Size() {
			m.Batch, m.Encoding = s.packed, hoppb.Encoding_ZSTD
		}
	}
	ended := context.AfterFunc(ctx, s.stop)
	defer ended()
	if err := s.stream.Send(&hoppb.Up{Says: &hoppb.Up_Message{Message: m}}); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return s.why(err)
	}
	return nil
}

// message is that of a range, without its batch, and counts as sent.
func (s *sink) message(r event.Range) (*hoppb.Message, error) {
	var low event.Offset
	var above []event.Range
	if s.open.Settled != nil {
		low, above = s.open.Settled()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seq == nil {
		s.sent++
		return &hoppb.Message{First: uint64(r.First), Next: uint64(r.Next)}, nil
	}
	m, err := s.seq.Next(r, low, above)
	if err != nil {
		return nil, &plugin.Error{Class: abi.Fatal, Message: err.Error()}
	}
	return m, nil
}

// Outcome implements [plugin.Streamer].
func (s *sink) Outcome(ctx context.Context) error {
	for {
		s.mu.Lock()
		ready, err := s.ready > 0, s.err
		if ready {
			s.ready--
		}
		s.mu.Unlock()
		switch {
		case ready:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Write implements [plugin.Sink].
func (s *sink) Write(ctx context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	if err := s.Send(ctx, r, b); err != nil {
		return plugin.Outcome{}, err
	}
	return plugin.Outcome{}, s.Outcome(ctx)
}

// receive takes answers until the stream ends.
func (s *sink) receive() {
	for {
		down, err := s.stream.Recv()
		if err == nil {
			err = s.hear(down)
		} else {
			err = s.gone(err)
		}
		if err != nil {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			s.poke()
			s.stop() // a Send that waits for room ends
			return
		}
	}
}

func (s *sink) hear(down *hoppb.Down) error {
	if r := down.GetRefusal(); r != nil {
		return s.refused(r)
	}
	a := down.GetAnswer()
	if a == nil {
		return &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: fmt.Sprintf("%s does not speak the protocol of hops: %v", s.Address, down)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.poke()
	done, n := a.Messages, 0
	if a.Again && done > 0 {
		done-- // the last one was not taken
	}
	if s.seq == nil {
		if done < s.done || done > s.sent {
			return &plugin.Error{Class: abi.Retry, Code: abi.EIO, Message: fmt.Sprintf("%s answers %d messages, of %d that were sent", s.Address, done, s.sent)}
		}
		n, s.done = int(done-s.done), done
	} else {
		var err error
		n, err = s.seq.Answered(done)
		if err != nil {
			return &plugin.Error{Class: abi.Retry, Code: abi.EIO, Message: fmt.Sprintf("%s: %v", s.Address, err)}
		}
		s.before.swap(s.key, s.seq.Last())
	}
	s.ready += n
	if a.Again {
		return &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: fmt.Sprintf("%s asks for what follows %v again", s.Address, hop.FromWire(a.Have))}
	}
	return nil
}

func (s *sink) poke() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// why is what ended the stream, of which a Send says only that it has ended.
func (s *sink) why(err error) error {
	s.work.Wait() // Recv ends with the stream
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return s.gone(err)
}

// gone says that the stream ended without a word.
func (s *sink) gone(err error) error {
	message := err.Error()
	if st, ok := status.FromError(err); ok {
		message = st.Message()
	}
	if errors.Is(err, io.EOF) {
		message = "it has ended the stream"
	}
	e := &plugin.Error{Class: abi.Retry, Code: abi.EAGAIN, Message: fmt.Sprintf("%s: %s", s.Address, message), Err: err}
	if s.window == 0 { // it has not said Welcome
		e.Hint = "should this go on, the log of the receiver says whether it refuses this agent's certificate"
	}
	return e
}

// refused is what a receiver said when it ended the stream.
func (s *sink) refused(r *hoppb.Refusal) error {
	code := abi.Code(r.Code)
	switch r.Reason {
	case hoppb.Reason_DIVERGED:
		return s.diverged(r.Message)
	case hoppb.Reason_NOT_ALLOWED:
		return &plugin.Error{
			Class: abi.Retry, Code: code, Delay: abi.Delay(r.RetryAfterMs),
			Message: fmt.Sprintf("%s refuses this agent: %s", s.Address, r.Message),
		}
	}
	class := code.Class()
	if class == abi.Fatal || class == abi.Reject && code != abi.ETOOBIG {
		class = abi.Config // it is no word about an event
	}
	return &plugin.Error{Class: class, Code: code, Delay: abi.Delay(r.RetryAfterMs), Message: fmt.Sprintf("%s: %s", s.Address, r.Message)}
}

// diverged holds the sink, and says what can be done.
func (s *sink) diverged(message string) error {
	return &plugin.Error{
		Class: abi.Config, Code: abi.EINVAL, Message: fmt.Sprintf("%s: %s", s.Address, message),
		Hint: fmt.Sprintf("to send what waits, of which the receiver may have some, as a new stream: penstock channel replay %[1]s %[2]s --from here; "+
			"or, to send nothing twice, first give up what waits: penstock channel purge %[1]s %[2]s, and then the same",
			s.open.Channel, s.open.Reader),
	}
}

// Close implements [plugin.Sink].
func (s *sink) Close() error {
	s.stop()
	err := s.conn.Close()
	s.work.Wait()
	return err
}
