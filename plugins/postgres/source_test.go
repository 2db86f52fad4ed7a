// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestSource(t *testing.T) {
	srv := pgtest.Start(t, "fsync=off", "max_prepared_transactions=5")
	for name, test := range map[string]func(*testing.T, *pgtest.Server){
		"rows are read once, in the order of the key": rowsAreReadOnce,
		"rows that are committed late":                committedLate,
		"rows of a prepared transaction":              preparedTransaction,
		"a time at which transactions began":          beganTime,
		"nobody is waited for":                        nobodyIsWaitedFor,
		"a key of two columns":                        keyOfTwoColumns,
		"start at the end":                            startAtTheEnd,
		"a notification wakes it up":                  notificationWakes,
		"a notification during a query":               notificationDuringAQuery,
		"what becomes of a row":                       whatBecomesOfARow,
		"a row that does not fit":                     rowThatDoesNotFit,
		"arguments that are wrong":                    wrongSourceArguments,
		"a session that is ended":                     sessionThatIsEnded,
		"writers at the same time, each row once":     writersAtTheSameTime,
		"a partitioned table whose parts are written": partitioned,
	} {
		t.Run(name, func(t *testing.T) { test(t, srv) })
	}
}

func sourceConfigOf(t *testing.T, srv *pgtest.Server, more map[string]any) map[string]any {
	c := map[string]any{"table": table(t), "key": []string{"id"}, "columns": []string{"v"}, "interval": 20 * time.Millisecond}
	maps.Copy(c, more)
	return configOf(srv, c)
}

func openSource(t *testing.T, srv *pgtest.Server, more map[string]any) *sdktest.Source {
	t.Helper()
	s := sdktest.OpenSource(t, New, sourceConfigOf(t, srv, more))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func create(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (id bigserial PRIMARY KEY, v text, at timestamptz NOT NULL DEFAULT now())`, table(t)))
}

func insert(t *testing.T, srv *pgtest.Server, values ...string) {
	t.Helper()
	for _, v := range values {
		srv.Exec(fmt.Sprintf(`INSERT INTO "%s" (v) VALUES ('%s')`, table(t), v))
	}
}

// values are what came, as one text.
func values(events []sdktest.Event) string {
	var out []string
	for _, b := range sdktest.Bodies(events) {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(b, `{"v":"`), `"}`))
	}
	return strings.Join(out, ",")
}

func wantEvents(t *testing.T, s *sdktest.Source, want string) {
	t.Helper()
	if got := values(s.Drain()); got != want {
		t.Fatalf("it reads %q, want %q", got, want)
	}
}

func rowsAreReadOnce(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, nil)
	wantEvents(t, s, "")
	insert(t, srv, "a", "b", "c")
	s.MaxEvents = 2
	wantEvents(t, s, "a,b,c")
	wantEvents(t, s, "")
	insert(t, srv, "d")
	if got, err := s.Poll(); err != nil || values(got) != "d" { // and killed before it is committed
		t.Fatalf("%v, %v", got, err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	insert(t, srv, "e")
	wantEvents(t, s, "d,e")
	srv.Exec(fmt.Sprintf(`INSERT INTO "%s" (v) SELECT i::text FROM generate_series(1, 3000) i`, table(t)))
	s.MaxEvents = 700
	for i, e := range s.Drain() {
		if want := fmt.Sprintf(`{"v":"%d"}`, i+1); e.Body != want {
			t.Fatalf("row %d is %s, want %s: 9 comes before 10", i, e.Body, want)
		}
	}
	if len(s.Events) != 3005 {
		t.Fatalf("it has read %d rows of 3005", len(s.Events))
	}
}

// hold begins a transaction that has a row, and returns what ends it.
func hold(t *testing.T, srv *pgtest.Server, sql string) func(end string) {
	t.Helper()
	c := connectTo(t, srv)
	run(t, c, "BEGIN")
	run(t, c, fmt.Sprintf(sql, table(t)))
	return func(end string) { run(t, c, end) }
}

func committedLate(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, nil)
	commit := hold(t, srv, `INSERT INTO "%s" (v) VALUES ('late')`)
	undo := hold(t, srv, `INSERT INTO "%s" (v) VALUES ('never')`)
	insert(t, srv, "early")
	wantEvents(t, s, "") // 3 is there; 1 and 2 may come
	if s.Metrics["postgres_waiting_for"] != 2 {
		t.Errorf("it waits for %v", s.Metrics)
	}
	later := hold(t, srv, `INSERT INTO "%s" (v) VALUES ('later')`)
	commit("COMMIT")
	wantEvents(t, s, "")
	undo("ROLLBACK")
	wantEvents(t, s, "late,early") // who comes after the bound is not waited for
	later("COMMIT")
	wantEvents(t, s, "later")
}

func preparedTransaction(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, nil)
	hold(t, srv, `INSERT INTO "%s" (v) VALUES ('late')`)("PREPARE TRANSACTION 'p'")
	insert(t, srv, "early")
	wantEvents(t, s, "")
	srv.Exec("COMMIT PREPARED 'p'")
	wantEvents(t, s, "late,early")
}

func beganTime(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, map[string]any{"key": []string{"at", "id"}, "wait_for": "transactions"})
	commit := hold(t, srv, `SELECT now() /* "%s" */`) // its time is given to it before it writes
	insert(t, srv, "early")
	wantEvents(t, s, "")
	commit(fmt.Sprintf(`INSERT INTO "%s" (v) VALUES ('late'); COMMIT`, table(t)))
	wantEvents(t, s, "late,early")
}

func nobodyIsWaitedFor(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, map[string]any{"wait_for": "nobody"})
	commit := hold(t, srv, `INSERT INTO "%s" (v) VALUES ('late')`)
	insert(t, srv, "early")
	wantEvents(t, s, "early")
	commit("COMMIT")
	wantEvents(t, s, "") // as the documentation says
}

func keyOfTwoColumns(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (day date NOT NULL, name text NOT NULL, v text, PRIMARY KEY (day, name));
		INSERT INTO "%[1]s" VALUES ('2026-01-02', 'a', '3'), ('2026-01-01', 'z,"', '2'), ('2026-01-01', 'b', '1'), ('2026-01-02', 'b', '4')`, table(t)))
	s := openSource(t, srv, map[string]any{"key": []string{"day", "name"}})
	s.MaxEvents = 2
	if _, err := s.Poll(); err != nil {
		t.Fatal(err)
	}
	s.Commit()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, s, "3,4")
	if got := string(s.Cursor["key"]); got != `["2026-01-02","b"]` {
		t.Errorf("the cursor is %s", got)
	}
	s.Configure(sourceConfigOf(t, srv, map[string]any{"key": []string{"day"}}))
	if code, text := codeAndText(s.Restart()); code != abi.EINVAL || !strings.Contains(text, "another key") {
		t.Errorf("%v: %s", code, text)
	}
}

