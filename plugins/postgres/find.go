// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/sdk"
)

const (
	// maxFound bounds how many events one delivery rejects: the rest comes again, and is looked at then.
	maxFound = 1000
	// growth is by how much the next piece is larger than one that was taken, and smaller than one that was not.
	growth = 8
)

// find looks which events the server does not take, in a transaction that is rolled back, and lists them. why is what it said of all of
// them together. Pieces are copied, each under a savepoint. One that fails is cut before the line that the server names, or to an eighth where
// it names none, down to a single event, which is then the one. So an event among thousands is found in some four steps with its line, in
// some twenty without, and where all are bad each takes two.
//
// Constraints that are deferred are checked at once here: an event that needs a later one of the same delivery is rejected with those that are bad.
func (s *sink) find(why error, d *sdk.Delivery) (bad int, err error) {
	begin := s.begin + "; SET CONSTRAINTS ALL IMMEDIATE; " + s.ranges.insert(s.lines.encode.incarnation, s.left)
	if _, err := s.conn.run("begin", begin); err != nil {
		if s.ranges.conflict(err) {
			return 0, sdk.Retry(errors.New("somebody else has just committed a part of the range; it is tried again"), 0)
		}
		return 0, notData(err)
	}
	f := search{sink: s, d: d, why: why, end: time.Now().Add(s.server.timeout / 2)} // the delivery has its own time
	for _, r := range s.left {
		if err := f.within(s.lines.within(r)); err != nil {
			return f.bad, err
		}
	}
	if err := s.rollback(); err != nil {
		return f.bad, err
	}
	if f.bad == 0 {
		return 0, sdk.Retry(fmt.Errorf("%w\nlooked at one by one, the server takes every event: something else changes the table; it is tried again", why), 0)
	}
	return f.bad, nil
}

// search looks through pieces of events.
type search struct {
	sink *sink
	d    *sdk.Delivery
	why  error
	end  time.Time // of looking further, once some are found
	bad  int       // found
}

func (f *search) goesOn() bool { return f.bad < maxFound && (f.bad == 0 || time.Now().Before(f.end)) }

func (f *search) within(at, to int) error {
	size := pieceAfter(f.why, to-at)
	for at < to && f.goesOn() {
		n := min(size, to-at)
		err := f.sink.piece(at, at+n)
		problem, ok := errors.AsType[*rowError](err)
		switch {
		case err == nil:
			at, size = at+n, min(size*growth, to)
		case !ok:
			return err
		case n > 1:
			size = pieceAfter(err, n)
		default:
			if err := f.d.Reject(at, problem); err != nil {
				return err
			}
			at, f.bad = at+1, f.bad+1
		}
	}
	return nil
}

// pieceAfter is how many of n events to try after they were refused together.
func pieceAfter(err error, n int) int {
	if problem, ok := errors.AsType[*rowError](err); ok && problem.line > 1 && problem.line <= n {
		return problem.line - 1
	} else if ok && problem.line == 1 {
		return 1
	}
	return max(1, n/growth)
}

// piece copies events [from, to), and takes them back if that fails.
func (s *sink) piece(from, to int) error {
	if _, err := s.conn.run("set a savepoint", "SAVEPOINT piece"); err != nil {
		return err
	}
	err := s.copy(from, to)
	if err == nil {
		err = s.merge()
	}
	after := "RELEASE piece"
	if err != nil {
		after = "ROLLBACK TO piece; RELEASE piece"
	} else if s.target.merges() {
		after = "TRUNCATE " + stage + "; RELEASE piece"
	}
	if s.conn.IsClosed() {
		return err
	}
	_, problem := s.conn.run("end a savepoint", after)
	return errors.Join(err, problem)
}
