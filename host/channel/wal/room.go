// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/host/channel"
)

// Limits on what is left of a disk.
const (
	// DefaultReserve is how large the ballast is: enough to open and to drain with, whatever fills the disk.
	DefaultReserve = 64 << 20
	// reserveShare is the part of a small disk that the ballast may take at most.
	reserveShare = 16
	// DefaultMinFree stands for a gibibyte, or for a twentieth of the disk where that is less.
	DefaultMinFree = math.MaxUint64
	minFreeBytes   = 1 << 30
	minFreeShare   = 20
	// minFreeSlack is the part of min_free that must be free beyond it before puts go on, so that they do not stop again at once.
	minFreeSlack = 8
	// roomPoll is how often it is looked whether there is room again, and how long a busy channel goes without a look.
	roomPoll = time.Second
	// roomStep is after how much that was written the next look is due.
	roomStep = 4 << 20
)

// disk is how much there is where the channel lies, in bytes.
type disk struct{ free, total uint64 }

// noRoom says whether something failed because the disk, or what its owner may use of it, is full.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// shortage is what a channel knows of the room on its disk. c.mu guards why, lacks, blocks and timer; c.ballast guards reserved;
// what follows belongs to the leader.
type shortage struct {
	why      string // puts wait, "" = they do not
	lacks    int64  // bytes, for which segments go that stay only for replays
	blocks   bool   // not even a small record can be written, for all that is known
	timer    *time.Timer
	reserved bool // the ballast is there
	unlooked int64
	looked   time.Time
}

func (o *Options) minFree(d disk) uint64 {
	if o.MinFree == DefaultMinFree {
		return min(minFreeBytes, d.total/minFreeShare)
	}
	return o.MinFree
}

func (o *Options) reserve(d disk) uint64 { return min(o.Reserve, d.total/reserveShare) }

// prepareRoom releases the ballast before an opening that may need it.
func (c *Channel) prepareRoom() error {
	list, err := c.sys.List(".")
	if err != nil {
		return fmt.Errorf("list the channel: %w", err)
	}
	for _, f := range list {
		c.short.reserved = c.short.reserved || f.name == reserveFile
	}
	if c.sys.room == nil || !c.short.reserved {
		return nil
	}
	d, err := c.sys.room()
	if err == nil && c.o.Reserve > 0 && d.free >= c.o.reserve(d) {
		return nil
	}
	return c.releaseReserve()
}

// releaseReserve gives the ballast back to the disk.
func (c *Channel) releaseReserve() error {
	c.ballast.Lock()
	defer c.ballast.Unlock()
	if !c.short.reserved {
		return nil
	}
	c.step("reserve")
	if err := c.sys.Remove(reserveFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release %s: %w", reserveFile, err)
	}
	c.short.reserved = false
	return nil
}

// takeStock looks whether there is room for puts, with so much to spare, makes the ballast where it is missing, and
// says why puts must wait, "" when they need not, and for want of how much. What cannot be known is no reason.
func (c *Channel) takeStock(spare uint64) (why string, lacks int64) {
	if c.sys.room == nil {
		return "", 0
	}
	c.ballast.Lock()
	defer c.ballast.Unlock()
	d, err := c.sys.room()
	if err != nil {
		c.log.Warn("it is not known how much of the disk is free", "dir", c.dir, "error", err)
		return "", 0
	}
	keep := c.o.minFree(d)
	if spare > 0 { // a disk smaller than a segment must recover too
		spare = min(spare, d.total/reserveShare) + keep/minFreeSlack
	}
	size := uint64(0)
	if !c.short.reserved {
		size = c.o.reserve(d)
	}
	if need := keep + spare + size; d.free < need {
		return fmt.Sprintf("%s of the disk are free, %s must be before sources may put", mebibytes(d.free), mebibytes(need)), int64(need - d.free)
	}
	if size == 0 {
		return "", 0
	}
	c.step("reserve")
	if err := c.sys.ballast(reserveFile, int64(size)); err != nil {
		if rerr := c.sys.Remove(reserveFile); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
		return "there is no room for the ballast: " + err.Error(), int64(size)
	}
	c.short.reserved = true
	return "", 0
}

func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// lookDue counts what the leader wrote, and says whether it should look how much is left. c.mu is held.
func (c *Channel) lookDue(written int64) bool {
	c.short.unlooked += written
	if c.sys.room == nil {
		return false
	}
	return c.short.unlooked >= roomStep || time.Since(c.short.looked) >= roomPoll
}

