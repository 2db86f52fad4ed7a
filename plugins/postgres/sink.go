// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// maxPieces bounds how often a delivery looks again at what is held of its range: each time somebody else has just committed a part of it.
const maxPieces = 8

// sink writes each delivery as a transaction.
type sink struct {
	open   *sdk.Open
	server server
	target target
	ranges ranges
	create bool
	conn   *session // nil: to be opened
	begin  string   // the transaction's first statements

	written, rejected, held sdk.Counter

	lines lines         // of the delivery
	left  []event.Range // what of its range is not held yet
}

// NewSink makes the sink.
func NewSink() sdk.Sink { return new(sink) }

type sinkConfig struct {
	serverConfig
	Table      string            `json:"table"`
	Columns    map[string]string `json:"columns"`
	OnConflict string            `json:"on_conflict"`
	Key        []string          `json:"key"`
	Ranges     string            `json:"ranges"`
	Create     bool              `json:"create"`
}

// Check implements [sdk.Checker].
func (s *sink) Check(o *sdk.Open) error { return s.configure(o, false) }

func (s *sink) configure(o *sdk.Open, read bool) error {
	cfg := sinkConfig{OnConflict: conflictError, Ranges: "penstock_ranges"}
	err := o.Config(&cfg)
	if err != nil {
		return err
	}
	if s.server, err = cfg.server("sink", o, read); err != nil {
		return err
	}
	s.create = cfg.Create
	if s.target.table, err = parseRelation("table", cfg.Table); err != nil {
		return err
	}
	s.ranges.stream = o.Stream
	if s.ranges.table, err = s.target.table.beside("ranges", cfg.Ranges); err != nil {
		return err
	}
	if s.target.columns, err = parseColumns(cfg.Columns); err != nil {
		return err
	}
	s.target.key, s.target.onConflict = cfg.Key, cfg.OnConflict
	return s.target.checkKey()
}

// Open implements [sdk.Sink].
func (s *sink) Open(o *sdk.Open) error {
	s.open = o
	s.written, s.rejected, s.held = o.Counter("postgres_rows"), o.Counter("postgres_rejected_rows"), o.Counter("postgres_held_already")
	if err := s.configure(o, true); err != nil {
		return err
	}
	s.lines.encode = encoder{columns: s.target.columns, stream: o.Stream}
	if err := s.connect(); err != nil {
		return err
	}
	held, err := s.ranges.held(s.conn)
	if err != nil {
		return err
	}
	for _, h := range held {
		id, err := strconv.ParseUint(h.incarnation, 16, 64)
		if err != nil {
			return sdk.ConfigError("ranges", "the table %s holds the incarnation %q, which is none: %w\nsee who else writes to it", s.ranges.table, h.incarnation, err)
		}
		if err := o.Held(id, h.Range); err != nil {
			return err
		}
	}
	return nil
}

// connect opens a connection, and looks whether everything is there.
func (s *sink) connect() (err error) {
	conn, err := s.server.connect("connect")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			conn.close()
		}
	}()
	if s.create {
		if _, err := conn.run("create the tables", "BEGIN; "+creation+"; "+s.target.ddl()+"; "+s.ranges.ddl()+"; COMMIT"); err != nil {
			return notData(err)
		}
	}
	for _, step := range []func(*session) error{s.target.check, s.ranges.check, s.target.prepare, s.durability} {
		if err := step(conn); err != nil {
			return notData(err)
		}
	}
	s.conn = conn
	return nil
}

// durability sees to it that a COMMIT that was answered is on the server's disk.
func (s *sink) durability(c *session) error {
	rows, err := c.query("look at the server's settings", "SELECT current_setting('synchronous_commit'), current_setting('fsync')")
	if err != nil {
		return err
	}
	s.begin = "BEGIN"
	if string(rows[0][0]) == "off" {
		s.begin = "BEGIN; SET LOCAL synchronous_commit = on"
	}
	if string(rows[0][1]) == "off" {
		s.open.Log.Warn("the server runs with fsync = off: what it has answered is lost when its machine fails")
	}
	return nil
}

// Close implements [sdk.Closer].
func (s *sink) Close() error {
	s.drop()
	return nil
}

// drop ends the connection, and a transaction with it. The next delivery opens another.
func (s *sink) drop() {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
}

// Prune implements [sdk.Pruner].
func (s *sink) Prune(low event.Offset) error {
	if s.conn == nil {
		return nil // at the next time
	}
	err := s.ranges.prune(s.conn, low)
	if err != nil {
		s.drop()
	}
	return notData(err)
}

