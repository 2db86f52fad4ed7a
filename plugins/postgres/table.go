// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/sdk"
)

// Values of on_conflict.
const (
	conflictError  = "error"
	conflictIgnore = "ignore"
	conflictUpdate = "update"
)

// target is the table that the sink writes to.
type target struct {
	table      relation
	columns    []column
	key        []string
	onConflict string
}

// stage is where rows are copied to before they are merged into a table: the same columns, nothing that they have to hold, and their order.
const stage = "pg_temp.penstock_stage"

// creation is held while tables are created, since IF NOT EXISTS of two connections can fail. Any number will do that is always the same.
const creation = "SELECT pg_advisory_xact_lock(5496187126348251)"

func (t *target) merges() bool { return t.onConflict != "" && t.onConflict != conflictError }

func (t *target) names() string {
	names := make([]string, len(t.columns))
	for i := range t.columns {
		names[i] = quoteName(t.columns[i].name)
	}
	return strings.Join(names, ", ")
}

func (t *target) keyNames() []string {
	names := make([]string, len(t.key))
	for i, k := range t.key {
		names[i] = quoteName(k)
	}
	return names
}

// ddl makes the table.
func (t *target) ddl() string {
	lines := make([]string, 0, len(t.columns)+1)
	for i := range t.columns {
		lines = append(lines, "  "+quoteName(t.columns[i].name)+" "+t.columns[i].created())
	}
	if len(t.key) > 0 {
		lines = append(lines, "  PRIMARY KEY ("+strings.Join(t.keyNames(), ", ")+")")
	}
	return "CREATE TABLE IF NOT EXISTS " + t.table.String() + " (\n" + strings.Join(lines, ",\n") + "\n)"
}

// check looks at the table, and learns what its columns want.
func (t *target) check(c *session) error {
	rows, err := c.query("look at the table "+t.table.String(), `SELECT c.relkind, c.relpersistence, a.attname, b.typname, a.attgenerated <> '' FROM pg_class c
		JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_type y ON y.oid = a.atttypid
		JOIN pg_type b ON b.oid = COALESCE(NULLIF(y.typbasetype, 0), y.oid) WHERE c.oid = to_regclass($1) ORDER BY a.attnum`, t.table.String())
	switch {
	case err != nil:
		return err
	case len(rows) == 0:
		return sdk.ConfigError("table", "the table %s is not there\nwrite create = true, or create it, such as:\n%s;", t.table, t.ddl())
	case string(rows[0][0]) == "f":
		return sdk.ConfigError("table", "%s is a foreign table, whose server does not commit together with this one\nwrite to that server itself", t.table)
	case string(rows[0][1]) != "p":
		return sdk.ConfigError("table", "%s is unlogged: a crash of the server would empty it, while events count as delivered\nALTER TABLE %s SET LOGGED;", t.table, t.table)
	}
	var there []string
	for _, r := range rows {
		there = append(there, string(r[2]))
	}
	for i := range t.columns {
		col := &t.columns[i]
		at := slices.Index(there, col.name)
		switch {
		case at < 0:
			return sdk.ConfigError("columns", "the table %s has no column %q; it has %s\nadd it, or change columns", t.table, col.name, strings.Join(there, ", "))
		case string(rows[at][4]) == "t":
			return sdk.ConfigError("columns", "the column %q of %s is generated from others, and takes no value\nleave it out of columns", col.name, t.table)
		}
		col.kind = kinds[string(rows[at][3])]
	}
	return nil
}

// prepare makes what the connection needs to write.
func (t *target) prepare(c *session) error {
	if !t.merges() {
		return nil
	}
	_, err := c.run("make a temporary table", fmt.Sprintf("CREATE TEMP TABLE %s ON COMMIT DELETE ROWS AS SELECT 0::bigint AS penstock_row, %s FROM %s WITH NO DATA; "+
		"ALTER TABLE %[4]s ALTER penstock_row SET NOT NULL; ALTER TABLE %[4]s ALTER penstock_row ADD GENERATED ALWAYS AS IDENTITY",
		strings.TrimPrefix(stage, "pg_temp."), t.names(), t.table, stage))
	return err
}

// copyTo is the statement that takes rows.
func (t *target) copyTo() string {
	to := t.table.String()
	if t.merges() {
		to = stage
	}
	return "COPY " + to + " (" + t.names() + ") FROM STDIN"
}

// merge is the statement that brings copied rows into the table; "": they are there. Of several with one key the last counts where
// the table's is replaced. They go in by the order of their keys, so that two connections do not wait for each other.
func (t *target) merge() string {
	if !t.merges() {
		return ""
	}
	names, keys := t.names(), strings.Join(t.keyNames(), ", ")
	into := "INSERT INTO " + t.table.String() + " (" + names + ") "
	var set []string
	for i := range t.columns {
		if n := t.columns[i].name; !slices.Contains(t.key, n) {
			set = append(set, quoteName(n)+" = EXCLUDED."+quoteName(n))
		}
	}
	if t.onConflict == conflictIgnore || len(set) == 0 {
		order, on := "penstock_row", ""
		if keys != "" {
			order, on = keys+", penstock_row", " ("+keys+")"
		}
		return into + "SELECT " + names + " FROM " + stage + " ORDER BY " + order + " ON CONFLICT" + on + " DO NOTHING"
	}
	null := strings.Join(t.keyNames(), " IS NULL OR ") + " IS NULL" // no two keys with NULL are the same
	return into + "SELECT DISTINCT ON (" + keys + ", CASE WHEN " + null + " THEN penstock_row END) " + names + " FROM " + stage +
		" ORDER BY " + keys + ", CASE WHEN " + null + " THEN penstock_row END, penstock_row DESC ON CONFLICT (" + keys + ") DO UPDATE SET " + strings.Join(set, ", ")
}

// checkKey looks whether key and on_conflict fit each other and the columns.
func (t *target) checkKey() error {
	switch t.onConflict {
	case "", conflictError, conflictIgnore:
	case conflictUpdate:
		if len(t.key) == 0 {
			return sdk.ConfigError("key", `is missing: on_conflict = "update" has to know by which columns a row is the same, such as key = ["id"]`)
		}
	default:
		return sdk.ConfigError("on_conflict", `is %q, wanted "error", "ignore" or "update"`, t.onConflict)
	}
	for _, k := range t.key {
		if !slices.ContainsFunc(t.columns, func(c column) bool { return c.name == k }) {
			return sdk.ConfigError("key", "has %q, which is none of columns", k)
		}
	}
	return nil
}
