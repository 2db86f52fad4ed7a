// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/event"
)

// BenchmarkSink writes lines of 256 bytes, 4096 a delivery, beside \copy of psql of the same lines in one transaction.
func BenchmarkSink(b *testing.B) {
	const batch, size = 4096, 256
	srv := pgtest.Start(b)
	srv.Exec(`CREATE TABLE one (body text); CREATE TABLE two (body text)`)
	srv.Exec(ranges{table: relation{"", "penstock_ranges"}}.ddl())
	s := sdktest.NewSink(b, NewSink)
	s.Configure(map[string]any{"host": srv.Dir, "port": srv.Port, "user": pgtest.User, "database": pgtest.User, "table": "one", "columns": map[string]string{"body": "body"}})
	if err := s.Restart(); err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	file, err := os.Create(filepath.Join(srv.Dir, "lines"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	var batches []event.Batch
	for n := 0; n < 200_000; n += batch {
		var w event.Builder
		w.Limit = event.MaxBatch
		for i := range batch {
			line := fmt.Appendf(nil, "%0*d", size, n+i)
			if err := w.Append(event.Event{Body: line}); err != nil {
				b.Fatal(err)
			}
			if _, err := file.Write(append(line, '\n')); err != nil {
				b.Fatal(err)
			}
		}
		batches = append(batches, w.Batch().WithBase(event.Offset(n)))
	}
	var ours, theirs time.Duration
	for range b.N {
		srv.Exec("TRUNCATE one, two, penstock_ranges; CHECKPOINT")
		start := time.Now()
		for _, one := range batches {
			if err := s.Hand(event.Range{First: one.Base(), Next: one.Base() + batch}, one); err != nil {
				b.Fatal(err)
			}
		}
		ours += time.Since(start)
		srv.Exec("CHECKPOINT")
		start = time.Now()
		copied := exec.Command("psql", "-h", srv.Dir, "-p", strconv.Itoa(srv.Port), "-U", pgtest.User, "-c", `\copy two from '`+file.Name()+`'`)
		if out, err := copied.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		theirs += time.Since(start)
	}
	if srv.One("SELECT count(*) = (SELECT count(*) FROM two) FROM one") != "t" {
		b.Error("the tables differ")
	}
	events := float64(b.N * len(batches) * batch)
	b.ReportMetric(events/ours.Seconds(), "events/s")
	b.ReportMetric(events/theirs.Seconds(), "psql-events/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "of-psql")
}
