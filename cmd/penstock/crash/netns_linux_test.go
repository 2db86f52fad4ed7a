// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// namespaces are a ground where each place is a network of its own, in the kernel, and each link a pair of interfaces between two. What is wrong with a link are
// rules for what comes in at one of its ends: the sender is told of nothing.
type namespaces struct {
	t      *testing.T
	places []string // as ip calls them
	wires  []*wire
}

var _ ground = (*namespaces)(nil)

// wire is a link. Its interfaces have its name at both ends: the place before it, and the one behind it.
type wire struct {
	of   *namespaces
	i    int // of the place before it
	name string
}

// The ends of a wire.
const (
	before = iota // where connections come from
	behind        // where they are listened for
)

const (
	netPrefix = "penstock-chain-" // then the process of the test, and a number
	netPort   = 7100              // everywhere: nobody else is there
)

// newNamespaces makes them. They are gone after the test; those of a test that was killed go when the next one begins.
func newNamespaces(t *testing.T) *namespaces {
	t.Helper()
	lacks := ""
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacks = fmt.Sprintf("%v (Debian: apt-get install iproute2 nftables)", err)
		}
	}
	if os.Geteuid() != 0 {
		lacks = "only root may make networks"
	}
	n := &namespaces{t: t}
	if lacks == "" {
		sweep()
		t.Cleanup(func() {
			for _, name := range n.places {
				if err := remove(name); err != nil {
					t.Error(err)
				}
			}
		})
		if err := n.build(); err != nil {
			lacks = err.Error()
		}
	}
	if lacks != "" && os.Getenv("CI") == "true" {
		t.Fatal(lacks)
	}
	if lacks != "" {
		t.Skip(lacks)
	}
	return n
}

