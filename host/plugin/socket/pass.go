// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// Pass gives an accepted connection back to its listener, for the next instance, which reads rest before all else and sends what has not left
// yet first, and frees the handle. The guest closes the connection itself where the answer is not OK: EAGAIN, something waits for a commit; EIO, it broke
// or nothing more may be written to it; ETOOBIG, rest is over [MaxRest]; EINVAL, it was not accepted from a listener that goes on.
func (s *Set) Pass(fd int32, rest []byte) abi.Code {
	st, ok := find[*stream](s, fd)
	switch {
	case !ok || st.pass == nil:
		return abi.EINVAL
	case len(rest) > MaxRest:
		return abi.ETOOBIG
	}
	if code := st.out.passable(); code < 0 {
		return code
	}
	if s.by.IsZero() {
		s.by = time.Now().Add(farewell)
	}
	ahead, ok1 := st.in.stop(s.by)
	unsent, ok2 := st.out.stop(s.by)
	if !ok1 || !ok2 {
		cut(st.conn) // what is being written over TLS cannot be ended without the connection
		return abi.EIO
	}
	s.all.remove(st.fd)
	s.forget(fd)
	_ = st.conn.SetDeadline(time.Time{})
	if rest = slices.Concat(rest, ahead); len(rest)+len(unsent) > 0 {
		st.pass(&plugin.Passed{Conn: st.conn, Rest: rest, Unsent: unsent})
	} else {
		st.pass(st.conn)
	}
	return abi.OK
}

// stop ends the reader, and answers what has not been read. false: it is still there.
func (in *inbox) stop(by time.Time) (ahead []byte, ok bool) {
	in.close()
	if in.over != nil {
		_ = in.st.conn.SetReadDeadline(time.Now())
		if !until(in.over, by) {
			return nil, false
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.buf[in.from:in.to], true
}

// passable says whether the connection is as it was accepted, and nothing waits for a commit.
func (o *outbox) passable() abi.Code {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.err != nil || o.ending != open:
		return abi.EIO
	case slices.ContainsFunc(o.queue, func(p *parcel) bool { return p.held }):
		return abi.EAGAIN
	}
	return abi.OK
}

// stop ends the writing here, and answers what has not left. false: the writer is still there, or the connection broke.
func (o *outbox) stop(by time.Time) (unsent [][]byte, ok bool) {
	o.mu.Lock()
	var busy <-chan struct{}
	if o.busy {
		o.left = make(chan struct{})
		busy = o.left
		if o.st.fd >= 0 {
			_ = o.st.conn.SetWriteDeadline(time.Now()) // TLS could not go on afterwards: there it has to be waited for
		}
	}
	o.mu.Unlock()
	late := busy != nil && !until(busy, by)
	o.mu.Lock()
	defer o.mu.Unlock()
	if late {
		o.left = nil // so that the writer ends the connection
		return nil, false
	}
	for _, p := range o.queue {
		unsent = append(unsent, p.data)
		o.forget(p)
	}
	o.queue = nil
	return unsent, o.err == nil
}

// resume has what another instance has left here sent first.
func (o *outbox) resume(unsent [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, data := range unsent {
		o.set.spent.owe(len(data))
		o.queue = append(o.queue, &parcel{data: data})
		o.bytes += len(data) + parcelOverhead
	}
	o.push()
}

// owe counts n bytes that are there already, be there room or not.
func (a *account) owe(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes += n + parcelOverhead
}

// until waits for done, but not beyond by.
func until(done <-chan struct{}, by time.Time) bool {
	select {
	case <-done:
		return true
	default:
	}
	t := time.NewTimer(time.Until(by))
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}