func startAtTheEnd(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	insert(t, srv, "old", "older")
	s := openSource(t, srv, map[string]any{"start": "end"})
	wantEvents(t, s, "")
	insert(t, srv, "new")
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, s, "new")
	srv.Exec(fmt.Sprintf(`TRUNCATE "%s"`, table(t)))
	empty := openSource(t, srv, map[string]any{"start": "end"})
	wantEvents(t, empty, "")
	insert(t, srv, "first")
	if err := empty.Restart(); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, empty, "first")
}

func notificationWakes(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	srv.Exec(fmt.Sprintf(`CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY news; RETURN NULL; END $$;
		CREATE TRIGGER told AFTER INSERT ON "%s" FOR EACH STATEMENT EXECUTE FUNCTION told()`, table(t)))
	s := openSource(t, srv, map[string]any{"listen": "news", "interval": time.Hour})
	wantEvents(t, s, "")
	s.Timeout = patience
	go func() {
		time.Sleep(50 * time.Millisecond) // it is waiting by then, or else finds the row at once
		insert(t, srv, "a")
	}()
	start := time.Now()
	if got, err := s.Poll(); err != nil || values(got) != "a" || time.Since(start) > patience/2 {
		t.Errorf("after %v: %v, %v", time.Since(start), got, err)
	}
}

// notificationDuringAQuery has one come with the answer of a query that sees nothing of the row yet: nobody waits for it then, and it counts.
func notificationDuringAQuery(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	p := newProxy(t, srv)
	s := openSource(t, srv, map[string]any{"host": p.dir, "listen": "news", "interval": time.Hour})
	wantEvents(t, s, "")
	var once sync.Once
	tell := func(said []byte) []byte {
		once.Do(func() {
			insert(t, srv, "a")
			said = append([]byte("A\x00\x00\x00\x0e\x00\x00\x00\x01news\x00\x00"), said...)
		})
		return said
	}
	p.rewrite.Store(&tell)
	s.Timeout = patience
	start := time.Now()
	if got, err := s.Poll(); err != nil || values(got) != "a" || time.Since(start) > patience/2 {
		t.Errorf("after %v: %v, %v", time.Since(start), got, err)
	}
}