func (n *namespaces) build() error {
	for i := range len(chainTexts) + 1 {
		name := fmt.Sprintf("%s%d-%d-%d", netPrefix, os.Getpid(), time.Now().UnixNano()%1e6, i)
		if err := ip("netns", "add", name); err != nil {
			return err
		}
		n.places = append(n.places, name)
		if err := ip("-n", name, "link", "set", "lo", "up"); err != nil {
			return err
		}
	}
	for i := range chainTexts {
		w := &wire{n, i, fmt.Sprint("link", i)}
		n.wires = append(n.wires, w)
		if err := ip("link", "add", w.name, "netns", w.place(before), "type", "veth", "peer", "name", w.name, "netns", w.place(behind)); err != nil {
			return err
		}
		for _, end := range []int{before, behind} {
			if err := errors.Join(ip(w.owns(end, "add")...), w.ip(end, "link", "set", w.name, "up"), w.nft(end, `
				table inet harm {
					counter `+w.name+` { }
					chain `+w.name+` { }
					chain `+w.name+`-in { type filter hook input priority 0; iifname "`+w.name+`" jump `+w.name+`; }
				}`)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *namespaces) link(i int) (listens, reached string) {
	at := net.JoinHostPort(n.wires[i].address(behind), strconv.Itoa(netPort))
	return at, at
}

// within starts a process from a thread that is at the place meanwhile.
func (n *namespaces) within(place int, start func() error) error {
	return enter(n.places[place], start)
}

func enter(name string, f func() error) error {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := os.Open(filepath.Join("/run/netns", name))
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter %s: %w", name, err)
	}
	err = f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// sweep removes what a test has left that was killed, with what runs there.
func sweep() {
	names, _ := filepath.Glob("/run/netns/" + netPrefix + "*")
	for _, name := range names {
		name = filepath.Base(name)
		of, _, _ := strings.Cut(strings.TrimPrefix(name, netPrefix), "-")
		if pid, err := strconv.Atoi(of); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = remove(name) // or another test did just now
		}
	}
}

// remove ends what runs in a namespace, and deletes it.
func remove(name string) error {
	pids, err := exec.Command("ip", "netns", "pids", name).Output()
	for _, one := range strings.Fields(string(pids)) {
		if pid, err := strconv.Atoi(one); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
	return errors.Join(err, ip("netns", "del", name))
}

// ip runs the program.
func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (w *wire) place(end int) string { return w.of.places[w.i+end] }

// address is that of an end.
func (w *wire) address(end int) string { return fmt.Sprintf("10.77.%d.%d", w.i, 1+end) }

// owns is what adds or deletes the address of an end.
func (w *wire) owns(end int, verb string) []string {
	return []string{"-n", w.place(end), "address", verb, w.address(end) + "/24", "dev", w.name}
}

// ip runs the program at an end.
func (w *wire) ip(end int, args ...string) error {
	return ip(append([]string{"-n", w.place(end)}, args...)...)
}

// nft gives commands to the packet filter of an end.
func (w *wire) nft(end int, text string) error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(text)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := enter(w.place(end), cmd.Run); err != nil {
		return fmt.Errorf("%w: %s: %s", err, text, &said)
	}
	return nil
}

// meets has what comes in at an end meet a rule instead of the one there was; empty: it comes in.
func (w *wire) meets(end int, rule string) {
	w.of.t.Helper()
	text := fmt.Sprintf("flush chain inet harm %s\n", w.name)
	if rule != "" {
		text += fmt.Sprintf("add rule inet harm %s %s\n", w.name, rule)
	}
	if err := w.nft(end, text); err != nil {
		w.of.t.Fatal(err)
	}
}

// loses has a share of what comes in at an end be lost, in percent.
func (w *wire) loses(end, share int) {
	w.of.t.Helper()
	some := ""
	if share < 100 {
		some = fmt.Sprintf("numgen random mod 100 < %d ", share)
	}
	w.meets(end, some+fmt.Sprintf("counter name %s drop", w.name))
}

// whole takes all rules away.
func (w *wire) whole() {
	w.of.t.Helper()
	w.meets(before, "")
	w.meets(behind, "")
}

// must runs the program for a harm.
func (w *wire) must(args ...string) {
	w.of.t.Helper()
	if err := ip(args...); err != nil {
		w.of.t.Fatal(err)
	}
}

func (n *namespaces) faults() []fault {
	return []fault{
		{"packets lost", 14, freely(n.wires, func(c *chain, w *wire) {
			w.loses(before, 100)
			w.loses(behind, 100)
			c.lasts(w, c.spell(20*time.Second), w.whole) // longer than it takes to be noticed
		})},
		{"packets lost one way", 14, freely(n.wires, func(c *chain, w *wire) {
			w.loses(c.rng.IntN(2), 100)
			c.lasts(w, c.spell(20*time.Second), w.whole)
		})},
		{"some packets lost", 12, freely(n.wires, func(c *chain, w *wire) {
			w.loses(before, c.rng.IntN(40))
			w.loses(behind, 1+c.rng.IntN(40))
			c.lasts(w, time.Second+c.spell(5*time.Second), w.whole)
		})},
		{"packets rejected", 8, freely(n.wires, func(c *chain, w *wire) {
			with := []string{"tcp reset", "icmpx type admin-prohibited", "icmpx type port-unreachable"}
			w.meets(c.rng.IntN(2), fmt.Sprintf("meta l4proto tcp counter name %s reject with %s", w.name, with[c.rng.IntN(len(with))]))
			c.lasts(w, c.spell(5*time.Second), w.whole)
		})},
		{"link down", 8, freely(n.wires, func(c *chain, w *wire) {
			at := w.place(c.rng.IntN(2))
			w.must("-n", at, "link", "set", w.name, "down")
			c.lasts(w, c.spell(5*time.Second), func() { w.must("-n", at, "link", "set", w.name, "up") })
		})},
		{"address gone", 6, freely(n.wires, func(c *chain, w *wire) { // of who connects: nobody begins to listen at an address that is not there
			w.must(w.owns(before, "del")...)
			c.lasts(w, c.spell(5*time.Second), func() { w.must(w.owns(before, "add")...) })
		})},
		{"killed unheard", 14, freely(n.wires, func(c *chain, w *wire) { // whoever is at the other end goes on with a connection that is no more
			w.loses(before, 100)
			w.loses(behind, 100)
			c.lasts(w, c.spell(16*time.Second), w.whole)
			c.killAt(w.i + c.rng.IntN(2))
		})},
	}
}

// killAt kills who is at a place, if nothing is wrong with it.
func (c *chain) killAt(place int) {
	if place == len(c.members) {
		c.killServer()
		return
	}
	if m := c.members[place]; m.cmd != nil && !c.busy[m] {
		m.kill()
	}
}

// packets are how many the rules at an end of a wire took.
var packets = regexp.MustCompile(`packets (\d+)`)

func (n *namespaces) report() string {
	var b strings.Builder
	for _, w := range n.wires {
		for _, end := range []int{before, behind} {
			cmd := exec.Command("nft", "list", "counter", "inet", "harm", w.name)
			var said strings.Builder
			cmd.Stdout = &said
			m := packets.FindStringSubmatch("")
			if err := enter(w.place(end), cmd.Run); err == nil {
				m = packets.FindStringSubmatch(said.String())
			}
			if len(m) < 2 {
				n.t.Errorf("no count of packets: %s", &said)
				continue
			}
			fmt.Fprintf(&b, "%6s  packets of link %d did not come in at %s\n", m[1], w.i+1, []string{"its beginning", "its end"}[end])
		}
	}
	return b.String()
}
