// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// cursorKey is the entry of the cursor: the key of the last row, as a JSON list of texts.
	cursorKey = "key"
	// maxPage bounds how many rows are asked for at a time, pageBytes about how large they may be together: they are held in memory.
	maxPage, pageBytes = 10000, 4 << 20
	// settleEvery is how often it is looked whether transactions have ended.
	settleEvery = 10 * time.Millisecond
	// maxKeys bounds the columns of a key.
	maxKeys = 8
)

// source reads the rows of a table by a key that grows.
type source struct {
	server   server
	table    relation
	key      []string
	types    []string // of the key
	columns  []string
	body     string // a column, or "": the row as JSON
	time     string // a column, or "": when it was read
	fromEnd  bool
	waitFor  string
	listen   string
	interval time.Duration
	waiting  sdk.Gauge

	conn  *session
	woken bool     // a notification came
	bytes bool     // the body is a column of type bytea
	at    []string // the key of the last row; nil: before the first
	bound bound
	page  [][][]byte // rows that were read and are not emitted yet: key, then time, then body
	size  int        // of the next page
	attrs []event.Attribute
}

// New makes the source.
func New() sdk.Source { return new(source) }

type sourceConfig struct {
	serverConfig
	Table    string        `json:"table"`
	Key      []string      `json:"key"`
	Columns  []string      `json:"columns"`
	Body     string        `json:"body"`
	Time     string        `json:"time"`
	Start    string        `json:"start"`
	WaitFor  string        `json:"wait_for"`
	Listen   string        `json:"listen"`
	Interval time.Duration `json:"interval"`
}

// Check implements [sdk.Checker].
func (s *source) Check(o *sdk.Open) error { return s.configure(o, false) }

func (s *source) configure(o *sdk.Open, read bool) error {
	cfg := sourceConfig{Start: "beginning", WaitFor: waitWriters, Interval: time.Second}
	err := o.Config(&cfg)
	if err != nil {
		return err
	}
	if s.server, err = cfg.server("source", o, read); err != nil {
		return err
	}
	if s.table, err = parseRelation("table", cfg.Table); err != nil {
		return err
	}
	switch {
	case len(cfg.Key) == 0 || len(cfg.Key) > maxKeys:
		return sdk.ConfigError("key", "has %d columns, wanted 1 to %d: those by which rows are read, such as key = [\"id\"]", len(cfg.Key), maxKeys)
	case cfg.Start != "beginning" && cfg.Start != "end":
		return sdk.ConfigError("start", `is %q, wanted "beginning" or "end"`, cfg.Start)
	case !slices.Contains([]string{waitWriters, waitTransactions, waitNobody}, cfg.WaitFor):
		return sdk.ConfigError("wait_for", `is %q, wanted "writers", "transactions" or "nobody"`, cfg.WaitFor)
	case cfg.Body != "" && len(cfg.Columns) > 0:
		return sdk.ConfigError("columns", "says what of a row becomes JSON, and body names the one column that is the body: leave one out")
	}
	s.key, s.columns, s.body, s.time, s.listen, s.interval = cfg.Key, cfg.Columns, cfg.Body, cfg.Time, cfg.Listen, cfg.Interval
	s.fromEnd, s.waitFor = cfg.Start == "end", cfg.WaitFor
	return nil
}

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) error {
	if err := s.configure(o, true); err != nil {
		return err
	}
	s.waiting = o.Gauge("postgres_waiting_for")
	s.attrs = []event.Attribute{{Key: "postgres.table", Value: []byte(strings.ReplaceAll(s.table.String(), `"`, ""))}}
	if text, ok := o.Cursor[cursorKey]; ok {
		s.fromEnd = false
		if err := json.Unmarshal(text, &s.at); err != nil || len(s.at) != len(s.key) && len(s.at) > 0 {
			return sdk.ConfigError("key", "has %d columns, and the position of this source is %s\nit belongs to another key: give the source another name, which begins anew", len(s.key), text)
		}
	}
	if len(s.at) == 0 {
		s.at = nil
	}
	s.server.config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { s.woken = true }
	return s.connect()
}

func (s *source) connect() error {
	conn, err := s.server.connect("connect")
	if err != nil {
		return err
	}
	s.conn, s.bound, s.page, s.size = conn, bound{}, nil, 100
	for _, step := range []func() error{s.checkPrimary, s.checkTable, s.subscribe} {
		if err := step(); err != nil {
			s.drop()
			return notData(err)
		}
	}
	return nil
}

