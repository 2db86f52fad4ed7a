// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxParcel bounds what one write may leave here: an answer, not a file.
	maxParcel = 1 << 20
	// maxOutbox bounds what may wait to be written to one connection, so that one whose other end does not read does not take it all.
	maxOutbox = maxParcel
	// maxOutboxes bounds it for all connections of an instance.
	maxOutboxes = 8 << 20
	// parcelOverhead is what a parcel costs beside its bytes.
	parcelOverhead = 64
	// writeTimeout is how long the other end may not read what waits for it, before the connection is given up.
	writeTimeout = 30 * time.Second
)

var (
	errRefused = errors.New("the batch that the answer waited for was refused")
	errEnded   = errors.New("nothing more may be written")
)

// outbox is what was written to a connection and could not leave at once: because it waits for a commit, or is behind what does, or the
// system has no room, or it has to be encrypted. Promises and the writer use it beside the guest.
type outbox struct {
	set *Set
	st  *stream

	mu      sync.Mutex
	raw     rawIO // for writes
	queue   []*parcel
	bytes   int  // in it
	busy    bool // the writer has the connection
	err     error
	ending  ending
	ended   ending        // how much of ending has been done
	hurry   time.Time     // zero, or when everything has to be over
	counted bool          // among those that are being closed
	left    chan struct{} // not nil: nothing more is written here. The writer closes it
}

// parcel is one write.
type parcel struct {
	data []byte
	held bool // it waits for a commit
}

// ending is what is to be done when the queue is empty.
type ending uint8

const (
	open ending = iota
	shut        // nothing more is written
	gone        // the connection is closed
)

// account is what all outboxes of a set may take. Any goroutine may use it.
type account struct {
	mu    sync.Mutex
	bytes int
	left  map[*outbox]struct{} // closed by the guest, and not yet by us
}

// take asks for room for n bytes, and answers for how many there is; less than least: none is taken.
func (a *account) take(n, least int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n = min(n, maxOutboxes-a.bytes-parcelOverhead); n >= least {
		a.bytes += n + parcelOverhead
	}
	return n
}

func (a *account) give(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes -= n + parcelOverhead
}

func (a *account) leave(o *outbox, left bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left == nil {
		a.left = map[*outbox]struct{}{}
	}
	if left {
		a.left[o] = struct{}{}
	} else {
		delete(a.left, o)
	}
}

func (a *account) closing() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.left)
}

func (a *account) leaving() []*outbox {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.left))
}

// direct says whether a write would go to the system.
func (o *outbox) direct() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.isDirect()
}

func (o *outbox) isDirect() bool { return o.st.fd >= 0 && len(o.queue) == 0 && !o.busy }

// write takes as much of view as it can now; errAgain when that is nothing.
func (o *outbox) write(view []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.usable(); err != nil {
		return 0, err
	}
	if o.isDirect() {
		return o.raw.write(view)
	}
	least := 1
	if o.st.message {
		least = len(view)
	}
	p := o.enqueue(view[:min(len(view), maxParcel)], least)
	if p == nil {
		return 0, errAgain
	}
	o.push()
	return len(p.data), nil
}

// hold takes all of view, to wait for a commit; errAgain when there is no room.
func (o *outbox) hold(view []byte) (*parcel, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.usable(); err != nil {
		return nil, err
	}
	p := o.enqueue(view, len(view))
	if p == nil {
		return nil, errAgain
	}
	p.held = true
	return p, nil
}

func (o *outbox) usable() error {
	if o.err == nil && o.ending != open {
		return errEnded
	}
	return o.err
}

// enqueue copies as much of view as there is room for, or answers nil when that is less than least.
func (o *outbox) enqueue(view []byte, least int) *parcel {
	n := len(view)
	if len(o.queue) > 0 {
		n = min(n, maxOutbox-o.bytes-parcelOverhead)
	}
	if n < least {
		return nil
	}
	if n = o.set.spent.take(n, least); n < least {
		return nil
	}
	p := &parcel{data: slices.Clone(view[:n])}
	o.queue = append(o.queue, p)
	o.bytes += n + parcelOverhead
	return p
}

// release is called when it is known what became of the batch that p waits for.
func (o *outbox) release(p *parcel, durable bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !durable {
		o.fail(errRefused)
		return
	}
	p.held = false
	o.push()
}

// withdraw takes back what was held last.
func (o *outbox) withdraw(p *parcel) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.queue); n > 0 && o.queue[n-1] == p {
		o.queue = o.queue[:n-1]
		o.forget(p)
	}
}

func (o *outbox) forget(p *parcel) {
	o.bytes -= len(p.data) + parcelOverhead
	o.set.spent.give(len(p.data))
}

// drained answers errAgain while something is on its way out.
func (o *outbox) drained() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil && (len(o.queue) > 0 || o.busy) {
		return 0, errAgain
	}
	return 0, o.err
}

// finish ends the connection, or what is written to it, after what waits.
func (o *outbox) finish(closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end(closed)
	o.push()
}

func (o *outbox) end(closed bool) {
	o.ending = max(o.ending, shut)
	if closed && o.ending != gone {
		o.ending = gone
		o.counted = true
		o.set.spent.leave(o, true)
	}
}

