// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestSink(t *testing.T) {
	srv := pgtest.Start(t, "fsync=off")
	for name, test := range map[string]func(*testing.T, *pgtest.Server){
		"rows hold what columns say":                rowsHoldWhatColumnsSay,
		"a range that comes again is written once":  aRangeThatComesAgain,
		"a range that comes again cut differently":  cutDifferently,
		"what is held is reported and pruned":       heldIsReportedAndPruned,
		"offsets of another incarnation are others": anotherIncarnation,
		"a range wider than its batch":              widerThanItsBatch,
		"two connections write the same":            twoConnectionsWriteTheSame,
		"a table that is missing":                   missingTable,
		"ranges without their constraint":           rangesWithoutTheirConstraint,
		"unlogged tables are refused":               unloggedTables,
		"held ranges are not looked at for rejects": heldIsNotLookedAtForRejects,
		"what does not fit is listed though held":   unfitIsListedThoughHeld, "SQLSTATEs": sqlstates, "an answer that is lost": anAnswerThatIsLost, "an answer that is none": anAnswerThatIsNone,
		"a transaction that outlives its connection": aTransactionThatOutlives, "an instance that is killed": anInstanceThatIsKilled,
		"update":                     upsertUpdates,
		"ignore":                     upsertIgnores,
		"update where a key is null": upsertOfNullKeys,
		"commits are flushed where the server does not": commitsAreFlushed,
	} {
		t.Run(name, func(t *testing.T) { test(t, srv) })
	}
}

