// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller is an epoll, and a goroutine that waits in it when it is asked to. The epoll is itself in that of Go's netpoller, so the goroutine
// takes no thread. The zero value is one in which nothing is. But for the goroutine it belongs to whoever has the turn.
type poller struct {
	file   *os.File
	raw    syscall.RawConn
	fd     int
	events []unix.EpollEvent
	ask    chan struct{} // a token: wait once; closed by close
	armed  atomic.Bool   // it waits, or will
}

// open makes the epoll when it is needed first.
func (p *poller) open(s *Set) error {
	if p.file != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that package os gives it to the netpoller
		_ = unix.Close(fd)
		return fmt.Errorf("make an epoll: %w", err)
	}
	p.fd, p.file, p.ask = fd, os.NewFile(uintptr(fd), "epoll"), make(chan struct{}, 1)
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return err
	}
	s.work.run(func() { p.watch(s) })
	return nil
}

// watch signals each time that it is asked to wait and something is ready.
func (p *poller) watch(s *Set) {
	var found [1]unix.EpollEvent
	for range p.ask {
		err := p.raw.Read(func(fd uintptr) bool {
			n, err := unix.EpollWait(int(fd), found[:], 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		p.armed.Store(false)
		s.signal()
		if err != nil {
			return // it was closed
		}
	}
}

// arm has the goroutine signal when something is ready, if it does not wait already.
func (p *poller) arm(*Set) {
	if p.file != nil && p.armed.CompareAndSwap(false, true) {
		p.ask <- struct{}{} // it has room: the goroutine has taken the last token
	}
}

// add watches for what can be read from fd, until remove. fd < 0 is none.
func (p *poller) add(s *Set, fd int, handle int32) error {
	return p.watchFor(s, fd, handle, unix.EPOLLIN|unix.EPOLLRDHUP)
}

// addOne watches fd for one direction.
func (p *poller) addOne(s *Set, fd int, write bool) error {
	if write {
		return p.watchFor(s, fd, 0, unix.EPOLLOUT)
	}
	return p.watchFor(s, fd, 0, unix.EPOLLIN|unix.EPOLLRDHUP)
}

func (p *poller) watchFor(s *Set, fd int, handle int32, events uint32) error {
	if fd < 0 {
		return nil
	}
	if err := p.open(s); err != nil {
		return err
	}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: handle}); err != nil {
		return fmt.Errorf("watch a connection: %w", err)
	}
	return nil
}

func (p *poller) remove(fd int) {
	if fd >= 0 && p.file != nil {
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) // an error means that it is not in there
	}
}

// poll puts handles that can be read into out.
func (p *poller) poll(out []int32) (int, error) {
	if p.file == nil || len(out) == 0 {
		return 0, nil
	}
	if p.events == nil {
		p.events = make([]unix.EpollEvent, MaxReady)
	}
	for {
		n, err := unix.EpollWait(p.fd, p.events[:len(out)], 0)
		if err == unix.EINTR {
			continue
		}
		for i := range max(n, 0) {
			out[i] = p.events[i].Fd
		}
		return max(n, 0), err
	}
}

func (p *poller) close() {
	if p.file != nil {
		close(p.ask)
		_ = p.file.Close()
		p.file = nil
	}
}