// Write implements [sdk.Sink].
func (s *sink) Write(r event.Range, b event.Batch, d *sdk.Delivery) error {
	if s.conn == nil || s.conn.IsClosed() {
		s.conn = nil
		if err := s.connect(); err != nil {
			return err
		}
	}
	incarnation, ok := s.open.Incarnation(r.First)
	if !ok {
		return &sdk.Error{Code: abi.EINVAL, Err: fmt.Errorf("the range %v belongs to no incarnation that this sink was opened with", r)}
	}
	s.lines.encode.incarnation = fmt.Sprintf("%016x", incarnation.ID)
	s.lines.reset(b)
	err := s.apply(r)
	_, ofRow := errors.AsType[*rowError](err)
	if err != nil && !ofRow && !errors.Is(err, errUnfit) {
		s.drop() // whatever state it is in
	}
	switch {
	case !s.lines.all():
		return s.refuse(d)
	case !ofRow:
		return err
	}
	bad, err := s.find(err, d)
	if err != nil {
		s.drop()
		return err
	}
	return s.reject(bad)
}

// refuse lists the events that no line can be made of.
func (s *sink) refuse(d *sdk.Delivery) error {
	for _, refused := range s.lines.refused {
		if err := d.Reject(refused.index, refused.why); err != nil {
			return err
		}
	}
	return s.reject(len(s.lines.refused))
}

// reject says that nothing was applied, because of n events that have been listed.
func (s *sink) reject(n int) error {
	s.rejected.Add(float64(n))
	return sdk.Reject(fmt.Errorf("%d of %d events do not fit into %s", n, s.lines.count, s.target.table))
}

// apply brings the events of r into the table, and r among the ranges, or neither. An error that is a rowError, or errUnfit, leaves the connection
// without a transaction. Events that are held count only when all of the delivery fit: those that do not have to be listed, whenever they come.
func (s *sink) apply(r event.Range) error {
	s.left = append(s.left[:0], r)
	for range maxPieces {
		err := s.try(r)
		if !s.ranges.conflict(err) {
			return err
		}
		if err := s.rollback(); err != nil {
			return err
		}
		if !s.lines.all() {
			return errUnfit
		}
		held, err := s.ranges.overlapping(s.conn, s.lines.encode.incarnation, r)
		if err != nil {
			return notData(err)
		}
		if s.left = subtract(r, held); len(s.left) == 0 {
			s.held.Add(1)
			return nil
		}
	}
	return sdk.Retry(fmt.Errorf("the range %v conflicts with %s, which does not hold it\nsee who else writes to that table; it is tried again", r, s.ranges.table), 0)
}

// try is one transaction, for what is left of the delivery's range r. While that is all of it, lines are made as they are sent.
func (s *sink) try(r event.Range) error {
	if _, err := s.conn.run("begin", s.begin+"; "+s.ranges.insert(s.lines.encode.incarnation, s.left)); err != nil {
		return s.ofRanges(err)
	}
	rows := 0
	for _, part := range s.left {
		from, to := 0, s.lines.count
		if part != r {
			from, to = s.lines.within(part)
		}
		if err := s.copy(from, to); err != nil {
			return errors.Join(err, s.rollback())
		}
		rows += to - from
	}
	if err := s.merge(); err != nil {
		return errors.Join(err, s.rollback())
	}
	result, err := s.conn.run("commit", "COMMIT")
	switch {
	case err != nil:
		return err // constraints that are deferred speak here, and the transaction is over
	case result.CommandTag.String() != "COMMIT":
		return sdk.Retry(fmt.Errorf("the server answered %q to COMMIT: nothing was applied\nit is tried again", result.CommandTag), 0)
	}
	s.written.Add(float64(rows))
	return nil
}

// ofRanges leaves a conflict as it is. Nothing else that is wrong with a range's row is the events' fault.
func (s *sink) ofRanges(err error) error {
	if s.ranges.conflict(err) {
		return err
	}
	return notData(err)
}

// notData makes an error of what no event has a part in.
func notData(err error) error {
	if _, ok := errors.AsType[*rowError](err); !ok {
		return err
	}
	return &sdk.Error{Code: abi.EINVAL, Err: fmt.Errorf("%w\nsee whether the tables are as they should be", err)}
}

// copy sends the lines of events [from, to).
func (s *sink) copy(from, to int) error {
	if from == to {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.server.timeout)
	defer cancel()
	lines := s.lines.read(from, to)
	_, err := s.conn.CopyFrom(ctx, lines, s.target.copyTo())
	lines.end()
	if err != nil && len(s.lines.refused) > 0 && !s.conn.IsClosed() {
		return errUnfit // the server says only that it was told to stop
	}
	return explain("copy into "+s.target.table.String(), err)
}

// merge brings what was copied from the stage into the table, if there is one.
func (s *sink) merge() error {
	sql := s.target.merge()
	if sql == "" {
		return nil
	}
	_, err := s.conn.run("merge into "+s.target.table.String(), sql)
	return err
}

func (s *sink) rollback() error {
	if s.conn.IsClosed() {
		return nil // and so is the transaction
	}
	_, err := s.conn.run("roll back", "ROLLBACK")
	return err
}