// checkTable looks at the table, and learns the types of its key.
func (s *source) checkTable() error {
	rows, err := s.conn.query("look at the table "+s.table.String(), `SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, c.relkind FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped WHERE c.oid = to_regclass($1) ORDER BY a.attnum`, s.table.String())
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return sdk.ConfigError("table", "the table %s is not there\nsee its name, the database and the user's rights", s.table)
	case s.waitFor == waitWriters && !strings.Contains("rp", string(rows[0][3])):
		return sdk.ConfigError("wait_for", `is "writers", and %s is no table of this server, so that nobody knows who writes to it: write wait_for = "transactions", or read the table itself`, s.table)
	}
	types, names, nullable := map[string]string{}, []string(nil), map[string]bool{}
	for _, r := range rows {
		name := string(r[0])
		types[name], names = string(r[1]), append(names, name)
		nullable[name] = string(r[2]) != "t"
	}
	s.types = s.types[:0]
	for argument, columns := range map[string][]string{"key": s.key, "columns": s.columns, "body": {s.body}, "time": {s.time}} {
		for _, c := range columns {
			if _, ok := types[c]; !ok && c != "" {
				return sdk.ConfigError(argument, "the table %s has no column %q; it has %s", s.table, c, strings.Join(names, ", "))
			}
		}
	}
	s.bytes = types[s.body] == "bytea"
	for _, k := range s.key {
		if s.types = append(s.types, types[k]); nullable[k] && string(rows[0][3]) != "v" {
			return sdk.ConfigError("key", "the column %q may be NULL, and such rows would never be read\nALTER TABLE %s ALTER %s SET NOT NULL;", k, s.table, quoteName(k))
		}
	}
	return nil
}

// subscribe has the server wake the source up.
func (s *source) subscribe() error {
	if s.listen == "" {
		return nil
	}
	_, err := s.conn.run("listen", "LISTEN "+quoteName(s.listen))
	return err
}

// Close implements [sdk.Closer].
func (s *source) Close() error {
	s.drop()
	return nil
}

func (s *source) drop() {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
}

// Poll implements [sdk.Source].
func (s *source) Poll(p *sdk.Poll) error {
	if s.conn == nil || s.conn.IsClosed() {
		s.conn = nil
		if err := s.connect(); err != nil {
			return err
		}
	}
	if begun, err := s.begin(p); err != nil || !begun {
		s.drop()
		return err
	}
	end := time.Now().Add(p.Timeout)
	for {
		ready, err := s.fill()
		if err != nil {
			s.drop()
			return err
		}
		if ready {
			return s.emit(p)
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := s.rest(p, left); err != nil {
			return err
		}
	}
}

// fill sees to it that there are rows to emit, and says whether there are.
func (s *source) fill() (bool, error) {
	if len(s.page) > 0 {
		return true, nil
	}
	if s.bound.key == nil {
		if more, err := s.advance(); err != nil || !more {
			return false, err
		}
	}
	settled, err := s.settled()
	s.waiting.Set(float64(len(s.bound.waiting)))
	if err != nil || !settled {
		return false, err
	}
	asked := s.size
	if s.page, err = s.read(); err != nil {
		return false, err
	}
	if len(s.page) < asked {
		s.bound.key = nil // all up to it was read
	}
	return len(s.page) > 0, nil
}

// begin sets the first cursor of a source that leaves out what is there, and says whether it has. It is a row's key, or none where there is no row.
func (s *source) begin(p *sdk.Poll) (bool, error) {
	if !s.fromEnd {
		return true, nil
	}
	more, err := s.advance()
	for end := time.Now().Add(p.Timeout); err == nil && more; {
		var settled bool
		if settled, err = s.settled(); settled || err != nil {
			break
		}
		if time.Now().After(end) {
			return false, nil // what is being written now is there already, or not: it does not matter when it is decided
		}
		if err := p.Sleep(settleEvery); err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, err
	}
	key := s.bound.key
	s.fromEnd, s.bound = false, bound{}
	return true, s.moveTo(p, key)
}

// rest waits for something to happen, but not longer than that.
func (s *source) rest(p *sdk.Poll, left time.Duration) error {
	if s.bound.key != nil {
		return p.Sleep(min(left, settleEvery))
	}
	if s.listen == "" {
		return p.Sleep(min(left, s.interval))
	}
	if s.woken {
		s.woken = false
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(left, s.interval))
	defer cancel()
	err := s.conn.WaitForNotification(ctx)
	if err == nil || ctx.Err() != nil && !s.conn.IsClosed() {
		return nil
	}
	s.drop()
	if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return nil
	}
	return explain("wait for a notification", err)
}

