// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
)

// rounds are few here, as many as there are mistakes, and many in make soak: the seed of the choices is another one each time.
var rounds = flag.Int("rounds", 8, "reloads of each kind, and versions of a plugin, under load")

// flow is a pipeline under load, in what a reload may change of it. Every line ends in its number, and the sinks are transactional.
type flow struct {
	rate, batchA, waitB, capacity, through int
	plugin, extra                          bool
	refines                                bool   // the plugin is a processor of sink a
	broken                                 string // what is wrong with it
}

// flowRate is how many events a second flow.
const flowRate = 120_000

func (f flow) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "source \"generate\" \"in\" {\n  into = channel.main\n")
	var through []string
	for i := range f.through {
		through = append(through, fmt.Sprintf("processor.set%d", i))
	}
	if f.plugin {
		through = append(through, "processor.pass")
	}
	fmt.Fprintf(&b, "  through = [%s]\n  config {\n    rate = %d\n    size = \"40B\"\n  }\n}\n", strings.Join(through, ", "), f.rate)
	for i := range f.through {
		fmt.Fprintf(&b, "processor \"filter\" \"set%d\" {\n  config { matches = \"[0-9]\" }\n}\n", i)
	}
	if f.plugin || f.refines {
		b.WriteString("plugin \"pass\" {\n  source = \"./faulty.wasm\"\n  limits { cpu = \"100ms\" }\n}\nprocessor \"pass\" \"pass\" {}\n")
	}
	fmt.Fprintf(&b, "channel \"wal\" \"main\" {\n  capacity = \"%dMiB\"\n  durability = \"os\"\n}\n", f.capacity)
	refined := ""
	if f.refines {
		refined = "  through = [processor.pass]\n"
	}
	fmt.Fprintf(&b, "sink \"file\" \"a\" {\n  from = channel.main\n%s  batch { events = %d }\n  config { path = \"DIR/a.log\" }\n}\n", refined, f.batchA)
	fmt.Fprintf(&b, "sink \"file\" \"b\" {\n  from = channel.main\n  batch { wait = \"%dms\" }\n  config { path = \"DIR/b.log\" }\n}\n", f.waitB)
	if f.extra {
		b.WriteString("sink \"discard\" \"extra\" {\n  from = channel.main\n}\n")
	}
	return b.String() + f.broken
}

// changes is how many kinds there are.
const changes = 6

// change makes another flow of it, by one of the kinds, and says what of it starts again.
func (f flow) change(kind int, r *rand.Rand) (flow, []string) {
	switch kind {
	case 0:
		f.batchA = 1000 + r.IntN(8000)
		return f, []string{"sink.a"}
	case 1:
		f.waitB++
		return f, []string{"sink.b"}
	case 2:
		f.capacity++
		return f, nil
	case 3:
		f.through = (f.through + 1) % 3
		return f, []string{"source.in"}
	case 4:
		f.extra = !f.extra
		return f, nil
	}
	f.rate++
	f.batchA++
	return f, []string{"source.in", "sink.a"}
}

// mistakes are what a pipeline file may have wrong, and what breaks only when it runs.
var mistakes = []string{
	"sink \"file\" \"c\" {\n",
	"sink \"fiel\" \"c\" {\n  from = channel.main\n}\n",
	"sink \"file\" \"c\" {\n  from = channel.man\n  config { path = \"DIR/c.log\" }\n}\n",
	"sink \"file\" \"c\" {\n  from = channel.main\n}\n",
	"channel \"wal\" \"c\" {}\n",
	"plugin \"none\" {\n  source = \"./none.wasm\"\n}\nsink \"none\" \"c\" {\n  from = channel.main\n}\n",
	"source \"tcp\" \"c\" {\n  into = channel.main\n  config { listen = \"tcp://192.0.2.1:7\" }\n}\n",
	// Into a channel of its own: one that is full has it wait, and never break.
	"plugin \"faulty\" {\n  source = \"./faulty.wasm\"\n}\nsource \"faulty\" \"traps\" {\n  into = channel.traps\n  config {\n    count = 9\n    every = 0\n  }\n}\n" +
		"channel \"memory\" \"traps\" {}\nsink \"discard\" \"traps\" {\n  from = channel.traps\n}\n",
}

func TestReloadsUnderLoadLoseAndRepeatNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := flow{rate: flowRate, batchA: 4096, waitB: 1, capacity: 256}
	r := run(t, t.TempDir(), probation("20ms", f))
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 })
	begun := time.Now()
	var kinds []int
	for i := range *rounds {
		if len(kinds) == 0 {
			kinds = random.Perm(changes) // so that few rounds have each
		}
		next, changed := f.change(kinds[0], random)
		kinds = kinds[1:]
		before := r.started()
		if err := r.reload(t, probation("20ms", next)); err != nil {
			t.Fatalf("round %d, of\n%v\nto\n%v\n%v", i, f, next, err)
		}
		r.onlyChanged(t, before, changed...)
		f = next
	}
	for i := range *rounds {
		before := r.started()
		wrong := f
		wrong.broken = mistakes[i%len(mistakes)]
		returns := i%len(mistakes) == len(mistakes)-1
		if returns {
			wrong.batchA++ // that goes and comes back
		}
		if err := r.reload(t, patient+wrong.String()); err == nil {
			t.Fatalf("round %d: it was taken:\n%v", i, wrong)
		}
		if returns {
			r.onlyChanged(t, before, "sink.a", "agent")
		} else {
			r.onlyChanged(t, before)
		}
	}
	r.conserves(t, begun)
}

