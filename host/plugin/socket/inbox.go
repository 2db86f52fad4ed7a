// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"errors"
	"io"
	"net"
	"sync"
)

const (
	// firstAhead is how much is read ahead of a connection over TLS that has said little: most are idle.
	firstAhead = 2 << 10
	// mostAhead is as much as two records of TLS have.
	mostAhead = 32 << 10
)

// inbox is what a goroutine reads ahead of a connection whose bytes the guest cannot take from the system itself. Of a plain connection it is
// what was read of it before it came here.
type inbox struct {
	set *Set
	st  *stream

	mu       sync.Mutex
	buf      []byte
	from, to int           // what of it is unread. While that is nothing, buf is the reader's
	err      error         // after it
	over     chan struct{} // closed when the reader has ended; nil: there is none
	empty    chan struct{} // a token: the reader may go on; closed by close
	closed   bool
	listed   bool // in the set's list
}

// begin starts the reader.
func (in *inbox) begin() {
	in.empty, in.over = make(chan struct{}, 1), make(chan struct{})
	full := in.from < in.to // before the guest reads
	if !in.set.work.run(func() { in.readAhead(full) }) {
		in.err = io.ErrClosedPipe
		close(in.over)
	}
}

// readAhead reads until the connection ends or is closed; where the inbox is full, from when it is empty.
func (in *inbox) readAhead(full bool) {
	defer close(in.over)
	buf := make([]byte, firstAhead)
	if full {
		if _, ok := <-in.empty; !ok {
			return
		}
	}
	for {
		n, err := in.st.conn.Read(buf)
		if n == 0 && err == nil {
			continue
		}
		if errors.Is(err, net.ErrClosed) { // by us: as when a plain one is cut
			err = io.EOF
		}
		in.mu.Lock()
		in.buf, in.from, in.to, in.err = buf, 0, n, err
		in.mu.Unlock()
		in.set.soft.put(in)
		in.set.signal()
		if err != nil {
			return
		}
		if _, ok := <-in.empty; !ok {
			return
		}
		if n == len(buf) && n < mostAhead {
			buf = make([]byte, 2*n)
		}
	}
}

// read takes what has been read ahead, without waiting.
func (in *inbox) read(view []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.from == in.to {
		if in.err != nil {
			return 0, in.err
		}
		return 0, errAgain
	}
	n := copy(view, in.buf[in.from:in.to])
	if in.from += n; in.from == in.to && in.err == nil && !in.closed && in.empty != nil {
		in.empty <- struct{}{} // it has room: the reader put nothing since it took the last one
	}
	return n, nil
}

// readable says whether a read would not have to wait.
func (in *inbox) readable() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.closed && (in.from < in.to || in.err != nil)
}

// close lets the reader end, once the connection is closed.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed && in.empty != nil {
		close(in.empty)
	}
	in.closed = true
}

// softList is the streams that can be read although no epoll says so. Its zero value is empty.
type softList struct {
	mu   sync.Mutex
	list []*inbox
}

// put adds one that may have become readable. Any goroutine may call it.
func (l *softList) put(in *inbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !in.listed {
		in.listed = true
		l.list = append(l.list, in)
	}
}

// collect puts those that are readable into out, and at the end of the list: the others have their turn first.
func (l *softList) collect(out []int32) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen, total := 0, len(l.list)
	for ; seen < total && n < len(out); seen++ {
		in := l.list[seen]
		if !in.readable() {
			in.listed = false
			continue
		}
		out[n] = in.st.handle
		n++
		l.list = append(l.list, in)
	}
	rest := copy(l.list, l.list[seen:])
	clear(l.list[rest:])
	l.list = l.list[:rest]
	return n
}