func whatBecomesOfARow(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (id int PRIMARY KEY, at timestamptz, "a b" text, raw bytea); INSERT INTO "%[1]s" VALUES (1, '2026-01-02 03:04:05.678901+01', 'x"y', '\x00ff')`, table(t)))
	for _, c := range []struct {
		config map[string]any
		want   string
	}{
		{map[string]any{"columns": []string{}}, `{"id":1,"at":"2026-01-02T02:04:05.678901+00:00","a b":"x\"y","raw":"\\x00ff"}`},
		{map[string]any{"columns": []string{"a b", "id"}}, `{"a b":"x\"y","id":1}`},
		{map[string]any{"columns": []string{}, "body": "a b"}, `x"y`},
		{map[string]any{"columns": []string{}, "body": "raw"}, "\x00\xff"},
	} {
		c.config["time"] = "at"
		got := openSource(t, srv, c.config).Drain()
		if len(got) != 1 || got[0].Body != c.want || got[0].Attributes["postgres.table"] != table(t) || got[0].Time != time.Date(2026, 1, 2, 2, 4, 5, 678901000, time.UTC).UnixNano() {
			t.Errorf("%v: %+v", c.config, got)
		}
	}
}

func rowThatDoesNotFit(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	insert(t, srv, "a")
	srv.Exec(fmt.Sprintf(`INSERT INTO "%s" (v) VALUES (repeat('x', 2000000))`, table(t)))
	s := openSource(t, srv, nil)
	if got, err := s.Poll(); err != nil || values(got) != "a" {
		t.Fatalf("%v, %v", got, err)
	}
	s.Commit()
	if _, err := s.Poll(); err == nil || !strings.Contains(err.Error(), `the row with key ["2"]`) {
		t.Errorf("%v", err)
	}
}

func wrongSourceArguments(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, nil)
	srv.Exec(fmt.Sprintf(`CREATE VIEW seen AS SELECT * FROM "%s"`, table(t)))
	for argument, c := range map[string]struct {
		value any
		want  string
	}{
		"key": {[]string{"v"}, "may be NULL"}, "table": {"nothing", "is not there"}, "columns": {[]string{"w"}, "it has id, v, at"}, "start": {"middle", "beginning"},
		"wait_for": {"everybody", "nobody"}, "body": {"v", "leave one out"}, "time": {"when", "no column"}, "host": {"", "is empty"},
	} {
		s.Configure(sourceConfigOf(t, srv, map[string]any{argument: c.value}))
		if code, text := codeAndText(s.Restart()); code != abi.EINVAL || !strings.Contains(text, c.want) {
			t.Errorf("%s: %v: %s", argument, code, text)
		}
	}
	s.Configure(sourceConfigOf(t, srv, map[string]any{"table": "seen"}))
	if code, text := codeAndText(s.Restart()); code != abi.EINVAL || !strings.Contains(text, `wait_for = "transactions"`) {
		t.Errorf("a view: %v: %s", code, text)
	}
}

func sessionThatIsEnded(t *testing.T, srv *pgtest.Server) {
	create(t, srv)
	s := openSource(t, srv, nil)
	insert(t, srv, "a")
	wantEvents(t, s, "a")
	srv.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'penstock source'`)
	insert(t, srv, "b")
	if code, text := codeAndText(func() error { _, err := s.Poll(); return err }()); code.Class() != abi.Retry || code == 0 {
		t.Errorf("%v: %s", code, text)
	}
	wantEvents(t, s, "b")
}

func writersAtTheSameTime(t *testing.T, srv *pgtest.Server) {
	const writers, transactions, rows = 4, 60, 3
	create(t, srv)
	s := openSource(t, srv, nil)
	done := make(chan error, writers)
	for w := range writers {
		go func() {
			for n := range transactions {
				end := "COMMIT"
				if n%5 == 4 {
					end = "ROLLBACK"
				}
				sql := "BEGIN"
				for r := range rows {
					sql += fmt.Sprintf(`; INSERT INTO "%s" (v) VALUES ('%d-%d-%d'); SELECT pg_sleep(0.00%d)`, table(t), w, n, r, (w+n)%4)
				}
				if _, err := srv.Try(sql + "; " + end); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for left := writers; left > 0; {
		select {
		case err := <-done:
			if left--; err != nil {
				t.Error(err)
			}
		default:
			if _, err := s.Poll(); err != nil {
				t.Fatal(err)
			}
			s.Commit()
		}
	}
	s.Drain()
	got := strings.Split(values(s.Events), ",")
	want := strings.Split(read(t, srv, "v"), ",")
	slices.Sort(got)
	slices.Sort(want)
	if len(want) != writers*transactions*rows*4/5 || !slices.Equal(got, want) {
		t.Errorf("it reads %d of %d rows", len(got), len(want))
	}
}

func partitioned(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (id bigserial NOT NULL, v text) PARTITION BY RANGE (id); CREATE TABLE part_1 PARTITION OF "%[1]s" FOR VALUES FROM (0) TO (1000)`, table(t)))
	s := openSource(t, srv, nil)
	commit := hold(t, srv, `INSERT INTO part_1 (v) VALUES ('late') /* "%s" */`)
	insert(t, srv, "early")
	wantEvents(t, s, "")
	commit("COMMIT")
	wantEvents(t, s, "late,early")
}
