// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
)

const httpPipeline = `
agent "crash" {
  data_dir = "DIR/data"
}

source "http" "in" {
  into = channel.main
  config {
    listen = "ADDRESS"
  }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "file" "out" {
  from = channel.main
  config { path = "DIR/out/out.log" }
}
`

// posters send lines, two to a request, as fast as they are answered, and note what was answered with 200. Half of them put a key into each
// request, and repeat it until it is answered; the others give up what fails.
type posters struct {
	url      string
	client   http.Client
	answered atomic.Int64
	stop     atomic.Bool
	work     sync.WaitGroup

	mu    sync.Mutex
	taken []string // lines of requests that were answered with 200
	given []string // lines of those that had no answer
	odd   []string // other answers than 200 and 503
}

func (p *posters) run(n int, keyed bool) {
	for i := 0; !p.stop.Load(); i++ {
		name := fmt.Sprintf("client %d request %d keyed %v", n, i, keyed)
		lines := []string{name + " first", name + " second"}
		for !p.post(name, lines, keyed) && keyed && !p.stop.Load() {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// post says whether the request was answered with 200.
func (p *posters) post(name string, lines []string, keyed bool) bool {
	r, err := http.NewRequest(http.MethodPost, p.url, strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	if keyed {
		r.Header.Set("Idempotency-Key", name)
	}
	status := 0
	resp, err := p.client.Do(r)
	if err == nil {
		status = resp.StatusCode
		_, _ = io.Copy(io.Discard, resp.Body) // an answer that is cut is an answer
		resp.Body.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch status {
	case http.StatusOK:
		p.taken = append(p.taken, lines...)
		p.answered.Add(1)
		return true
	case 0:
		if !keyed {
			time.Sleep(10 * time.Millisecond) // it is down
		}
		p.given = append(p.given, lines...)
	case http.StatusServiceUnavailable:
	default:
		p.odd = append(p.odd, fmt.Sprint(name, ": ", status))
	}
	return false
}

// await waits for so many more answers.
func (p *posters) await(r *rig, more int64) {
	r.t.Helper()
	want := p.answered.Load() + more
	for deadline := time.Now().Add(time.Minute); p.answered.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("no answers\n%s", &r.said)
		}
	}
}

// check compares what came out with what was answered.
func (p *posters) check(t *testing.T, out []byte) {
	t.Helper()
	count := map[string]int{}
	for line := range bytes.Lines(out) {
		count[strings.TrimSuffix(string(line), "\n")]++
	}
	var lost, repeated []string
	for _, line := range p.taken {
		if count[line] == 0 {
			lost = append(lost, line)
		}
	}
	for line, n := range count {
		if n > 1 && strings.Contains(line, "keyed true") {
			repeated = append(repeated, line)
		}
		if strings.HasSuffix(line, " first") && count[strings.TrimSuffix(line, "first")+"second"] != n {
			t.Errorf("half of a request came out: %q", line)
		}
	}
	for _, line := range append(p.taken, p.given...) {
		delete(count, line)
	}
	if len(lost)+len(repeated)+len(p.odd) > 0 || len(p.taken) == 0 {
		t.Errorf("of %d lines that were answered %d are lost, %q…; %d that have a key came out twice, %q…; other answers: %q", len(p.taken),
			len(lost), lost[:min(5, len(lost))], len(repeated), repeated[:min(5, len(repeated))], p.odd)
	}
	for line := range count {
		t.Errorf("it was refused, and came out: %q", line)
		break
	}
}

// newHTTPRig is a rig whose agent takes requests, and who sends them.
func newHTTPRig(t *testing.T) (*rig, *posters) {
	t.Helper()
	r := newRig(t)
	address := fmt.Sprint("127.0.0.1:", addresstest.FreePort(t))
	text := strings.NewReplacer("DIR", r.dir, "ADDRESS", address).Replace(httpPipeline)
	if err := os.WriteFile(r.cfg, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return r, &posters{url: "http://" + address, client: http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
}

func TestKilledUnderRequestsWhatWasAnsweredIsThereAndOnceWithItsKey(t *testing.T) {
	r, p := newHTTPRig(t)
	for n := range 16 {
		p.work.Go(func() { p.run(n, n%2 == 0) })
	}
	defer p.work.Wait()
	defer p.stop.Store(true)
	begun := time.Now()
	at := []string{"put", "fsync", "take", "write", atRandom, atRandom, atRandom}
	times := max(6, *kills/5) // each takes a second
	for n := range times {
		aim := at[n%len(at)]
		var args []string
		if aim != atRandom {
			args = []string{"--kill-at", fmt.Sprintf("%s:%d", aim, 1+r.rng.IntN(40))}
		}
		cmd := r.start(args...)
		if aim == atRandom {
			p.await(r, int64(1+r.rng.IntN(200)))
			_ = cmd.Process.Signal(syscall.SIGKILL) // it may have ended, which Wait says
		}
		if err := cmd.Wait(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("it ended by itself: %v\n%s", err, &r.said)
		}
		r.byAim[aim]++
	}
	cmd := r.start()
	p.await(r, 200)
	p.stop.Store(true)
	p.work.Wait()
	r.until("all is delivered", func(s admin.Status) bool {
		sink := component(s, "sink.out")
		return sink.Waiting == 0 && sink.Events > 0
	})
	r.terminate(cmd, 0)
	out, err := os.ReadFile(r.path("out", "out.log"))
	if err != nil {
		t.Fatal(err)
	}
	p.check(t, out)
	t.Logf("%d lines were answered, %d had no answer", len(p.taken), len(p.given))
	reliability.Report(t, reliability.Row{Part: reliability.Kill, What: "an agent under HTTP requests", Tried: times, Checked: len(p.taken), Seed: *seed,
		Seconds: time.Since(begun).Seconds(), Note: "killed at " + strings.Trim(fmt.Sprint(r.byAim), "map[]")})
}

// flushTime is what a flush of a small write takes here and now, at the median.
func flushTime(t *testing.T, dir string) time.Duration {
	t.Helper()
	f, err := os.CreateTemp(dir, "flush")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	took := make([]time.Duration, 50)
	for i := range took {
		start := time.Now()
		_, err := f.Write(make([]byte, 512))
		if err = errors.Join(err, f.Sync()); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// A client that sends one request after the other waits for a flush each time, and for nothing else: not for the end of a poll, which takes
// 250 ms when nothing comes, nor for the pause between two.
func TestAnAnswerWaitsForTheFlushAlone(t *testing.T) {
	r, p := newHTTPRig(t)
	cmd := r.start()
	defer cmd.Process.Kill()
	for deadline := time.Now().Add(time.Minute); !p.post("begin", []string{"begin"}, true); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no answers\n%s", &r.said)
		}
	}
	took := make([]time.Duration, 300)
	for i := range took {
		start := time.Now()
		if !p.post(fmt.Sprint(i), []string{"line"}, false) {
			t.Fatalf("request %d was not answered with 200: %q", i, p.odd)
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	flush := flushTime(t, r.path("data"))
	median := took[len(took)/2]
	t.Logf("p50 %v, p99 %v; a flush takes %v", median, took[len(took)*99/100], flush)
	if most := 5*time.Millisecond + 4*flush; median > most {
		t.Errorf("half of the requests took more than %v, which is more than %v", median, most)
	}
	r.terminate(cmd, 0)
}
