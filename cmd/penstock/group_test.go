// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
)

// process is the binary that runs a pipeline in a directory of its own.
type process struct {
	testing.TB
	dir string
	cmd *exec.Cmd
}

func pipelineIn(t testing.TB, text string) *process {
	p := &process{TB: t, dir: t.TempDir()}
	file := strings.ReplaceAll("agent \"test\" {\n  data_dir = \"DIR/data\"\n}\n"+text, "DIR", p.dir)
	if err := os.WriteFile(filepath.Join(p.dir, "pipeline.hcl"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	shared, err := compiledOnce()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(p.dir, "data", "cache"), os.DirFS(shared)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *process) start() {
	p.Helper()
	p.cmd = exec.Command("penstock", "run", p.dir, "--http", "off", "--log-level", "error")
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.Fatal(err)
	}
}

func (p *process) end(s syscall.Signal) {
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

func (p *process) status() admin.Status {
	s, _ := admin.Ask(context.Background(), filepath.Join(p.dir, "data")) // it may not be there yet
	return s
}

func (p *process) until(what string, ok func() bool) {
	p.Helper()
	for end := time.Now().Add(awaitLimit); !ok(); time.Sleep(awaitLook) {
		if time.Now().After(end) {
			p.Fatalf("still not: %s; %+v", what, p.status().Groups)
		}
	}
}

// append writes n lines to what the source of the pipeline reads.
func (p *process) append(n int) {
	p.Helper()
	f, err := os.OpenFile(filepath.Join(p.dir, "in.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Repeat("a line\n", n)); err != nil {
		p.Fatal(err)
	}
}

// lines are those of a file that a sink wrote.
func (p *process) lines(name string) (all []string) {
	f, err := os.Open(filepath.Join(p.dir, name))
	if err != nil {
		return nil
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		all = append(all, in.Text())
	}
	return all
}

// server is a destination that takes so many events, and can die and return at the same address.
type server struct {
	testing.TB
	addr      string
	http      *http.Server
	left, got atomic.Int64
}

func newServer(t testing.TB, left int64) *server {
	s := &server{TB: t, addr: "127.0.0.1:0"}
	s.left.Store(left)
	s.live()
	t.Cleanup(s.die)
	return s
}

func (s *server) live() {
	s.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.Fatal(err)
	}
	s.addr, s.http = l.Addr().String(), &http.Server{Handler: s}
	go s.http.Serve(l)
}

func (s *server) die() { _ = s.http.Close() }

// ServeHTTP takes events, one a line.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	n := int64(strings.Count(strings.TrimSpace(string(body)), "\n") + 1)
	if err != nil || s.left.Add(-n) < 0 {
		s.left.Add(n)
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	s.got.Add(n)
}

// groupOver is a pipeline of a source with a group, a member for each server.
func groupOver(source, policy string, servers ...*server) string {
	var s strings.Builder
	members := make([]string, len(servers))
	for i, d := range servers {
		members[i] = fmt.Sprintf("sink.s%d", i+1)
		fmt.Fprintf(&s, "sink \"http\" \"s%d\" {\n  batch {\n    events = 1\n    wait = \"0s\"\n  }\n  config { url = \"http://%s/\" }\n}\n", i+1, d.addr)
	}
	return fmt.Sprintf("%s\nchannel \"wal\" \"main\" {}\nsink_group \"all\" {\n  from = channel.main\n  members = [%s]\n%s\n}\n", source, strings.Join(members, ", "), policy) + s.String()
}

const tailed = "source \"file\" \"in\" {\n  into = channel.main\n  config { paths = [\"DIR/in.log\"] }\n}"

// TestFailoverGoesDownTheOrderAndUsesAMemberAgainThatIsBack is A17 of the acceptance list, to the figure.
func TestFailoverGoesDownTheOrderAndUsesAMemberAgainThatIsBack(t *testing.T) {
	t.Parallel()
	s1, s2, s3 := newServer(t, 10), newServer(t, 50), newServer(t, 1000)
	p := pipelineIn(t, groupOver(tailed, "  failover {\n    cool_down = \"50ms\"\n    max_cool_down = \"100ms\"\n    fail_back = \"300ms\"\n  }", s1, s2, s3))
	got := func() [3]int64 { return [3]int64{s1.got.Load(), s2.got.Load(), s3.got.Load()} }
	expect := func(want [3]int64) {
		t.Helper()
		p.until(fmt.Sprint("the members have ", want), func() bool { return got() == want })
	}
	p.append(15)
	p.start()
	expect([3]int64{10, 5, 0})
	p.append(50)
	expect([3]int64{10, 50, 5})
	s2.left.Store(1000)
	time.Sleep(time.Second) // its pause is over, and it is trusted
	p.append(20)
	expect([3]int64{10, 70, 5})
	if n := p.status().Groups[0].Failovers; n < 2 {
		t.Errorf("%d failovers were counted", n)
	}
}

// TestALoadIsSharedEvenlyAndNoneGoesToADeadMember is A18.
func TestALoadIsSharedEvenlyAndNoneGoesToADeadMember(t *testing.T) {
	t.Parallel()
	s := []*server{newServer(t, 1<<40), newServer(t, 1<<40), newServer(t, 1<<40)}
	const source = "source \"generate\" \"in\" {\n  into = channel.main\n  config { rate = 200 }\n}"
	p := pipelineIn(t, groupOver(source, "  policy = \"load_balance\"\n  load_balance {\n    cool_down = \"20ms\"\n    max_cool_down = \"100ms\"\n    return_in = \"200ms\"\n  }", s...))
	// window answers what each gets of the next n events, in percent.
	window := func(n int64) (part [3]int64) {
		t.Helper()
		before := [3]int64{s[0].got.Load(), s[1].got.Load(), s[2].got.Load()}
		sum := int64(0)
		p.until("so many more", func() bool {
			sum = 0
			for i := range s {
				part[i] = s[i].got.Load() - before[i]
				sum += part[i]
			}
			return sum >= n
		})
		for i := range part {
			part[i] = part[i] * 100 / sum
		}
		return part
	}
	p.start()
	if part := window(200); min(part[0], part[1], part[2]) < 25 {
		t.Errorf("while all live, each gets of 100: %v", part)
	}
	s[1].die()
	window(20)
	if part := window(200); part[1] != 0 || min(part[0], part[2]) < 40 {
		t.Errorf("while one is dead, each gets of 100: %v", part)
	}
	up := func() bool {
		g := p.status().Groups
		return len(g) == 1 && g[0].Members[1].Up
	}
	if up() {
		t.Error("the dead one is said to be up")
	}
	s[1].live()
	p.until("it is up", up)
	time.Sleep(300 * time.Millisecond)
	if part := window(200); min(part[0], part[1], part[2]) < 25 {
		t.Errorf("when it is back, each gets of 100: %v", part)
	}
}

// TestThreeSinksDoNotWaitForAFourthThatIsDead is A15.
func TestThreeSinksDoNotWaitForAFourthThatIsDead(t *testing.T) {
	t.Parallel()
	const events = 2000
	dead := newServer(t, 1<<40)
	dead.die()
	var sinks strings.Builder
	for _, name := range []string{"a", "b", "c"} {
		fmt.Fprintf(&sinks, "sink \"file\" \"%s\" {\n  from = channel.main\n  config { path = \"DIR/%s.log\" }\n}\n", name, name)
	}
	p := pipelineIn(t, tailed+"\nchannel \"wal\" \"main\" {}\n"+sinks.String()+
		"sink \"http\" \"dead\" {\n  from = channel.main\n  retry {\n    min = \"10ms\"\n    max = \"50ms\"\n  }\n  config { url = \"http://"+dead.addr+"/\" }\n}\n")
	p.append(events)
	p.start()
	p.until("three have all", func() bool {
		return len(p.lines("a.log")) == events && len(p.lines("b.log")) == events && len(p.lines("c.log")) == events
	})
	waits := func() (n uint64) {
		for _, c := range p.status().Components {
			if c.Address == "sink.dead" {
				n = c.Waiting
			}
		}
		return n
	}
	if n := waits(); n != events {
		t.Errorf("%d events wait for the dead one", n)
	}
	dead.live()
	p.until("the dead one has all", func() bool { return dead.got.Load() >= events && waits() == 0 })
	if n := dead.got.Load(); n != events {
		t.Errorf("it got %d events, none of which was sent before", n)
	}
}

// exactPair is a group of which the members know what they hold.
const exactPair = `
source "generate" "in" {
  into = channel.main
  config { rate = 5000 }
}
channel "wal" "main" {}
sink_group "all" {
  from     = channel.main
  members  = [sink.a, sink.b]
  policy   = "load_balance"
  delivery = "exactly_once"
}
sink "file" "a" {
  batch {
    events = 50
    wait   = "1ms"
  }
  config { path = "DIR/a.log" }
}
sink "file" "b" {
  batch {
    events = 50
    wait   = "1ms"
  }
  config { path = "DIR/b.log" }
}
`

// TestKillsWithAnExactGroupLoseAndRepeatNothing kills the agent at random, and counts over the files of both members. GROUP_KILLS says how often.
func TestKillsWithAnExactGroupLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	kills := 8 // make soak has more
	if n, err := strconv.Atoi(os.Getenv("GROUP_KILLS")); err == nil {
		kills = n
	}
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := pipelineIn(t, exactPair)
	delivered := func() uint64 {
		n := uint64(0)
		for _, c := range p.status().Components {
			if c.Kind == "sink" {
				n += c.Events
			}
		}
		return n
	}
	for range kills {
		p.start()
		p.until("it delivers", func() bool { return delivered() > 0 })
		time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond)
		p.end(syscall.SIGKILL)
	}
	p.start()
	p.until("it delivers", func() bool { return delivered() > 0 })
	if out, err := exec.Command("penstock", "channel", "drain", "main", "--data-dir", filepath.Join(p.dir, "data")).CombinedOutput(); err != nil {
		t.Fatalf("drain: %v\n%s", err, out)
	}
	p.until("nothing waits, and nothing is in doubt", func() bool {
		g := p.status().Groups
		return len(g) == 1 && g[0].Waiting == 0 && g[0].InDoubt() == 0
	})
	p.end(syscall.SIGTERM)
	p.eachOnce()
}

// eachOnce checks that the numbered lines of both members are there once, and none is missing.
func (p *process) eachOnce() {
	p.Helper()
	seen := map[int]bool{}
	for _, name := range []string{"a.log", "b.log"} {
		for _, line := range p.lines(name) {
			n, err := strconv.Atoi(line[strings.LastIndexFunc(line, func(r rune) bool { return r < '0' || r > '9' })+1:])
			if err != nil || seen[n] {
				p.Fatalf("%s: %q came twice, or is no event", name, line)
			}
			seen[n] = true
		}
	}
	if len(p.lines("a.log")) == 0 || len(p.lines("b.log")) == 0 {
		p.Error("one of them had nothing to do")
	}
	for n := range len(seen) {
		if !seen[n] {
			p.Fatalf("number %d of %d is lost", n, len(seen))
		}
	}
	p.Logf("%d events came once", len(seen))
}
