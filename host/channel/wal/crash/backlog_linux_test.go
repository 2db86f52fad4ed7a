// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/spec/event"
)

var backlog = flag.Int("backlog", 128, "MiB that wait while readers catch up")

// The bounds of a channel, whatever waits in it.
const (
	mostMemory = 128 // MiB, above the same process before it opened the channel
	mostOpen   = 1.0 // second, until the first put is acknowledged and the first take is there
)

const (
	slowReaders = 8
	poolIdle    = 16 << 20 // as an agent's
	batchEvents = 1000
	batchBody   = 256
	takeBytes   = 1 << 20
	readFor     = 20 * time.Second // at most
	openings    = 3                // each after kill -9
)

// beBacklog fills a channel, has readers catch up from different places while something is put, and says what that took.
func beBacklog(dir string, size int) error {
	idle, err := memoryOf("VmRSS")
	if err != nil {
		return err
	}
	pool := channel.NewPool(poolIdle)
	c, err := wal.Open(wal.Options{Dir: dir, Pool: pool})
	if err != nil {
		return err
	}
	if _, err := c.Reader(channel.ReaderSpec{Name: "sink.dead"}); err != nil { // so that all of it waits to the end
		return err
	}
	p := &putter{c: c, pool: pool}
	var readers []channel.Reader
	for i := range slowReaders {
		r, err := c.Reader(channel.ReaderSpec{Name: fmt.Sprint("sink.", i), Start: channel.Now})
		if err == nil {
			err = p.put(size / slowReaders)
		}
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	debug.FreeOSMemory() // what filling took is not looked at
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return fmt.Errorf("reset the peak of memory: %w", err)
	}
	read, err := catchUp(c, p, readers)
	if err != nil {
		return err
	}
	peak, err := memoryOf("VmHWM")
	if err != nil {
		return err
	}
	say("caught %d %d %d %d", idle, peak, read, c.Stats().Bytes)
	return nil // not reached: it is killed at that word
}

// catchUp has all readers read to the end while a source puts, and returns how many bytes they read.
func catchUp(c *wal.Channel, p *putter, readers []channel.Reader) (int64, error) {
	ctx, stop := context.WithTimeout(context.Background(), readFor)
	defer stop()
	var all sync.WaitGroup
	read, errs := make([]int64, len(readers)), make([]error, len(readers)+1)
	for i, r := range readers {
		all.Go(func() { read[i], errs[i] = takeAll(ctx, r) })
	}
	done := make(chan struct{}) // closed when all readers have ended
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if errs[len(readers)] = p.put(1); errs[len(readers)] != nil {
				return
			}
		}
	})
	all.Wait()
	close(done)
	writer.Wait()
	var sum int64
	for _, n := range read {
		sum += n
	}
	return sum, errors.Join(errs...)
}

// takeAll reads until nothing waits, or its time is up.
func takeAll(ctx context.Context, r channel.Reader) (n int64, err error) {
	for ctx.Err() == nil && r.Info().Waiting > 0 {
		l, err := r.Take(ctx, channel.Want{Bytes: takeBytes})
		if ctx.Err() != nil {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += int64(l.Delivery().Batch.Size())
		if err := l.Commit(); err != nil {
			return n, err
		}
	}
	return n, nil
}

// putter is a source with two transactions in flight.
type putter struct {
	c    *wal.Channel
	pool *channel.Pool
	src  []byte
	wait func() error
}

// put puts that many bytes, and one transaction more.
func (p *putter) put(size int) error {
	if p.src == nil {
		var w event.Builder
		for i := range batchEvents {
			if err := w.Append(event.Event{Time: int64(i), Body: make([]byte, batchBody)}); err != nil {
				return err
			}
		}
		p.src, p.wait = w.Bytes(), func() error { return nil }
	}
	for n := 0; n < size; n += len(p.src) {
		b, err := event.Copy(p.pool, p.src, event.MaxBatch)
		if err != nil {
			return err
		}
		tx, err := p.c.Begin(context.Background())
		if err == nil {
			err = tx.Put(channel.Put{Source: "source.x", Batch: b})
		}
		if err != nil {
			return err
		}
		before := p.wait
		p.wait = tx.Submit()
		if err := before(); err != nil {
			return err
		}
	}
	return nil
}

// beOpened opens what was killed, and says how long it took to the first put and the first take.
func beOpened(dir string) error {
	begun := time.Now()
	pool := channel.NewPool(poolIdle)
	c, err := wal.Open(wal.Options{Dir: dir, Pool: pool})
	if err != nil {
		return err
	}
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.dead"})
	if err != nil {
		return err
	}
	l, err := r.Take(context.Background(), channel.Want{Bytes: takeBytes})
	if err != nil {
		return err
	}
	taken := time.Since(begun)
	l.Rollback()
	p := &putter{c: c, pool: pool}
	if err := p.put(1); err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return err
	}
	say("opened %d %d", taken.Milliseconds(), time.Since(begun).Milliseconds())
	return nil // not reached: it is killed at that word
}

