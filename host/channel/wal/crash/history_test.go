// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// A source sends events 1, 2, 3…, and its cursor is the number of the last. How many come in a transaction depends on
// where it begins alone: so it can be seen of a cursor whether a transaction is there in part.
func next(n int) int { return n + 1 + n*7%5 }

// quiet moves its cursor, and never sends an event.
const quiet = "source.quiet"

func decimal(n int) string { return strconv.Itoa(n) }

// body is the event number n of a source.
func body(source string, n int) string {
	name := fmt.Sprintf("%s/%d/", source, n)
	return name + strings.Repeat(string(rune('a'+n%26)), 50+n*7919%900)
}

// identify says which event a body is, or what is wrong with it.
func identify(b string) (source string, n int, err error) {
	parts := strings.SplitN(b, "/", 3)
	if len(parts) == 3 {
		n, err = strconv.Atoi(parts[1])
	}
	if len(parts) != 3 || err != nil || body(parts[0], n) != b {
		return "", 0, fmt.Errorf("%w: an event of %d bytes is none that was put: %.40q", errWrong, len(b), b)
	}
	return parts[0], n, nil
}

// What can be wrong with a channel after a crash.
var (
	errLost  = errors.New("lost")       // an acknowledged transaction, a reader, a cursor
	errTwice = errors.New("twice")      // an event, or an offset for two events
	errWrong = errors.New("wrong data") // half a transaction, another order, bytes that nobody put
	errOpen  = errors.New("does not open")
	errMount = errors.New("mount") // the file system itself did not survive
)

// history is what the worker had said up to a moment.
type history struct {
	submitted map[string]int            // by source: up to which event
	acked     map[string]int            // the same of what was acknowledged
	acks      int                       // transactions
	begins    map[string]map[string]int // by registered reader and source: behind which event it begins
	committed map[string]map[string]int // by reader and source: up to which event it may have committed
	given     map[string]string         // incarnation/offset → the event
	stopped   bool
	exact     bool     // positions were not lost since: nothing may come again
	said      []string // all that is no use to check
}

func newHistory() *history {
	return &history{submitted: map[string]int{}, acked: map[string]int{}, begins: map[string]map[string]int{},
		committed: map[string]map[string]int{}, given: map[string]string{}}
}

// hear takes in one word of the worker.
func (h *history) hear(word string) error {
	f := strings.Fields(word)
	var err error
	switch f[0] {
	case "submit":
		h.submitted[f[1]], err = strconv.Atoi(f[2])
	case "acked":
		if h.stopped {
			return fmt.Errorf("%w: %q after the channel had stopped", errWrong, word)
		}
		h.acks++
		h.acked[f[1]], err = strconv.Atoi(f[2])
	case "known":
		h.begins[f[1]] = map[string]int{}
		for _, at := range f[2:] {
			source, n, _ := strings.Cut(at, "=")
			if h.begins[f[1]][source], err = strconv.Atoi(n); err != nil {
				break
			}
		}
	case "lease":
		err = h.lease(f[1], f[2:])
	case "open":
		h.stopped = false
	case "stopped":
		h.stopped = true
		h.said = append(h.said, word)
	default:
		h.said = append(h.said, word)
	}
	return err
}

// lease hears that a reader is about to commit events.
func (h *history) lease(reader string, events []string) error {
	if h.committed[reader] == nil {
		h.committed[reader] = map[string]int{}
	}
	for _, e := range events {
		id, what, _ := strings.Cut(e, "=")
		if err := h.remember(id, what); err != nil {
			return err
		}
		source, n, _ := strings.Cut(what, "/")
		i, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		h.committed[reader][source] = max(i, h.committed[reader][source])
	}
	return nil
}

// remember keeps which event had which number.
func (h *history) remember(id, what string) error {
	if was, ok := h.given[id]; ok && was != what {
		return fmt.Errorf("%w: offset %s was %s, now it is %s", errTwice, id, was, what)
	}
	h.given[id] = what
	return nil
}

// numbered is one event as "incarnation/offset=source/n".
func numbered(r channel.Reader, o event.Offset, e event.Event) (string, error) {
	source, n, err := identify(string(e.Body))
	var in channel.Incarnation
	for _, i := range r.Info().Incarnations {
		if i.First <= o {
			in = i
		}
	}
	return fmt.Sprintf("%x/%d=%s/%d", in.ID, o, source, n), err
}

// segmentSize is small, so that segments roll and go all the time.
const segmentSize = 24 << 10

// workerSealed is set in the environment where the channel is compressed and encrypted, for the worker and for who checks.
const workerSealed = "PENSTOCK_CRASH_SEALED"

// sealed says so in the names of rows.
const sealed = ", compressed and encrypted"

// options are those of the channel that is worked on and checked.
func options(dir string) wal.Options {
	o := wal.Options{Dir: dir, SegmentSize: segmentSize}
	if os.Getenv(workerSealed) == "" {
		return o
	}
	key, err := wal.NewKey(bytes.Repeat([]byte{7}, wal.KeySize))
	if err != nil {
		panic(err)
	}
	o.Compression, o.Key = wal.S2, &key
	return o
}

// check opens what is left in dir, and compares it with what was said. Then it goes on, closes and opens once more.
func (h *history) check(dir string) error {
	c, err := wal.Open(options(dir))
	if err != nil {
		return fmt.Errorf("%w: %w", errOpen, err)
	}
	at, err := h.checkAll(c)
	if err == nil {
		err = h.goOn(c, at)
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	if c, err = wal.Open(options(dir)); err != nil {
		return fmt.Errorf("%w a second time: %w", errOpen, err)
	}
	h.exact = true // it was closed in order
	_, err = h.checkAll(c)
	if err = errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("opened a second time: %w", err)
	}
	if os.Getenv(workerSealed) == "" {
		return nil
	}
	report, err := wal.Verify(dir, nil) // without the key
	if err == nil && report.Closed < report.Records {
		err = fmt.Errorf("%w: %d of %d records are encrypted", errWrong, report.Closed, report.Records)
	}
	return err
}