// look makes puts wait when less is free than should be. The leader calls it.
func (c *Channel) look() {
	c.short.unlooked, c.short.looked = 0, time.Now()
	d, err := c.sys.room()
	if err != nil {
		return // it is said when it matters
	}
	if keep := c.o.minFree(d); d.free < keep && !c.spare(int64(keep-d.free+keep/minFreeSlack)) {
		c.runShort(fmt.Sprintf("%s of the disk are free, min_free is %s", mebibytes(d.free), mebibytes(keep)), false)
	}
}

// ranOut is what is done when a write found no room: the ballast goes, and puts wait. The error is what the write answers.
func (c *Channel) ranOut(cause error) error {
	if err := c.releaseReserve(); err != nil {
		cause = errors.Join(cause, err)
	}
	c.runShort("the disk is full", true)
	return fmt.Errorf("%w: %w", channel.ErrFull, cause)
}

// runShort makes puts wait until there is room again, which is looked for from now on.
func (c *Channel) runShort(why string, blocks bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.short.why == "" {
		c.log.Warn("short of disk: sources wait as if the channel were full, and sinks go on; it ends by itself when there is room: free some, "+
			"or give the channel less min_free", "dir", c.dir, "why", why)
	}
	c.short.why, c.short.blocks = why, c.short.blocks || blocks
	c.later(&c.short.timer, roomPoll, c.lookAgain)
}

// lookAgain ends the shortage when there is room, and looks again later when there is none.
func (c *Channel) lookAgain() {
	c.mu.Lock()
	ended, rest := c.usable() != nil, c.opening
	c.mu.Unlock()
	if ended {
		return
	}
	why, lacks := c.takeStock(uint64(c.o.SegmentSize))
	if why == "" && rest != nil {
		why = c.openFurther(rest)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.usable() != nil {
		return
	}
	if c.short.why = why; why != "" {
		c.makeRoom(lacks)
		c.later(&c.short.timer, roomPoll, c.lookAgain)
		return
	}
	c.short.blocks, c.short.lacks = false, 0
	c.log.Info("there is room on the disk again: sources go on", "dir", c.dir)
	c.letIn()
}

// openFurther finishes an opening that had no room, and says what is still in the way.
func (c *Channel) openFurther(o *opening) (why string) {
	err := c.complete(o)
	switch {
	case err == nil:
		c.mu.Lock()
		c.opening = nil
		c.mu.Unlock()
		return ""
	case noRoom(err):
		return err.Error()
	case !errors.Is(err, channel.ErrClosed):
		c.stop(err)
	}
	return err.Error()
}

// takesOnly leaves the rest of an opening for when there is room, and lets readers drain what is there. What
// the kernel has of the last segment in memory is written once more over itself, which needs no room, so that
// nobody is given what a failed flush left behind.
func (c *Channel) takesOnly(o *opening, cause error) error {
	if !o.repaired && o.rec.size > 0 {
		if err := c.refresh(o.rec); err != nil {
			return fmt.Errorf("%w, and the end of the log cannot be made sure of: free some room: %w", cause, err)
		}
	}
	c.mu.Lock()
	c.opening = o
	c.mu.Unlock()
	c.runShort("the disk is too full to begin: "+cause.Error(), true)
	return nil
}

// refresh writes the good part of the last segment over itself, and flushes it.
func (c *Channel) refresh(rec *recovered) error {
	name := segmentName(rec.sum.index)
	good, err := c.part(name, 0, rec.size)
	if err != nil {
		return err
	}
	defer good.Release()
	f, err := c.sys.Open(name, writeFile)
	if err != nil {
		return err
	}
	c.step("refresh")
	if _, err = f.WriteAt(good.Bytes(), 0); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// errOpening is what a channel answers that is open for takes only.
func (c *Channel) errOpening() error {
	if c.opening == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: until there is room it is open for takes only", channel.ErrFull, c.short.why)
}

// later has f run after d, unless it is going to anyway. c.mu is held. Close waits for f.
func (c *Channel) later(timer **time.Timer, d time.Duration, f func()) {
	if *timer != nil || c.closed {
		return
	}
	c.timers.Add(1)
	*timer = time.AfterFunc(d, func() {
		defer c.timers.Done()
		c.mu.Lock()
		*timer = nil
		c.mu.Unlock()
		f()
	})
}

// stopTimers keeps what later was told from running, as far as it does not run yet. c.mu is held.
func (c *Channel) stopTimers() {
	for _, timer := range []*time.Timer{c.timer, c.short.timer, c.flushTimer, c.sweepTimer, c.scrub.timer, c.relief.aging, c.expiry} {
		if timer != nil && timer.Stop() {
			c.timers.Done()
		}
	}
}
