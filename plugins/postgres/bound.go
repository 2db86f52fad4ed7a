// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"strings"

	"github.com/penstock-io/penstock/sdk"
)

// Values of wait_for.
const (
	waitWriters      = "writers"
	waitTransactions = "transactions"
	waitNobody       = "nobody"
)

// A bound is a key up to which nothing will be added any more, once those have ended who might.
//
// Keys are given to rows in another order than their transactions are committed: 5 may become visible after 6 was read. So the newest key
// that is visible is read first, and then who is under way. Whoever was given a smaller key, and is not committed, is among those, since
//
//   - writers: INSERT locks its table before it evaluates a default such as nextval, and keeps the lock to the end of its transaction; the
//     server lists locks to everybody. That holds for keys that come from a serial or identity column, one at a time (CACHE 1);
//   - transactions: of any transaction the server lists the lock on its own number. That holds also for a key that is the time at which the
//     transaction began (now()), and for keys that a transaction draws before it writes.
//
// When all of them have ended, what is not visible up to the bound never will be.
type bound struct {
	key     []string // nil: there is none
	waiting []string // the virtual transactions that may still add before it
}

// holders lists the transactions under way that may still add a smaller key.
func (s *source) holders() ([]string, error) {
	var sql string
	switch s.waitFor {
	case waitNobody:
		return nil, nil
	case waitTransactions:
		sql = "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype IN ('virtualxid', 'transactionid') AND mode = 'ExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid() " +
			"AND (pid IS NULL OR pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))"
	default:
		sql = "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND pid IS DISTINCT FROM pg_backend_pid() " +
			"AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation IN (SELECT " + quoteText(s.table.String()) + "::regclass UNION SELECT relid FROM pg_partition_tree(" + quoteText(s.table.String()) + "::regclass))"
	}
	rows, err := s.conn.query("look who is writing", sql)
	if err != nil {
		return nil, notData(err)
	}
	found := make([]string, len(rows))
	for i, r := range rows {
		found[i] = string(r[0])
	}
	return found, nil
}

// settled says whether nobody is left that the bound waits for.
func (s *source) settled() (bool, error) {
	if len(s.bound.waiting) == 0 {
		return true, nil
	}
	now, err := s.holders()
	if err != nil {
		return false, err
	}
	there := make(map[string]bool, len(now))
	for _, h := range now {
		there[h] = true
	}
	left := s.bound.waiting[:0]
	for _, h := range s.bound.waiting {
		if there[h] {
			left = append(left, h)
		}
	}
	s.bound.waiting = left
	return len(left) == 0, nil
}

// advance takes the newest key as the next bound, and says whether that is beyond the last.
func (s *source) advance() (bool, error) {
	rows, err := s.conn.query("read the newest key", "SELECT "+s.keys("%s::text")+" FROM "+s.table.String()+" penstock_row WHERE "+s.keys("%s IS NOT NULL", " AND ")+
		s.after(" AND ")+" ORDER BY "+s.keys("%s DESC")+" LIMIT 1", s.at...)
	if err != nil || len(rows) == 0 {
		return false, notData(err)
	}
	key := make([]string, len(s.key))
	for i := range key {
		key[i] = string(rows[0][i])
	}
	waiting, err := s.holders() // after the key: see bound
	if err != nil {
		return false, err
	}
	s.bound = bound{key, waiting}
	return true, nil
}

// checkPrimary refuses a server that does not know who is under way.
func (s *source) checkPrimary() error {
	if s.waitFor == waitNobody {
		return nil
	}
	rows, err := s.conn.query("ask whether this is a standby", "SELECT pg_is_in_recovery()")
	if err != nil {
		return err
	}
	if string(rows[0][0]) == "t" {
		return sdk.ConfigError("wait_for", "is %q, and the server is a standby, which does not know what is under way on its primary\nlet host name the primary, or write wait_for = \"nobody\", "+
			"which misses rows that are committed after later ones", s.waitFor)
	}
	return nil
}

// keys writes the columns of the key, each as a format says, with a separator, which is a comma unless said. They are those of the table: in ORDER BY a
// name alone is that of a result, which is the key as text, where 10 comes before 9.
func (s *source) keys(format string, separator ...string) string {
	var parts []string
	for _, k := range s.key {
		parts = append(parts, strings.ReplaceAll(format, "%s", "penstock_row."+quoteName(k)))
	}
	if len(separator) > 0 {
		return strings.Join(parts, separator[0])
	}
	return strings.Join(parts, ", ")
}
