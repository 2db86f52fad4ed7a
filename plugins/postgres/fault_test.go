// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

// patience is how long a test waits for what happens in milliseconds.
const patience = 30 * time.Second

// waitFor waits until a query of the server answers "t".
func waitFor(t *testing.T, srv *pgtest.Server, sql string) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if rows, err := srv.Try(sql); err == nil && rows[0][0] == "t" {
			return
		}
	}
	t.Fatalf("never: %s", sql)
}

// slow makes the test's table rest at an instant of each transaction: while rows are copied, or while it is committed.
func slow(srv *pgtest.Server, table, instant string) {
	trigger := `CREATE TRIGGER rest BEFORE INSERT ON "%s" FOR EACH ROW WHEN (NEW.body = '1') EXECUTE FUNCTION rest()`
	if instant == "commit" {
		trigger = `CREATE CONSTRAINT TRIGGER rest AFTER INSERT ON "%s" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.body = '1') EXECUTE FUNCTION rest()`
	}
	srv.Exec(`CREATE OR REPLACE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$`)
	srv.Exec(fmt.Sprintf(trigger, table))
}

const sleeps = `SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'`

// TestAServerThatFails kills its session, or all of it, while a delivery is copied or committed, and delivers again.
func TestAServerThatFails(t *testing.T) {
	srv := pgtest.Start(t)
	for _, instant := range []string{"copy", "commit"} {
		for what, act := range map[string]func(){
			"session ended": func() {
				srv.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)
			},
			"statement ended": func() { srv.Exec(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`) },
			"killed":          func() { srv.Kill(); srv.Start() },
			"stopped":         func() { srv.Stop(); srv.Start() },
		} {
			t.Run(what+" in "+instant, func(t *testing.T) {
				s := openSink(t, srv, nil)
				slow(srv, table(t), instant)
				answer := make(chan error)
				go func() { answer <- deliver(s, 0, 3) }()
				waitFor(t, srv, sleeps)
				act()
				if code, text := codeAndText(<-answer); code == 0 || code.Class() != abi.Retry || !strings.Contains(text, "tried again") {
					t.Fatalf("%v: %s", code, text)
				}
				srv.Exec(fmt.Sprintf(`DROP TRIGGER rest ON "%s"`, table(t)))
				for range 2 {
					if err := deliver(s, 0, 3); err != nil {
						t.Fatal(err)
					}
				}
				if got := read(t, srv, "body"); got != "0,1,2" {
					t.Errorf("table holds %s", got)
				}
			})
		}
	}
}

// anAnswerThatIsLost ends the connection between a COMMIT and its answer.
func anAnswerThatIsLost(t *testing.T, srv *pgtest.Server) {
	p := newProxy(t, srv)
	s := openSink(t, srv, map[string]any{"host": p.dir})
	p.swallow.Store("COMMIT")
	if code, text := codeAndText(deliver(s, 0, 3)); code.Class() != abi.Retry || code == 0 {
		t.Fatalf("%v: %s", code, text)
	}
	waitFor(t, srv, fmt.Sprintf(`SELECT count(*) = 3 FROM "%s"`, table(t))) // it was committed, and nobody knows
	p.swallow.Store("")
	if err := deliver(s, 0, 3); err != nil {
		t.Fatal(err)
	}
	if got := read(t, srv, "body"); got != "0,1,2" || s.Metrics["postgres_held_already"] != 1 {
		t.Errorf("table holds %s; %v", got, s.Metrics)
	}
}

// anAnswerThatIsNone has a COMMIT answered with something else than that it was done, or with nothing: whatever became of it, it comes again.
func anAnswerThatIsNone(t *testing.T, srv *pgtest.Server) {
	const done = "C\x00\x00\x00\x0bCOMMIT\x00"
	for name, instead := range map[string]string{"another": "C\x00\x00\x00\x0dROLLBACK\x00", "none": ""} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, srv)
			s := openSink(t, srv, map[string]any{"host": p.dir})
			lie := func(said []byte) []byte { return bytes.ReplaceAll(said, []byte(done), []byte(instead)) }
			p.rewrite.Store(&lie)
			if code, text := codeAndText(deliver(s, 0, 3)); code != abi.EAGAIN || !strings.Contains(text, "to COMMIT") {
				t.Fatalf("%v: %s", code, text)
			}
			p.rewrite.Store(nil)
			if err := deliver(s, 0, 3); err != nil {
				t.Fatal(err)
			}
			if got := read(t, srv, "body"); got != "0,1,2" {
				t.Errorf("table holds %s", got)
			}
		})
	}
}

// aTransactionThatOutlives has the transaction of a client that is thought dead still open on the server, when the same events come
// again, cut in another way: they wait for it.
func aTransactionThatOutlives(t *testing.T, srv *pgtest.Server) {
	for end, want := range map[string]string{"COMMIT": "0,1,2,5,6,old", "ROLLBACK": "0,1,2,3,4,5,6"} {
		t.Run(end, func(t *testing.T) {
			s := openSink(t, srv, nil)
			old := connectTo(t, srv)
			run(t, old, fmt.Sprintf(`BEGIN; INSERT INTO "%s_ranges" VALUES ('channel/reader/1', '8000000000000000', 3, 5); INSERT INTO "%[1]s" VALUES (NULL, 'old', now())`, table(t)))
			if err := deliver(s, 0, 2); err != nil {
				t.Fatalf("a range beside it is kept waiting: %v", err)
			}
			answer := make(chan error)
			go func() { answer <- deliver(s, 0, 7) }()
			waitFor(t, srv, `SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`)
			run(t, old, end)
			if err := <-answer; err != nil {
				t.Fatal(err)
			}
			if got := read(t, srv, "body"); got != want {
				t.Errorf("table holds %s, want %s", got, want)
			}
		})
	}
}

// anInstanceThatIsKilled drops the connection of a delivery under way, as kill -9 of a plugin does, and opens another instance at once.
func anInstanceThatIsKilled(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	slow(srv, table(t), "copy")
	old := sdktest.OpenSink(t, NewSink, sinkConfigOf(t, srv, nil))
	answer := make(chan error)
	go func() { answer <- deliver(old, 0, 3) }()
	waitFor(t, srv, sleeps)
	pid := srv.One(`SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)
	go func() { answer <- deliver(s, 1, 5) }()
	waitFor(t, srv, `SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`)
	srv.Exec(fmt.Sprintf(`ALTER FUNCTION rest() RENAME TO rested; SELECT pg_terminate_backend(%s)`, pid))
	<-answer
	srv.Exec(`ALTER FUNCTION rested() RENAME TO rest`)
	if got := read(t, srv, "body"); strings.Contains(got, "0") {
		t.Errorf("table holds %s: what the dead one wrote is not committed", got)
	}
	srv.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)
	<-answer
	srv.Exec(fmt.Sprintf(`DROP TRIGGER rest ON "%s"`, table(t)))
	if err := deliver(s, 0, 6); err != nil {
		t.Fatal(err)
	}
	if got := read(t, srv, "body"); got != "0,1,2,3,4,5" {
		t.Errorf("table holds %s", got)
	}
}

func connectTo(t *testing.T, srv *pgtest.Server) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=%s sslmode=disable", srv.Dir, srv.Port, pgtest.User))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func run(t *testing.T, c *pgconn.PgConn, sql string) {
	t.Helper()
	if _, err := c.Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