// abort ends the connection soon, and does not send what waits for a commit.
func (o *outbox) abort() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hurry = time.Now().Add(farewell)
	if i := slices.IndexFunc(o.queue, func(p *parcel) bool { return p.held }); i >= 0 {
		for _, p := range o.queue[i:] {
			o.forget(p)
		}
		o.queue = slices.Delete(o.queue, i, len(o.queue))
	}
	if o.busy {
		_ = o.st.conn.SetWriteDeadline(o.hurry)
	}
	o.end(true)
	o.push()
}

// push writes what may leave. The caller has the lock, and need not wait: what does is the writer's.
func (o *outbox) push() {
	for o.err == nil && !o.busy && len(o.queue) > 0 && !o.queue[0].held {
		if o.st.fd < 0 {
			o.startWriter()
			return
		}
		head := o.queue[0]
		n, err := o.raw.write(head.data)
		switch {
		case err == errAgain:
			o.startWriter()
			return
		case err != nil:
			o.fail(err)
		case n == len(head.data) || o.st.message:
			o.pop()
		default:
			o.cutHead(n)
		}
	}
	if o.busy || len(o.queue) > 0 || o.ended >= o.ending {
		return
	}
	if o.st.fd < 0 && o.err == nil {
		o.startWriter() // TLS says goodbye, which may take its time
		return
	}
	todo := o.ending
	o.concluded(todo, conclude(o.st.conn, todo))
}

// cutHead drops the first n bytes of the queue, which were written.
func (o *outbox) cutHead(n int) {
	head := o.queue[0]
	head.data = head.data[n:]
	o.bytes -= n
	o.set.spent.give(n - parcelOverhead)
}

// pop drops the head of the queue, which was written.
func (o *outbox) pop() {
	o.forget(o.queue[0])
	o.queue[0] = nil
	o.queue = o.queue[1:]
	o.set.signal()
}

// fail gives the connection up: the guest reads what has come, and then its end.
func (o *outbox) fail(err error) {
	if o.err != nil {
		return
	}
	o.err = err
	for _, p := range o.queue {
		o.forget(p)
	}
	o.queue = nil
	cut(o.st.conn)
	if o.ending == gone && !o.busy {
		o.concluded(gone, conclude(o.st.conn, gone))
	}
	o.set.signal()
}

// cut ends a connection that whoever has its handle will close.
func cut(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		_ = secure.NetConn().Close()
		return
	}
	half, ok := c.(interface {
		CloseRead() error
		CloseWrite() error
	})
	if !ok {
		_ = c.Close()
		return
	}
	_ = half.CloseRead()
	_ = half.CloseWrite()
}

// conclude ends a connection, or what is written to it.
func conclude(c net.Conn, how ending) error {
	if how == gone {
		return c.Close()
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// concluded notes that so much of the end is done.
func (o *outbox) concluded(how ending, _ error) { // whoever has gone does not mind
	o.ended = max(o.ended, how)
	if o.ended == gone && o.counted {
		o.counted = false
		o.set.spent.leave(o, false)
	}
}

// startWriter lets a goroutine do what has to wait.
func (o *outbox) startWriter() {
	o.busy = true
	if !o.set.work.run(o.drain) {
		o.busy = false
		o.fail(io.ErrClosedPipe)
	}
}

// drain is the writer: it ends when there is nothing that may leave.
func (o *outbox) drain() {
	for {
		data, how, ok := o.next()
		if !ok {
			return
		}
		if how == open {
			n, err := o.st.conn.Write(data)
			o.written(n, err)
			continue
		}
		stop := time.AfterFunc(o.patience(), func() { cut(o.st.conn) })
		err := conclude(o.st.conn, how)
		stop.Stop()
		o.mu.Lock()
		o.concluded(how, err)
		o.mu.Unlock()
	}
}

// next is what the writer is to do: write data, or end so much of the connection.
func (o *outbox) next() (data []byte, how ending, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.left != nil:
		defer close(o.left)
	case o.err == nil && len(o.queue) > 0 && !o.queue[0].held:
		_ = o.st.conn.SetWriteDeadline(o.by())
		return o.queue[0].data, open, true
	case (o.err != nil || len(o.queue) == 0) && o.ended < o.ending:
		return nil, o.ending, true
	}
	o.busy = false
	_ = o.st.conn.SetWriteDeadline(time.Time{}) // it would hold for what the guest writes next
	o.set.signal()
	return nil, open, false
}

// by is when a write has to be over.
func (o *outbox) by() time.Time {
	if !o.hurry.IsZero() {
		return o.hurry
	}
	return time.Now().Add(writeTimeout)
}

func (o *outbox) patience() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return max(time.Until(o.by()), time.Millisecond)
}

// written notes what became of the head of the queue.
func (o *outbox) written(n int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil: // given up meanwhile
	case o.left != nil && o.st.fd >= 0 && errors.Is(err, os.ErrDeadlineExceeded): // by stop
		o.cutHead(n)
	case err == nil, o.st.message && errors.Is(err, unix.EMSGSIZE):
		if len(o.queue) > 0 {
			o.pop()
		}
	default:
		o.fail(err)
	}
}
