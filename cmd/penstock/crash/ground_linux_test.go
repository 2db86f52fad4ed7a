// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/cmd/penstock/crash/proxy"
	"github.com/penstock-io/penstock/host/address/addresstest"
)

// ground is what a chain stands on: a place for each agent and, the last, for the database, with a link from each place to the next.
type ground interface {
	// link is where the place behind a link listens, and how the place before it gets there, as HOST:PORT.
	link(i int) (listens, reached string)
	// within calls what starts a process, so that it is at a place.
	within(place int, start func() error) error
	// faults are what can be wrong with the links.
	faults() []fault
	// report says what the links have seen, in lines.
	report() string
}

// freely is a harm to one of the links that nothing is wrong with.
func freely[L comparable](links []L, f func(c *chain, link L)) func(c *chain) bool {
	return func(c *chain) bool {
		link := links[c.rng.IntN(len(links))]
		if c.busy[link] {
			return false
		}
		f(c, link)
		return true
	}
}

// proxies are one place, this machine, with a proxy as each link.
type proxies struct {
	links []*proxy.Proxy
	to    []string
}

var _ ground = (*proxies)(nil)

func newProxies(t *testing.T) *proxies {
	t.Helper()
	p := &proxies{}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		work.Wait()
	})
	for range chainTexts {
		to := net.JoinHostPort("127.0.0.1", strconv.Itoa(addresstest.FreePort(t)))
		link, err := proxy.Listen("127.0.0.1:0", to)
		if err != nil {
			t.Fatal(err)
		}
		p.links, p.to = append(p.links, link), append(p.to, to)
		work.Go(func() { _ = link.Run(ctx) }) // it ends with ctx
	}
	return p
}

func (p *proxies) link(i int) (listens, reached string) {
	return p.to[i], net.JoinHostPort("127.0.0.1", strconv.Itoa(p.links[i].Port()))
}

func (p *proxies) within(_ int, start func() error) error { return start() }

func (p *proxies) report() string {
	var b strings.Builder
	for i, link := range p.links {
		fmt.Fprintf(&b, "%6d  connections over link %d\n", link.Taken(), i+1)
	}
	return b.String()
}

func (c *chain) anyWay() proxy.Way { return proxy.Way(c.rng.IntN(2)) }

func (p *proxies) faults() []fault {
	return []fault{
		{"link cut", 12, freely(p.links, func(c *chain, link *proxy.Proxy) {
			link.Set(proxy.Fault{Cut: true})
			c.lasts(link, c.spell(5*time.Second), func() { link.Set(proxy.Fault{}) })
		})},
		{"link torn", 14, freely(p.links, func(c *chain, link *proxy.Proxy) { link.Tear(c.anyWay(), c.rng.IntN(200_000)) })},
		{"link half-closed", 8, freely(p.links, func(c *chain, link *proxy.Proxy) { link.HalfClose(c.anyWay()) })},
		{"link stalled", 10, freely(p.links, func(c *chain, link *proxy.Proxy) {
			which := 1 + c.rng.IntN(3) // this way, that way, both
			link.Set(proxy.Fault{Still: [2]bool{which&1 != 0, which&2 != 0}})
			c.lasts(link, c.spell(16*time.Second), func() { link.Set(proxy.Fault{}) }) // longer than it takes to be noticed
		})},
		{"answers lost", 14, freely(p.links, func(c *chain, link *proxy.Proxy) { // what was said is taken, and whoever said it never hears of it
			link.Set(proxy.Fault{Still: [2]bool{proxy.Down: true}})
			c.lasts(link, c.spell(5*time.Second), func() {
				link.Set(proxy.Fault{Cut: true})
				link.Set(proxy.Fault{})
			})
		})},
		{"link slow", 8, freely(p.links, func(c *chain, link *proxy.Proxy) {
			link.Set(proxy.Fault{Delay: time.Duration(1+c.rng.IntN(50)) * time.Millisecond})
			c.lasts(link, c.spell(5*time.Second), func() { link.Set(proxy.Fault{}) })
		})},
	}
}