// after is the condition that a row comes after the last one; $1 and so on are s.at.
func (s *source) after(before string) string {
	if s.at == nil {
		return ""
	}
	return before + "(" + s.keys("%s") + ") > (" + s.parameters(1) + ")"
}

func (s *source) parameters(from int) string {
	var parts []string
	for i, t := range s.types {
		parts = append(parts, "CAST($"+strconv.Itoa(from+i)+" AS "+t+")")
	}
	return strings.Join(parts, ", ")
}

// read asks for the next rows up to the bound.
func (s *source) read() ([][][]byte, error) {
	body := "row_to_json(penstock_row)::text"
	if s.body != "" {
		body = quoteName(s.body) + "::text"
	} else if len(s.columns) > 0 {
		var names []string
		for _, c := range s.columns {
			names = append(names, quoteName(c))
		}
		body = "(SELECT row_to_json(penstock_part) FROM (SELECT " + strings.Join(names, ", ") + ") penstock_part)::text"
	}
	at := "NULL"
	if s.time != "" {
		at = "(extract(epoch FROM " + quoteName(s.time) + ") * 1000000)::bigint::text"
	}
	sql := "SELECT " + s.keys("%s::text") + ", " + at + ", " + body + " FROM " + s.table.String() + " penstock_row WHERE (" + s.keys("%s") + ") <= (" + s.parameters(len(s.at)+1) + ")" +
		s.after(" AND ") + " ORDER BY " + s.keys("%s") + " LIMIT " + strconv.Itoa(s.size)
	rows, err := s.conn.query("read "+s.table.String(), sql, slices.Concat(s.at, s.bound.key)...)
	if err != nil {
		return nil, notData(err)
	}
	bytes := 0
	for _, r := range rows {
		bytes += len(r[len(r)-1]) + 100
	}
	if len(rows) > 0 {
		s.size = min(maxPage, max(1, pageBytes*len(rows)/bytes))
	}
	return rows, nil
}

// emit appends rows, and sets the cursor to the last of them.
func (s *source) emit(p *sdk.Poll) error {
	now, n, k := p.Now().UnixNano(), 0, len(s.key)
	for ; n < len(s.page); n++ {
		row := s.page[n]
		e := event.Event{Time: now, Attributes: s.attrs, Body: row[k+1]}
		if s.bytes && len(e.Body) > 1 {
			e.Body = make([]byte, hex.DecodedLen(len(row[k+1])-2))
			if _, err := hex.Decode(e.Body, row[k+1][2:]); err != nil {
				return fmt.Errorf("read bytea: %w", err)
			}
		}
		if micros, err := strconv.ParseInt(string(row[k]), 10, 64); err == nil {
			e.Time = micros * int64(time.Microsecond)
		}
		err := p.Append(e)
		if errors.Is(err, sdk.ErrFull) {
			break
		}
		if err != nil {
			if n > 0 {
				break // what comes before it goes out first
			}
			return &sdk.Error{Code: abi.EINVAL, Err: fmt.Errorf("the row with key %q has %d bytes: %w\nread fewer columns (columns, body), or make the source's batch larger", row[:k], len(e.Body), err)}
		}
	}
	if n == 0 {
		return nil
	}
	key := make([]string, k)
	for i := range key {
		key[i] = string(s.page[n-1][i])
	}
	s.page = s.page[n:]
	return s.moveTo(p, key)
}

func (s *source) moveTo(p *sdk.Poll, key []string) error {
	text, err := json.Marshal(slices.Concat([]string{}, key)) // a list, also where there is none
	if err != nil {
		return fmt.Errorf("encode the key: %w", err)
	}
	if len(text) > abi.MaxValue {
		p.Discard()
		return sdk.ConfigError("key", "a key of %d bytes is too long to be kept: at most %d", len(text), abi.MaxValue)
	}
	s.at = key
	return p.SetCursor(cursorKey, text)
}
