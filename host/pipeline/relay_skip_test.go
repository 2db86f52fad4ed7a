// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
)

// narrow is a tier whose channels hold little, with a relay that may skip, a sink beside it, and one behind it.
type narrow struct {
	*tier
	slow, fast, out channel.Reader
}

func openNarrow(t *testing.T, dir string) *narrow {
	t.Helper()
	open := func(name string, events uint64) *wal.Channel {
		c, err := wal.Open(wal.Options{Dir: filepath.Join(dir, name), Capacity: channel.Capacity{Events: events}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	n := &narrow{tier: &tier{T: t, dir: dir, step: func(string) {}, a: open("a", 20), b: open("b", 7)}}
	var errs [3]error
	n.slow, errs[0] = n.a.Reader(channel.ReaderSpec{Name: "sink.a", Lag: channel.Skip})
	n.fast, errs[1] = n.a.Reader(channel.ReaderSpec{Name: "sink.fast"})
	n.out, errs[2] = n.b.Reader(channel.ReaderSpec{Name: "sink.out"})
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *narrow) close() {
	n.Helper()
	if err := errors.Join(n.slow.Close(), n.fast.Close(), n.out.Close()); err != nil {
		n.Error(err)
	}
	n.tier.close()
}

// relaying runs the relay until it is stopped.
func (n *narrow) relaying() (stop func()) {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Context())
	done := make(chan error, 1)
	s := n.relay(n.slow, n.b)
	go func() { done <- s.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-done; err != nil {
			n.Error(err)
		}
	}
}

// drain takes what there is, as numbers of [tier.fill].
func (n *narrow) drain(from channel.Reader) (numbers []int) {
	n.Helper()
	for from.Info().Waiting > 0 {
		lease, err := from.Take(n.Context(), channel.Want{Events: 7})
		if err != nil {
			n.Fatal(err)
		}
		for _, e := range lease.Delivery().Batch.All() {
			number := -1
			_, err = fmt.Sscanf(string(e.Body), "event %d", &number)
			numbers = append(numbers, number)
		}
		if err := errors.Join(err, lease.Commit()); err != nil {
			n.Fatal(err)
		}
		synctest.Wait()
	}
	return numbers
}

// TestARelayThatMaySkipHoldsNobodyUp: when the second channel is full, on_lag = "skip" has the relay go on with newer events. What it skipped is counted, and
// what came came once and in order, also over an end of the agent.
func TestARelayThatMaySkipHoldsNobodyUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		const all = 100
		r := openNarrow(t, dir)
		stop := r.relaying()
		for i := 0; i < all; i += 5 { // would block for ever, were the relay to hold it up
			r.fill(i, i+5, 5)
			r.drain(r.fast)
			synctest.Wait()
		}
		stop()
		skipped := r.slow.Info() // also what it had in its hands, and gave back
		r.close()

		r = openNarrow(t, dir)
		stop = r.relaying()
		var came []int
		for r.slow.Info().Waiting > 0 || r.out.Info().Waiting > 0 {
			came = append(came, r.drain(r.out)...)
			time.Sleep(time.Minute)
		}
		stop()
		once := slices.IsSorted(came) && len(slices.Compact(slices.Clone(came))) == len(came)
		if skipped.Dropped == 0 || int(skipped.Dropped)+len(came) != all || !once {
			t.Errorf("%d were skipped, and %d came: %v", skipped.Dropped, len(came), came)
		}
		if first, last := came[0], came[len(came)-1]; first != 0 || last != all-1 {
			t.Errorf("from %d to %d: it goes on with the newest", first, last)
		}
		if a, b := skipped.Unaccounted(), r.slow.Info().Unaccounted(); a != 0 || b != 0 {
			t.Errorf("%d, %d unaccounted", a, b)
		}
		r.close()
	})
}
