// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package socket

import (
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// lookEvery is how often a poller looks where there is no epoll: enough to develop on.
const lookEvery = 5 * time.Millisecond

// poller asks the system about all of its sockets, now and then. The zero value is one in which nothing is.
type poller struct {
	fds     []unix.PollFd
	handles []int32
	armed   atomic.Bool
}

// arm has a timer signal soon.
func (p *poller) arm(s *Set) {
	if p.armed.CompareAndSwap(false, true) {
		time.AfterFunc(lookEvery, func() { p.armed.Store(false); s.signal() })
	}
}

// add watches for what can be read from fd, until remove. fd < 0 is none.
func (p *poller) add(_ *Set, fd int, handle int32) error {
	if fd >= 0 {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		p.handles = append(p.handles, handle)
	}
	return nil
}

// addOne needs nothing: whoever waits tries again each time.
func (p *poller) addOne(*Set, int, bool) error { return nil }

func (p *poller) remove(fd int) {
	if i := slices.IndexFunc(p.fds, func(f unix.PollFd) bool { return f.Fd == int32(fd) }); i >= 0 {
		p.fds, p.handles = slices.Delete(p.fds, i, i+1), slices.Delete(p.handles, i, i+1)
	}
}

// poll puts handles that can be read into out.
func (p *poller) poll(out []int32) (n int, err error) {
	if _, err = unix.Poll(p.fds, 0); err == unix.EINTR {
		err = nil
	}
	for i := range p.fds {
		if p.fds[i].Revents != 0 && n < len(out) {
			out[n] = p.handles[i]
			n++
		}
	}
	return n, err
}

func (p *poller) close() { p.fds, p.handles = nil, nil }
