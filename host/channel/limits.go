// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"fmt"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Limits on what a channel keeps, beside those of spec/event and spec/abi.
const (
	// MaxName bounds the address of a source or a reader, which is a part of file names and of every record.
	MaxName = 200
	// MaxCursor bounds the cursor of one source, keys and values, so that many sources fit [MaxCursors].
	MaxCursor = 2 << 20
	// MaxCursors bounds all cursors of a channel, since a durable channel writes them at the head of each segment.
	MaxCursors = 4 << 20
)

// Check says whether p is within what any channel takes. The error wraps [ErrLimit].
func (p Put) Check() error {
	switch {
	case p.Source == "" || len(p.Source) > MaxName:
		return fmt.Errorf("%w: name of source %.32q has %d bytes, it may have 1 to %d", ErrLimit, p.Source, len(p.Source), MaxName)
	case len(p.Only) > MaxName:
		return fmt.Errorf("%w: name of reader %.32q has %d bytes of %d", ErrLimit, p.Only, len(p.Only), MaxName)
	case p.Batch.Size() > event.MaxBatch:
		return fmt.Errorf("%w: a batch of %d bytes from %s, the most is %d", ErrLimit, p.Batch.Size(), p.Source, event.MaxBatch)
	}
	for k, v := range p.Changed {
		if len(k) > abi.MaxKey || len(v) > abi.MaxValue {
			return fmt.Errorf("%w: cursor entry %.32q of %s has a key of %d bytes, the most is %d, and a value of %d, the most is %d: "+
				"the plugin must keep less in one entry; nothing is lost", ErrLimit, k, p.Source, len(k), abi.MaxKey, len(v), abi.MaxValue)
		}
	}
	return nil
}

// NoReaderFor is the error of a put for a reader alone that would not see it.
func NoReaderFor(only string) error {
	return fmt.Errorf("%w: %s, which alone was to see the events; it was forgotten, or has handed over to others: nothing is put, name another", ErrNoReader, only)
}

// Check says whether there can be such a reader.
func (s ReaderSpec) Check() error {
	if s.Name == "" || len(s.Name) > MaxName {
		return fmt.Errorf("%w: a name of %d bytes, it may have 1 to %d", ErrLimit, len(s.Name), MaxName)
	}
	return s.Lane.Check()
}

// Check says whether a reader can be taken from like this.
func (w Want) Check() error {
	if len(w.Member) > MaxName {
		return fmt.Errorf("%w: name of member %.32q has %d bytes of %d", ErrLimit, w.Member, len(w.Member), MaxName)
	}
	return nil
}
