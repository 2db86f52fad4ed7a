// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// ranges is the table of what is held: a row for each delivery, in its transaction.
type ranges struct {
	table  relation
	stream string
}

// ddl makes it. The exclusion constraint is what keeps two transactions apart whose ranges overlap, however they were cut. GiST of
// PostgreSQL itself has no text, so a stream's incarnation stands in it as a range of one hash.
func (t ranges) ddl() string {
	hash := "hashtextextended(stream || '/' || incarnation, 0)"
	return "CREATE TABLE IF NOT EXISTS " + t.table.String() + " (\n" +
		"  stream text NOT NULL,\n  incarnation text NOT NULL,\n  first bigint NOT NULL,\n  next bigint NOT NULL CHECK (next > first),\n" +
		"  at timestamptz NOT NULL DEFAULT now(),\n  PRIMARY KEY (stream, incarnation, first),\n" +
		"  EXCLUDE USING gist (int8range(" + hash + ", " + hash + ", '[]') WITH &&, int8range(first, next) WITH &&)\n)"
}

// check looks whether the table is there and keeps what has to be kept.
func (t ranges) check(c *session) error {
	rows, err := c.query("look at the table of ranges", `SELECT c.relpersistence,
		EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype IN ('p', 'u')), EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype = 'x')
		FROM pg_class c WHERE c.oid = to_regclass($1)`, t.table.String())
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return sdk.ConfigError("ranges", "the table %s is not there, which keeps what was delivered\nwrite create = true, or create it:\n%s;", t.table, t.ddl())
	case string(rows[0][0]) != "p":
		return sdk.ConfigError("ranges", "the table %s is unlogged: a crash of the server would empty it, and events would come twice\nALTER TABLE %s SET LOGGED;", t.table, t.table)
	case string(rows[0][1]) != "t" || string(rows[0][2]) != "t":
		return sdk.ConfigError("ranges", "the table %s lacks its primary key or its exclusion constraint, without which events could come twice\nmake it as:\n%s;", t.table, t.ddl())
	}
	return nil
}

// heldRange is a row, or several that touch.
type heldRange struct {
	incarnation string
	event.Range
}

// held reads what is held of the stream, in order.
func (t ranges) held(c *session) ([]heldRange, error) {
	return t.read(c, "SELECT incarnation, first, next FROM "+t.table.String()+" WHERE stream = $1 ORDER BY incarnation, first", t.stream)
}

// overlapping reads what is held of r.
func (t ranges) overlapping(c *session, incarnation string, r event.Range) ([]heldRange, error) {
	return t.read(c, "SELECT incarnation, first, next FROM "+t.table.String()+" WHERE stream = $1 AND incarnation = $2 AND first < $4 AND next > $3 ORDER BY first",
		t.stream, incarnation, strconv.FormatUint(uint64(r.First), 10), strconv.FormatUint(uint64(r.Next), 10))
}

func (t ranges) read(c *session, sql string, parameters ...string) ([]heldRange, error) {
	rows, err := c.query("read what is held from "+t.table.String(), sql, parameters...)
	if err != nil {
		return nil, err
	}
	var all []heldRange
	for _, row := range rows {
		first, err1 := strconv.ParseUint(string(row[1]), 10, 63)
		next, err2 := strconv.ParseUint(string(row[2]), 10, 63)
		if err := errors.Join(err1, err2); err != nil {
			return nil, sdk.ConfigError("ranges", "the table %s holds a range that cannot be: %w\nsee who else writes to it", t.table, err)
		}
		h := heldRange{string(row[0]), event.Range{First: event.Offset(first), Next: event.Offset(next)}}
		if n := len(all); n > 0 && all[n-1].incarnation == h.incarnation && all[n-1].Next == h.First {
			all[n-1].Next = h.Next
			continue
		}
		all = append(all, h)
	}
	return all, nil
}

// insert is the statement that stores ranges, which are not empty.
func (t ranges) insert(incarnation string, these []event.Range) string {
	var s strings.Builder
	s.WriteString("INSERT INTO " + t.table.String() + " (stream, incarnation, first, next) VALUES ")
	for i, r := range these {
		if i > 0 {
			s.WriteString(", ")
		}
		fmt.Fprintf(&s, "(%s, '%s', %d, %d)", quoteText(t.stream), incarnation, r.First, r.Next)
	}
	return s.String()
}

// conflict says whether an error is that of a row which is there.
func (t ranges) conflict(err error) bool {
	const unique, exclusion = "23505", "23P01"
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == unique || pg.Code == exclusion) && pg.TableName == t.table.name
}

// prune deletes what ends at low or before. What another connection is deleting is left to it.
func (t ranges) prune(c *session, low event.Offset) error {
	name := t.table.String()
	_, err := c.query("prune "+name, "DELETE FROM "+name+" WHERE (stream, incarnation, first) IN (SELECT stream, incarnation, first FROM "+name+
		" WHERE stream = $1 AND next <= $2 FOR UPDATE SKIP LOCKED)", t.stream, strconv.FormatUint(uint64(low), 10))
	return err
}

// subtract is what is left of r without those that are held.
func subtract(r event.Range, held []heldRange) []event.Range {
	held = slices.SortedFunc(slices.Values(held), func(a, b heldRange) int { return cmp.Compare(a.First, b.First) })
	var left []event.Range
	for _, h := range held {
		if h.First > r.First {
			left = append(left, event.Range{First: r.First, Next: min(h.First, r.Next)})
		}
		r.First = max(r.First, h.Next)
		if r.First >= r.Next {
			return left
		}
	}
	return append(left, r)
}