func rowsHoldWhatColumnsSay(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (at timestamptz, day date, ns bigint, body text, raw bytea, doc jsonb, host varchar(10), all_of jsonb,
		n integer, price numeric, tags text[], sub jsonb, name text, no text, quoted json, "o" bigint, inc text, str text)`, table(t)))
	s := openSink(t, srv, map[string]any{"create": true, "columns": map[string]string{
		"at": "time", "day": "time", "ns": "time", "body": "body", "raw": "body", "doc": "body", "host": "attributes.host.name", "all_of": "attributes",
		"n": "body.n", "price": `body["the price"]`, "tags": "body.tags", "sub": "body.sub", "name": "body.sub.list[1].name", "no": "body.sub.none", "quoted": "body.sub.list[1].name",
		"o": "offset", "inc": "incarnation", "str": "stream",
	}})
	body := "{\"n\": 7, \"the price\":1.50 ,\"tags\":\"{a,\\\"b\\\\t\\\"}\",\n\t\"sub\":{\"list\":[1,{\"name\":\"\\u00e4\\\\\\n\"}], \"none\":null}}"
	err := s.Deliver(5, event.Event{Time: 1700000000123456789, Body: []byte(body), Attributes: []event.Attribute{
		{Key: "host.name", Value: []byte("web\t1")}, {Key: "x", Value: []byte("<\"&\\>")}, {Key: "x", Value: []byte("second")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]string{
		"at AT TIME ZONE 'UTC'": "2023-11-14 22:13:20.123457", "day": "2023-11-14", "ns": "1700000000123456789", "body": body, "convert_from(raw, 'UTF8')": body,
		"doc->'sub'->'list'->0": "1", "host": "web\t1", "all_of": `{"x": "<\"&\\>", "host.name": "web\t1"}`, "n": "7", "price": "1.50",
		"tags[2]": "bt", "sub->'none'": "null", "name": "ä\\\n", "no IS NULL": "t", "quoted": `"\u00e4\\\n"`, "o": "5", "inc": "8000000000000000", "str": "channel/reader/1",
	} {
		if got := srv.One(fmt.Sprintf(`SELECT %s FROM "%s"`, what, table(t))); got != want {
			t.Errorf("%s is %q, want %q", what, got, want)
		}
	}
}

func aRangeThatComesAgain(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	for range 3 {
		if err := deliver(s, 0, 3); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, srv, "body"); got != "0,1,2" || s.Metrics["postgres_rows"] != 3 || s.Metrics["postgres_held_already"] != 2 {
		t.Errorf("table holds %s; %v", got, s.Metrics)
	}
}

func cutDifferently(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	for _, r := range [][2]int{{2, 2}, {6, 1}, {3, 1}, {0, 9}, {8, 3}, {0, 11}} {
		if err := deliver(s, r[0], r[1]); err != nil {
			t.Fatalf("%v: %v", r, err)
		}
	}
	if got := read(t, srv, "lpad(body, 2)"); got != " 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,10" {
		t.Errorf("table holds %s", got)
	}
}

func heldIsReportedAndPruned(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	for _, r := range [][2]int{{0, 10}, {10, 5}, {20, 5}} {
		if err := deliver(s, r[0], r[1]); err != nil {
			t.Fatal(err)
		}
	}
	held := func() string {
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(s.Held)
	}
	if got := held(); got != "[{9223372036854775808 [0,15)} {9223372036854775808 [20,25)}]" {
		t.Errorf("held is %s", got)
	}
	if err := s.Prune(15); err != nil {
		t.Fatal(err)
	}
	if got := held(); got != "[{9223372036854775808 [20,25)}]" {
		t.Errorf("after a prune below 15 held is %s", got)
	}
	if err := s.Prune(24); err != nil {
		t.Fatal(err)
	}
	if got := held(); got != "[{9223372036854775808 [20,25)}]" {
		t.Errorf("after a prune below 24 held is %s", got)
	}
}

func anotherIncarnation(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	if err := deliver(s, 0, 2); err != nil {
		t.Fatal(err)
	}
	s.Incarnations = []abi.Incarnation{{ID: 7}}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := deliver(s, 0, 2); err != nil {
		t.Fatal(err)
	}
	if got := read(t, srv, "body"); got != "0,0,1,1" {
		t.Errorf("table holds %s", got)
	}
}

func widerThanItsBatch(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	var b event.Builder
	for _, delta := range []event.Offset{3, 9} {
		if err := b.AppendAt(delta, &event.Event{Body: fmt.Appendf(nil, "%d", 100+delta)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []event.Range{{First: 100, Next: 105}, {First: 100, Next: 120}} {
		batch := b.Batch().WithBase(100)
		if r.Next == 105 {
			var first event.Builder
			_ = first.AppendAt(3, &event.Event{Body: []byte("103")})
			batch = first.Batch().WithBase(100)
		}
		if err := s.Hand(r, batch); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, srv, "body"); got != "103,109" {
		t.Errorf("table holds %s", got)
	}
	if err := s.Restart(); err != nil || fmt.Sprint(s.Held) != "[{9223372036854775808 [100,120)}]" {
		t.Errorf("held is %v, %v", s.Held, err)
	}
}

func twoConnectionsWriteTheSame(t *testing.T, srv *pgtest.Server) {
	const ranges, size, writers = 40, 25, 3
	done := make(chan error, writers)
	sinks := make([]*sdktest.Sink, writers)
	for i := range sinks {
		sinks[i] = openSink(t, srv, nil)
	}
	for i, s := range sinks {
		go func() {
			for n := range ranges {
				first := (n*(i+1) + 7*i) % ranges * size // each in another order, and cut differently
				for _, r := range [][2]int{{first, 10 + i}, {first + 10 + i, size - 10 - i}} {
					for tries := 0; ; tries++ {
						err := deliver(s, r[0], r[1])
						if err == nil {
							break
						}
						if code, text := codeAndText(err); code.Class() != abi.Retry || tries == 50 {
							done <- fmt.Errorf("%v: %s", r, text)
							return
						}
					}
				}
			}
			done <- nil
		}()
	}
	for range sinks {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := srv.Exec(fmt.Sprintf(`SELECT count(*), count(DISTINCT body), min(body::int), max(body::int) FROM "%s"`, table(t)))[0]; !slices.Equal(got, []string{"1000", "1000", "0", "999"}) {
		t.Errorf("rows, bodies, least, greatest: %v", got)
	}
}

func missingTable(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	for sql, want := range map[string]string{
		`DROP TABLE "%s"`: "create = true, or create it, such as:\nCREATE TABLE",
		`CREATE TABLE "%s" (time timestamptz, attributes jsonb)`:                                             `no column "body"; it has time, attributes`,
		`CREATE TABLE "%s" (time timestamptz, attributes jsonb, body text GENERATED ALWAYS AS ('x') STORED)`: `"body" of `,
		`CREATE TABLE "%s" (time timestamptz, attributes jsonb, body text)`:                                  "",
	} {
		srv.Exec(fmt.Sprintf(`DROP TABLE IF EXISTS "%s"`, table(t)))
		if strings.HasPrefix(sql, "CREATE") {
			srv.Exec(fmt.Sprintf(sql, table(t)))
		}
		s.Configure(sinkConfigOf(t, srv, map[string]any{"create": false}))
		code, text := codeAndText(s.Restart())
		if want == "" && code != 0 || want != "" && (code != abi.EINVAL || !strings.Contains(text, want)) {
			t.Errorf("%s: %v: %s", sql, code, text)
		}
		s.Close()
	}
}

func rangesWithoutTheirConstraint(t *testing.T, srv *pgtest.Server) {
	srv.Exec(`CREATE TABLE bare_ranges (stream text, incarnation text, first bigint, next bigint, PRIMARY KEY (stream, incarnation, first))`)
	s := openSink(t, srv, nil)
	for name, want := range map[string]string{"bare_ranges": "exclusion constraint", "no_ranges": "is not there"} {
		s.Configure(sinkConfigOf(t, srv, map[string]any{"create": false, "ranges": name}))
		if code, text := codeAndText(s.Restart()); code != abi.EINVAL || !strings.Contains(text, want) || !strings.Contains(text, "EXCLUDE USING gist") {
			t.Errorf("%s: %v: %s", name, code, text)
		}
	}
}

func unloggedTables(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, nil)
	srv.Exec(fmt.Sprintf(`ALTER TABLE "%s" SET UNLOGGED`, table(t)))
	if code, text := codeAndText(s.Restart()); code != abi.EINVAL || !strings.Contains(text, "SET LOGGED") {
		t.Errorf("%v: %s", code, text)
	}
}

func upsertUpdates(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, map[string]any{"on_conflict": "update", "key": []string{"id"}, "columns": map[string]string{"id": "body.id", "v": "body.v"}})
	for _, batch := range [][]string{{`{"id":1,"v":"a"}`, `{"id":2,"v":"b"}`, `{"id":1,"v":"c"}`}, {`{"id":2,"v":"d"}`, `{"id":3}`}} {
		if err := s.Send(batch...); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, srv, "id || coalesce(v, 'null')"); got != "1c,2d,3null" {
		t.Errorf("table holds %s", got)
	}
}

func upsertIgnores(t *testing.T, srv *pgtest.Server) {
	s := openSink(t, srv, map[string]any{"on_conflict": "ignore", "key": []string{"id"}, "columns": map[string]string{"id": "body.id", "v": "body.v"}})
	for _, batch := range [][]string{{`{"id":1,"v":"a"}`, `{"id":2,"v":"b"}`, `{"id":1,"v":"c"}`}, {`{"id":2,"v":"d"}`, `{"id":3}`}} {
		if err := s.Send(batch...); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, srv, "id || coalesce(v, 'null')"); got != "1a,2b,3null" {
		t.Errorf("table holds %s", got)
	}
}

func upsertOfNullKeys(t *testing.T, srv *pgtest.Server) {
	srv.Exec(fmt.Sprintf(`CREATE TABLE "%s" (a int, b int, v text, UNIQUE (a, b))`, table(t)))
	s := openSink(t, srv, map[string]any{"on_conflict": "update", "key": []string{"a", "b"}, "columns": map[string]string{"a": "body.a", "b": "body.b", "v": "body.v"}})
	if err := s.Send(`{"a":1,"v":"x"}`, `{"a":1,"v":"y"}`, `{"a":1,"b":2,"v":"z"}`, `{"a":1,"b":2,"v":"w"}`); err != nil {
		t.Fatal(err)
	}
	if got := read(t, srv, "v"); got != "w,x,y" {
		t.Errorf("table holds %s: rows whose key has NULL are never the same", got)
	}
}

func commitsAreFlushed(t *testing.T, srv *pgtest.Server) {
	srv.Exec(`ALTER DATABASE postgres SET synchronous_commit = off`)
	defer srv.Exec(`ALTER DATABASE postgres RESET synchronous_commit`)
	s := openSink(t, srv, nil)
	srv.Exec(fmt.Sprintf(`CREATE FUNCTION commits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := current_setting('synchronous_commit'); RETURN NEW; END $$;
		CREATE TRIGGER commits BEFORE INSERT ON "%s" FOR EACH ROW EXECUTE FUNCTION commits()`, table(t)))
	if err := s.Send("x"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, srv, "body"); got != "on" {
		t.Errorf("synchronous_commit was %s", got)
	}
	if !slices.ContainsFunc(s.Logs, func(l string) bool { return strings.Contains(l, "fsync = off") }) {
		t.Errorf("nothing is said of fsync: %q", s.Logs)
	}
}