// memoryOf reads a figure of this process's memory, in bytes.
func memoryOf(what string) (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); name == what {
			kb, err := strconv.Atoi(strings.Fields(value)[0])
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", what)
}

// numbers are those of a word.
func numbers(t *testing.T, word string) (list []float64) {
	t.Helper()
	for _, f := range strings.Fields(word)[1:] {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			t.Fatalf("it says %q", word)
		}
		list = append(list, n)
	}
	return list
}

func TestALargeBacklogTakesLittleMemoryAndOpensAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "channel")
	var caught []float64
	t.Setenv(workerTask, strconv.Itoa(*backlog<<20))
	err := watchWorker(t, dir, 0, func(word string, p *os.Process) bool {
		if strings.HasPrefix(word, "caught ") {
			caught = numbers(t, word)
			_ = p.Kill()
			return false
		}
		t.Error(word)
		return true
	})
	if len(caught) != 4 || err == nil {
		t.Fatalf("it was not killed when the readers had caught up: %v", err)
	}
	t.Setenv(workerTask, "open")
	opened := []float64{1e9, 1e9} // the best of all: what else the machine does only adds
	for range openings {
		err := watchWorker(t, dir, 0, func(word string, p *os.Process) bool {
			if !strings.HasPrefix(word, "opened ") {
				t.Error(word)
				return true
			}
			now := numbers(t, word)
			opened[0], opened[1] = min(opened[0], now[0]), min(opened[1], now[1])
			_ = p.Kill()
			return false
		})
		if err == nil {
			t.Error("it was not killed when it was open")
		}
	}
	const mib = 1 << 20
	what := fmt.Sprintf("%.0f MiB wait, 8 readers read %.0f MiB of them while one source puts", caught[3]/mib, caught[2]/mib)
	bars := []reliability.Bar{
		{Part: reliability.Large, What: what + ": memory above an idle process", Measured: (caught[1] - caught[0]) / mib, Most: mostMemory, Unit: "MiB"},
		{Part: reliability.Large, What: "kill -9, opened, first take", Measured: opened[0] / 1000, Most: mostOpen, Unit: "s"},
		{Part: reliability.Large, What: "kill -9, opened, first put acknowledged", Measured: opened[1] / 1000, Most: mostOpen, Unit: "s"},
	}
	if caught[3] < float64(*backlog)*mib {
		t.Errorf("only %.0f MiB wait", caught[3]/mib)
	}
	for _, b := range bars {
		t.Logf("%s: %.3g %s, at most %.3g", b.What, b.Measured, b.Unit, b.Most)
		if b.Measured > b.Most {
			t.Errorf("%s: %.3g %s, at most %.3g", b.What, b.Measured, b.Unit, b.Most)
		}
	}
	if err := reliability.Write("backlog", reliability.Figures{Bars: bars}); err != nil {
		t.Error(err)
	}
}
