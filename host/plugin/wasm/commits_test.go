// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"fmt"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/spec/abi"
)

// promised collects what became of promises, in order.
type promised []string

func (p *promised) note(seq uint64) func(bool) {
	return func(durable bool) { *p = append(*p, fmt.Sprint(seq, " ", durable)) }
}

func TestWhatIsPromisedAfterABatchWaitsForItsCommit(t *testing.T) {
	var p promised
	var c commits
	for _, seq := range []uint64{2, 1, 3, 1, 7} {
		c.when(seq, p.note(seq))
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(p, want) {
			t.Errorf("%s: %q, want %q", what, p, want)
		}
		p = nil
	}
	expect("before any commit")
	c.ack(2, true)
	expect("2 is durable", "1 true", "1 true", "2 true")
	c.when(2, p.note(2))
	expect("it was already", "2 true")
	c.ack(3, false)
	expect("3 and all later are refused", "3 false", "7 false")
	c.when(4, p.note(4))
	c.when(1, p.note(1))
	expect("and stay so", "4 false", "1 true")
	if c.count != 0 || len(c.promises) != 0 {
		t.Errorf("%d promises are left", c.count)
	}
}

func TestPromisesEndWithTheInstance(t *testing.T) {
	var p promised
	var c commits
	c.ack(4, true)
	c.when(5, p.note(5))
	c.close()
	c.when(6, p.note(6))
	if want := []string{"5 false", "6 false"}; !slices.Equal(p, want) {
		t.Errorf("%q, want %q", p, want)
	}
}

func TestPromisesAreBounded(t *testing.T) {
	var c commits
	for range maxPromises {
		if !c.when(1, func(bool) {}) {
			t.Fatal("refused before the bound")
		}
	}
	if c.when(1, func(bool) {}) {
		t.Error("taken beyond the bound")
	}
	c.ack(1, true)
	if !c.when(2, func(bool) {}) {
		t.Error("no room after the commit")
	}
}

func TestOnlyASourceWaitsForItsOwnBatches(t *testing.T) {
	in := &instance{kind: abi.Source, seq: 3}
	for after, want := range map[int64]abi.Code{0: abi.EINVAL, -1: abi.EINVAL, 1: abi.OK, 3: abi.OK, 4: abi.EINVAL} {
		if got := in.promise(after, func(bool) {}); got != want {
			t.Errorf("after %d: %s, want %s", after, got, want)
		}
	}
	in.kind = abi.Sink
	if got := in.promise(1, func(bool) {}); got != abi.EINVAL {
		t.Errorf("in a sink: %s", got)
	}
}
