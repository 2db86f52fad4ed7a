// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// TestRejects hands over batches of which some is bad, and then the rest under the same range, as a pipeline does.
func TestRejects(t *testing.T) {
	srv := pgtest.Start(t, "fsync=off")
	many := func(n int, change map[int]string) []string {
		bodies := make([]string, n)
		for i := range bodies {
			bodies[i] = fmt.Sprintf(`{"n":%d}`, i)
			if b, ok := change[i]; ok {
				bodies[i] = b
			}
		}
		return bodies
	}
	all := make([]int, 300)
	for i := range all {
		all[i] = i
	}
	every := map[int]string{}
	for i := range all {
		every[i] = `{"n":"no number"}`
	}
	n := map[string]string{"n": "body.n"}
	for name, c := range map[string]struct {
		table  string // what comes after CREATE TABLE "name"
		config map[string]any
		bodies []string
		bad    []int
		reason string // of the first
	}{
		"what is not UTF-8":              {`(b text)`, map[string]any{"columns": map[string]string{"b": "body"}}, []string{"a", "\xff", "b", "c\x00"}, []int{1, 3}, "not UTF-8"},
		"what is no JSON":                {`(n int)`, map[string]any{"columns": n}, []string{`{"n":1}`, `{`, `[]`}, []int{1}, "not JSON"},
		"what a type does not take":      {`(n int)`, map[string]any{"columns": n}, many(3000, map[int]string{7: `{"n":"x"}`, 8: `{"n":1e99}`, 2999: `{"n":2.5}`}), []int{7, 8, 2999}, `invalid input syntax for type integer: "x" (SQLSTATE 22P02), column "n"`},
		"the first and the last":         {`(n int)`, map[string]any{"columns": n}, many(50, map[int]string{0: `{"n":"x"}`, 49: `{"n":"x"}`}), []int{0, 49}, "22P02"},
		"all of them":                    {`(n int)`, map[string]any{"columns": n}, many(300, every), all, "22P02"},
		"one alone":                      {`(n int)`, map[string]any{"columns": n}, many(1, map[int]string{0: `{"n":"x"}`}), []int{0}, "22P02"},
		"what is there already":          {`(n int UNIQUE)`, map[string]any{"columns": n}, many(2500, map[int]string{2400: `{"n":3}`, 1200: `{"n":2}`}), []int{1200, 2400}, "SQLSTATE 23505"},
		"what must not be null":          {`(n int NOT NULL)`, map[string]any{"columns": n}, many(100, map[int]string{40: `{}`}), []int{40}, `SQLSTATE 23502), column "n"`},
		"what a check refuses":           {`(n int CHECK (n <> 1777))`, map[string]any{"columns": n}, many(2000, nil), []int{1777}, "SQLSTATE 23514"},
		"what refers to nothing":         {`(n int REFERENCES numbers)`, map[string]any{"columns": n}, many(2000, nil), []int{5, 777, 780, 1333, 1998}, "SQLSTATE 23503"},
		"what a commit finds":            {`(n int REFERENCES numbers DEFERRABLE INITIALLY DEFERRED)`, map[string]any{"columns": n}, many(2000, nil), []int{5, 777, 780, 1333, 1998}, "SQLSTATE 23503"},
		"what is too long":               {`(n varchar(3))`, map[string]any{"columns": n}, many(2000, map[int]string{1000: `{"n":"long"}`})[:1001], []int{1000}, "SQLSTATE 22001"},
		"what jsonb does not take":       {`(b jsonb)`, map[string]any{"columns": map[string]string{"b": "body"}}, []string{`{"a":"\u0000"}`, `{}`, `x`}, []int{0, 2}, "SQLSTATE 22P05"},
		"what a trigger refuses":         {`(n int); CREATE TRIGGER r BEFORE INSERT ON "%[1]s" FOR EACH ROW WHEN (NEW.n = 99) EXECUTE FUNCTION refuse('P0001')`, map[string]any{"columns": n}, many(200, nil), []int{99}, "SQLSTATE P0001"},
		"what an update must not change": {`(n int PRIMARY KEY, v int CHECK (v < 5))`, map[string]any{"on_conflict": "update", "key": []string{"n"}, "columns": map[string]string{"n": "body.n", "v": "body.v"}}, many(600, map[int]string{123: `{"n":1,"v":7}`}), []int{123}, "SQLSTATE 23514"},
		"what an update cannot read":     {`(n int PRIMARY KEY)`, map[string]any{"on_conflict": "update", "key": []string{"n"}, "columns": n}, many(600, map[int]string{123: `{"n":"x"}`}), []int{123}, "SQLSTATE 22P02"},
	} {
		t.Run(name, func(t *testing.T) {
			srv.Exec(`CREATE TABLE IF NOT EXISTS numbers (n int PRIMARY KEY); INSERT INTO numbers SELECT i FROM generate_series(0, 1999) i WHERE i NOT IN (5, 777, 780, 1333, 1998) ON CONFLICT DO NOTHING;
				CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = TG_ARGV[0]; END $$`)
			srv.Exec(fmt.Sprintf(`CREATE TABLE "%[1]s" `+c.table, table(t)))
			s := openSink(t, srv, c.config)
			var events []event.Event
			for _, b := range c.bodies {
				events = append(events, event.Event{Body: []byte(b)})
			}
			code, text := codeAndText(s.Deliver(1000, events...))
			if code != abi.EREJECT || !slices.Equal(s.Rejected, c.bad) {
				t.Fatalf("%v: %s; rejected %v, want %v", code, text, s.Rejected, c.bad)
			}
			if !strings.Contains(s.Reasons[0], c.reason) {
				t.Errorf("the reason is %q, want %q in it", s.Reasons[0], c.reason)
			}
			if rows, held := srv.One(fmt.Sprintf(`SELECT count(*) FROM "%s"`, table(t))), srv.One(fmt.Sprintf(`SELECT count(*) FROM "%s_ranges"`, table(t))); rows != "0" || held != "0" {
				t.Fatalf("it has rejected something, and applied %s rows and %s ranges", rows, held)
			}
			var rest event.Builder
			rest.Limit = event.MaxBatch
			for i := range events {
				if !slices.Contains(c.bad, i) {
					if err := rest.AppendAt(event.Offset(i), &events[i]); err != nil {
						t.Fatal(err)
					}
				}
			}
			if rest.Len() == 0 {
				return // a pipeline asks no more
			}
			if err := s.Hand(event.Range{First: 1000, Next: event.Offset(1000 + len(events))}, rest.Batch().WithBase(1000)); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(); err != nil || len(s.Held) != 1 || s.Held[0].Range.Len() != uint64(len(events)) {
				t.Errorf("held is %v, %v", s.Held, err)
			}
		})
	}
}

