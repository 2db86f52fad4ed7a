// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/admin"
)

// pauses are the longest times in which components did not go on.
type pauses struct {
	stop chan struct{} // closed to end it
	done sync.WaitGroup
	mu   sync.Mutex
	most map[string]time.Duration
}

// watchPauses looks at the counters of components every millisecond or so.
func watchPauses(r rig, addresses ...string) *pauses {
	p := &pauses{stop: make(chan struct{}), most: map[string]time.Duration{}}
	for _, address := range addresses {
		p.done.Go(func() {
			last, since := uint64(0), time.Now()
			for {
				select {
				case <-p.stop:
					return
				case <-time.After(500 * time.Microsecond):
				}
				c := r.Agent.component(address)
				if c == nil {
					continue
				}
				now := c.moved()
				if now == last {
					continue
				}
				p.mu.Lock()
				p.most[address] = max(p.most[address], time.Since(since))
				p.mu.Unlock()
				last, since = now, time.Now()
			}
		})
	}
	return p
}

// moved counts what the component has done.
func (c *component) moved() uint64 {
	if c.source != nil {
		return c.source.Counts().Acked
	}
	return c.sink.Counts().Committed
}

// take returns the longest pauses since the last call.
func (p *pauses) take() map[string]time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	most := p.most
	p.most = map[string]time.Duration{}
	return most
}

// report gives the median and the longest of several times.
func report(b *testing.B, name string, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1e3, name+"-ms-median")
	b.ReportMetric(float64(times[len(times)-1].Microseconds())/1e3, name+"-ms-most")
}

// measure does something again and again, and reports how long components paused while it was done, and while nothing was.
func measure(b *testing.B, f flow, do func(r rig, i int), addresses ...string) {
	pipeline := probation("100ms", f)
	r := run(b, b.TempDir(), pipeline)
	for r.component("sink.a").Events == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Second)
	p := watchPauses(r, addresses...)
	quiet, busy := map[string][]time.Duration{}, map[string][]time.Duration{}
	for i := 0; b.Loop(); i++ {
		time.Sleep(300 * time.Millisecond)
		for address, most := range p.take() {
			quiet[address] = append(quiet[address], most)
		}
		do(r, i)
		for address, most := range p.take() {
			busy[address] = append(busy[address], most)
		}
	}
	close(p.stop)
	p.done.Wait()
	for _, address := range addresses {
		report(b, address, busy[address])
		report(b, address+"-else", quiet[address])
	}
}

func BenchmarkPauseForAChangedSink(b *testing.B) {
	f := flow{rate: flowRate, batchA: 256, waitB: 1, capacity: 256}
	var still []time.Duration // from the stop of the old one until the new one runs, whatever else takes the processor
	measure(b, f, func(r rig, i int) {
		f.batchA++
		var stopped time.Time
		r.trace = func(step string) {
			if step == "stop sink.a" {
				stopped = time.Now()
			}
		}
		if err := r.reload(b, probation("100ms", f)); err != nil {
			b.Fatal(err)
		}
		_, _, running := r.Agent.component("sink.a").fate()
		still = append(still, running.Sub(stopped))
	}, "sink.a", "sink.b", "source.in")
	report(b, "still", still)
}

func BenchmarkPauseForAReplacedPlugin(b *testing.B) {
	for _, mode := range []string{"one", "two"} {
		version(b, mode)
	}
	measure(b, flow{rate: flowRate, batchA: 256, waitB: 1, capacity: 256, plugin: true}, func(r rig, i int) {
		r.replace(b, []string{"one", "two"}[i%2])
		if _, err := r.Reload(b.Context(), admin.Reload{Plugin: "pass"}); err != nil {
			b.Fatal(err)
		}
	}, "source.in", "sink.a")
}