// checkAll compares cursors and readers, and returns where the sources stand.
func (h *history) checkAll(c *wal.Channel) (map[string]int, error) {
	at := map[string]int{}
	for source, n := range h.submitted {
		p, err := c.Cursor(context.Background(), source)
		if err != nil {
			return nil, err
		}
		at[source], _ = strconv.Atoi(string(p.Cursor["at"]))
		if at[source] < h.acked[source] {
			return nil, fmt.Errorf("%w: the cursor of %s is at %d, %d were acknowledged", errLost, source, at[source], h.acked[source])
		}
		whole := 0
		for whole < at[source] {
			whole = next(whole)
		}
		if at[source] > n || at[source] != whole {
			return nil, fmt.Errorf("%w: the cursor of %s is at %d, submitted up to %d, a transaction ends with %d", errWrong, source, at[source], n, whole)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(h.begins)) {
		if _, ok := c.Stats().Readers[name]; !ok {
			return nil, fmt.Errorf("%w: the registration of reader %s", errLost, name)
		}
		if err := h.checkReader(c, name, at); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return at, nil
}

// checkReader reads all that is left: in order, without a hole, up to the cursor, and from no later than behind what it had committed.
func (h *history) checkReader(c *wal.Channel, name string, at map[string]int) error {
	r, err := c.Reader(channel.ReaderSpec{Name: name})
	if err != nil {
		return err
	}
	return h.checkDrained(r, name, at)
}

// checkDrained is checkReader of a reader that is open.
func (h *history) checkDrained(r channel.Reader, name string, at map[string]int) error {
	seen, err := h.drain(r)
	if err != nil {
		return err
	}
	for source, last := range at {
		if source == quiet {
			continue
		}
		got, from := seen[source], h.from(name, source)
		for i := 1; i < len(got); i++ {
			if got[i] <= got[i-1] {
				return fmt.Errorf("%w: %s came as %v", errTwice, source, got)
			}
			if got[i] != got[i-1]+1 {
				return fmt.Errorf("%w: %s came as %v", errLost, source, got)
			}
		}
		switch {
		case len(got) == 0 && last > from:
			return fmt.Errorf("%w: nothing of %s came, %d of %d may be committed", errLost, source, from, last)
		case len(got) > 0 && h.exact && got[0] <= from:
			return fmt.Errorf("%w: %s begins with %d, up to %d is committed", errTwice, source, got[0], from)
		case len(got) > 0 && got[0] > from+1:
			return fmt.Errorf("%w: %s begins with %d, only %d may be committed", errLost, source, got[0], from)
		case len(got) > 0 && got[len(got)-1] != last:
			return fmt.Errorf("%w: %s ends with %d, the cursor is at %d", errLost, source, got[len(got)-1], last)
		}
		if h.committed[name] == nil {
			h.committed[name] = map[string]int{}
		}
		h.committed[name][source] = max(from, last)
	}
	return nil
}

// from is the last event that a reader need not be given.
func (h *history) from(reader, source string) int {
	return max(h.begins[reader][source], h.committed[reader][source])
}

// drain takes and commits all that is there, and returns the numbers of the events by source.
func (h *history) drain(r channel.Reader) (map[string][]int, error) {
	seen := map[string][]int{}
	last, any := event.Offset(0), false
	for r.Info().Waiting > 0 {
		l, err := r.Take(context.Background(), channel.Want{Events: 50})
		if err != nil {
			return nil, err
		}
		for o, e := range l.Delivery().Batch.All() {
			if any && o <= last {
				return nil, fmt.Errorf("%w: offset %d after %d", errTwice, o, last)
			}
			last, any = o, true
			word, err := numbered(r, o, e)
			if err != nil {
				return nil, err
			}
			id, what, _ := strings.Cut(word, "=")
			if err := h.remember(id, what); err != nil {
				return nil, err
			}
			source, n, _ := identify(string(e.Body))
			seen[source] = append(seen[source], n)
		}
		if err := l.Commit(); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// goOn puts one more transaction of each source.
func (h *history) goOn(c *wal.Channel, at map[string]int) error {
	for _, source := range slices.Sorted(maps.Keys(at)) {
		h.submitted[source] = next(at[source])
		wait, err := submit(c, source, at[source])
		if err == nil && source != quiet {
			err = wait()
		} else if err == nil {
			// It waits for company, which is the next source's.
			defer wait() //nolint:errcheck // closing refuses it, if nobody came
			continue
		}
		if err != nil {
			return fmt.Errorf("put after the crash: %w", err)
		}
		h.acked[source] = next(at[source])
	}
	return nil
}

// submit puts the transaction of a source that begins behind event n.
func submit(c *wal.Channel, source string, n int) (wait func() error, err error) {
	tx, err := c.Begin(context.Background())
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	var w event.Builder
	for i := n + 1; i <= next(n) && source != quiet; i++ {
		if err := w.Append(event.Event{Time: int64(i), Body: []byte(body(source, i))}); err != nil {
			return nil, err
		}
	}
	p := channel.Put{Source: source, Changed: event.Cursor{"at": []byte(decimal(next(n)))}}
	if source != quiet {
		if p.Batch, err = event.Copy(event.Heap{}, w.Bytes(), event.MaxBatch); err != nil {
			return nil, err
		}
	}
	if err := tx.Put(p); err != nil {
		return nil, err
	}
	return tx.Submit(), nil
}
