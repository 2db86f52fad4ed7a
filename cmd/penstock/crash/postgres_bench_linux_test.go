// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
)

// copyingText brings lines from a generator into a table, by way of the log on disk.
const copyingText = `
agent "bench" {
  data_dir = "DIR/data"
}

source "generate" "lines" {
  into = channel.main
  config {
    count = COUNT
    size  = "256B"
  }
}

channel "wal" "main" {
  capacity = "1GiB"
}

sink "postgres" "table" {
  from        = channel.main
  order       = "none"
  connections = CONNECTIONS
  batch {
    events = 16000
    bytes  = "8MiB"
    wait   = "100ms"
  }
  config {
    host     = "SOCKET"
    database = "postgres"
    user     = "postgres"
    table    = "ours"
    columns  = { body = "body" }
    create   = true
  }
}
`

// BenchmarkGenerateIntoPostgres runs an agent that generates lines of 256 bytes, keeps them on disk, and brings them into a table, from its start to
// the last row, beside \copy of psql of the same rows. The disk is what both wait for, so a figure is the ratio of one run.
func BenchmarkGenerateIntoPostgres(b *testing.B) {
	for _, connections := range []int{1, 2} {
		b.Run(fmt.Sprint("connections=", connections), func(b *testing.B) { benchCopying(b, connections) })
	}
}

func benchCopying(b *testing.B, connections int) {
	const count = 1_000_000
	srv := pgtest.Start(b, "max_wal_size=4GB")
	file := filepath.Join(srv.Dir, "lines")
	var ours, theirs time.Duration
	for range b.N {
		srv.Exec("DROP TABLE IF EXISTS ours, theirs, penstock_ranges; CREATE TABLE ours (body text); CREATE TABLE theirs (body text); CHECKPOINT")
		dir := b.TempDir()
		ours += copyByAgent(b, srv, dir, count, connections)
		psql(b, srv, `\copy ours to '`+file+`'`)
		srv.Exec("CHECKPOINT")
		began := time.Now()
		psql(b, srv, `\copy theirs from '`+file+`'`)
		theirs += time.Since(began)
		if srv.One("SELECT count(*) = (SELECT count(*) FROM theirs) AND count(DISTINCT body) = count(*) FROM ours") != "t" {
			b.Fatal("the tables differ")
		}
	}
	deliveries, err := strconv.Atoi(srv.One("SELECT count(*) FROM penstock_ranges"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(count)/float64(deliveries), "events/delivery")
	events := float64(b.N * count)
	b.ReportMetric(events/ours.Seconds(), "events/s")
	b.ReportMetric(events/theirs.Seconds(), "psql-events/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "of-psql")
}

// copyByAgent says how long an agent takes.
func copyByAgent(b *testing.B, srv *pgtest.Server, dir string, count, connections int) time.Duration {
	b.Helper()
	text := strings.NewReplacer("DIR", dir, "SOCKET", srv.Dir, "COUNT", strconv.Itoa(count), "CONNECTIONS", strconv.Itoa(connections)).Replace(copyingText)
	cache, cfg := filepath.Join(dir, "data", "cache"), filepath.Join(dir, "pipeline.hcl")
	err := errors.Join(os.WriteFile(cfg, []byte(text), 0o644), os.MkdirAll(cache, 0o700), os.CopyFS(cache, os.DirFS(compiled)))
	if err != nil {
		b.Fatal(err)
	}
	var said strings.Builder
	agent := exec.Command(binary, "run", cfg, "--http", "off", "--log-format", "json")
	agent.Stdout, agent.Stderr = &said, &said
	began := time.Now()
	if err := agent.Start(); err != nil {
		b.Fatal(err)
	}
	for held := ""; held != fmt.Sprint(count); {
		time.Sleep(20 * time.Millisecond)
		if rows, err := srv.Try("SELECT coalesce(sum(next - first), 0) FROM penstock_ranges"); err == nil {
			held = rows[0][0]
		}
		if time.Since(began) > time.Minute {
			b.Errorf("after %v it has %s of %d rows", time.Since(began), held, count)
			break
		}
	}
	took := time.Since(began)
	if err := errors.Join(agent.Process.Signal(syscall.SIGTERM), agent.Wait()); err != nil || b.Failed() {
		b.Fatalf("%v\n%s", err, &said)
	}
	return took
}

func psql(b *testing.B, srv *pgtest.Server, command string) {
	b.Helper()
	if out, err := exec.Command("psql", "-h", srv.Dir, "-p", strconv.Itoa(srv.Port), "-U", pgtest.User, "-c", command).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
}