func heldIsNotLookedAtForRejects(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (n int UNIQUE)`, table(t)))
	s := openSink(t, srv, map[string]any{"columns": map[string]string{"n": "body"}})
	if err := deliver(s, 5, 3); err != nil {
		t.Fatal(err)
	}
	events := numbered(0, 10)
	events[9].Body = []byte("bad")
	code, text := codeAndText(s.Deliver(0, events...))
	if code != abi.EREJECT || !slices.Equal(s.Rejected, []int{9}) {
		t.Fatalf("%v: %s; rejected %v: those that are held conflict with themselves", code, text, s.Rejected)
	}
}

// unfitIsListedThoughHeld: the range was applied, and the agent killed before it knew. What was rejected of it has to be listed again.
func unfitIsListedThoughHeld(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (n int)`, table(t)))
	s := openSink(t, srv, map[string]any{"columns": map[string]string{"n": "body.n"}})
	events := numbered(0, 3000)
	for i := range events {
		events[i].Body = fmt.Appendf(nil, `{"n":%d}`, i)
	}
	if err := s.Deliver(0, events...); err != nil {
		t.Fatal(err)
	}
	events[1], events[2999] = event.Event{Body: []byte("{")}, event.Event{Body: []byte("}")}
	code, text := codeAndText(s.Deliver(0, events...))
	if code != abi.EREJECT || !slices.Equal(s.Rejected, []int{1, 2999}) {
		t.Errorf("%v: %s; rejected %v, want 1 and 2999", code, text, s.Rejected)
	}
}

func sqlstates(t *testing.T, srv *pgtest.Server) {
	srv.Exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = NEW.body; END $$`)
	s := openSink(t, srv, nil)
	srv.Exec(fmt.Sprintf(`CREATE TRIGGER r BEFORE INSERT ON "%s" FOR EACH ROW EXECUTE FUNCTION refuse()`, table(t)))
	for sqlstate, want := range map[string]struct {
		class abi.Class
		hint  string
	}{
		"08006": {abi.Retry, "tried again"}, "40001": {abi.Retry, "in the way"}, "40P01": {abi.Retry, "in the way"}, "53100": {abi.Retry, "disk is full"},
		"53200": {abi.Retry, "tried again"}, "53300": {abi.Retry, "max_connections"}, "55P03": {abi.Retry, "pg_locks"}, "57014": {abi.Retry, "statement_timeout"},
		"57P03": {abi.Retry, "starts"}, "58030": {abi.Retry, "58030"}, "XX001": {abi.Retry, "XX001"}, "25006": {abi.Retry, "read-only"}, "ZZ999": {abi.Retry, "ZZ999"},
		"28P01": {abi.Config, "pg_hba.conf"}, "3D000": {abi.Config, "database"}, "3F000": {abi.Config, "schema"}, "42501": {abi.Config, "grant"}, "42P01": {abi.Config, "create"},
		"42703": {abi.Config, "column"}, "42804": {abi.Config, "columns"}, "0A000": {abi.Config, "version"}, "57P04": {abi.Config, "dropped"},
		"22003": {abi.Reject, "refused"}, "23505": {abi.Reject, "refused"}, "44000": {abi.Reject, "refused"}, "54000": {abi.Reject, "refused"}, "P0001": {abi.Reject, "refused"},
	} {
		code, text := codeAndText(s.Send(sqlstate))
		if code.Class() != want.class || code == 0 {
			t.Errorf("%s is %v (%s), want class %v", sqlstate, code, text, want.class)
		}
		if code.Class() == abi.Reject {
			text = s.Reasons[0]
		}
		if !strings.Contains(text, sqlstate) || !strings.Contains(text, want.hint) {
			t.Errorf("%s says %q, want %q in it", sqlstate, text, want.hint)
		}
	}
	srv.Exec(fmt.Sprintf(`DROP TRIGGER r ON "%s"`, table(t)))
	if err := s.Send("again"); err != nil {
		t.Errorf("after all those: %v", err)
	}
}