// probation is a pipeline with another time of probation than the usual of these tests.
func probation(d string, f flow) string {
	return strings.Replace(agentBlock, "150ms", d, 1) + f.String()
}

// conserves stops the agent and checks that each event is in both files, once and in order, and says how many there were in a second.
func (r rig) conserves(t *testing.T, begun time.Time) {
	t.Helper()
	r.act(t, admin.Action{Verb: admin.Drain})
	took := time.Since(begun)
	eventually(t, "drained", func() bool { return r.component("sink.a").Waiting+r.component("sink.b").Waiting == 0 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	n := r.numbered(t, "a")
	if other := r.numbered(t, "b"); other != n || n == 0 {
		t.Errorf("a has %d events, b %d", n, other)
	}
	t.Logf("%d events in %v: %.0f a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
}

// numbered counts the lines of an output, which must be numbered one after the other.
func (r rig) numbered(t *testing.T, name string) (n int) {
	t.Helper()
	f, err := os.Open(filepath.Join(r.dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first := 0
	for in := bufio.NewScanner(f); in.Scan(); n++ {
		line := in.Bytes()
		at, err := strconv.Atoi(string(line[bytes.LastIndexFunc(line, func(r rune) bool { return r < '0' || r > '9' })+1:]))
		if n == 0 {
			first = at
		}
		if err != nil || at != first+n {
			t.Fatalf("%s: line %d is %q, wanted number %d", name, n, line, first+n)
		}
	}
	return n
}

// builds are the module in its modes, each built once.
var builds sync.Map

func version(t testing.TB, mode string) []byte {
	t.Helper()
	made, _ := builds.LoadOrStore(mode, sync.OnceValues(func() ([]byte, error) { return build(mode) }))
	code, err := made.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// replace puts another version of the module in the place of the one before, as a build does.
func (r rig) replace(t testing.TB, mode string) {
	t.Helper()
	file := filepath.Join(r.dir, "faulty.wasm")
	if err := os.WriteFile(file+"~", version(t, mode), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
}

// versions are the modes of the module that are put in each other's place, and whether each is a good one.
var versions = []struct {
	mode string
	good bool
}{{"one", true}, {"traps", false}, {"breaks", false}, {"two", true}, {"loops", false}, {"refuses", false}, {"asks", false}}

func TestAPluginIsReplacedUnderLoadAndBadVersionsGiveWay(t *testing.T) {
	rounds := 28
	if testing.Short() {
		rounds = len(versions)
	}
	for _, v := range versions {
		version(t, v.mode)
	}
	f := flow{rate: flowRate + flowRate/3, batchA: 4096, waitB: 1, capacity: 256, plugin: true}
	r := run(t, t.TempDir(), agentBlock+f.String())
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 })
	begun, runs := time.Now(), ""
	for i := range rounds {
		v := versions[i%len(versions)]
		before := r.started()
		if r.replace(t, v.mode); v.good {
			write(t, r.dir, agentBlock+f.String())
		} else {
			write(t, r.dir, patient+f.String())
		}
		_, err := r.Reload(t.Context(), admin.Reload{})
		switch digest := r.current().plugins["processor.pass"].Digest(); {
		case v.good:
			if err != nil || digest == runs {
				t.Fatalf("round %d: version %s: %v; before %s, now %s", i, v.mode, err, runs, digest)
			}
			runs = digest
			r.onlyChanged(t, before, "source.in")
		case err == nil || digest != runs && runs != "":
			t.Fatalf("round %d: version %s is taken: %v", i, v.mode, err)
		}
	}
	r.conserves(t, begun)
	if log := r.log.String(); !strings.Contains(log, "wants another configuration") || !strings.Contains(log, "breaking, as I was built to") {
		t.Error("the log does not say why")
	}
}

// TestAProcessorOfASinkIsReplacedUnderLoadAndBadVersionsGiveWay, by name: what its sink had on the way is delivered by the new version or by the one before, once and
// in order, and no other component is touched.
func TestAProcessorOfASinkIsReplacedUnderLoadAndBadVersionsGiveWay(t *testing.T) {
	f := flow{rate: flowRate / 2, batchA: 4096, waitB: 1, capacity: 256, refines: true}
	r := run(t, t.TempDir(), agentBlock+f.String())
	eventually(t, "it flows", func() bool { return r.component("sink.a").Events > 0 })
	begun, runs, mode := time.Now(), r.current().plugins["processor.pass"].Digest(), ""
	for i, v := range versions {
		probation := agentBlock
		if r.replace(t, mode); !v.good {
			probation = patient
		}
		if err := r.reload(t, probation+f.String()); err != nil { // how long they are on probation is all that changes
			t.Fatalf("round %d, before version %s: %v", i, v.mode, err)
		}
		before, at := r.started(), r.component("sink.a").Events
		r.replace(t, v.mode)
		_, err := r.Reload(t.Context(), admin.Reload{Plugin: "pass"})
		switch digest := r.current().plugins["processor.pass"].Digest(); {
		case v.good && (err != nil || digest == runs):
			t.Fatalf("round %d: version %s: %v; before %s, now %s", i, v.mode, err, runs, digest)
		case v.good:
			runs, mode = digest, v.mode
			r.onlyChanged(t, before, "sink.a")
		case err == nil || digest != runs:
			t.Fatalf("round %d: version %s is taken: %v", i, v.mode, err)
		}
		eventually(t, "it flows on", func() bool { return r.component("sink.a").Events > at })
	}
	r.conserves(t, begun)
	if a := r.component("sink.a"); a.Consumed+a.Dead > 0 {
		t.Errorf("%d events were consumed, %d given up", a.Consumed, a.Dead)
	}
}
