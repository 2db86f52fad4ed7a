// SPDX-License-Identifier: Apache-2.0

package promise

import (
	"fmt"
	"slices"
	"testing"
)

// promised collects what became of promises, in order.
type promised []string

func (p *promised) note(seq uint64) func(bool) {
	return func(durable bool) { *p = append(*p, fmt.Sprint(seq, " ", durable)) }
}

func TestWhatIsPromisedAfterABatchWaitsForItsCommit(t *testing.T) {
	var p promised
	var c Set
	for _, seq := range []uint64{2, 1, 3, 1, 7} {
		c.When(seq, p.note(seq))
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(p, want) {
			t.Errorf("%s: %q, want %q", what, p, want)
		}
		p = nil
	}
	expect("before any commit")
	c.Ack(2, true)
	expect("2 is durable", "1 true", "1 true", "2 true")
	c.When(2, p.note(2))
	expect("it was already", "2 true")
	c.Ack(3, false)
	expect("3 and all later are refused", "3 false", "7 false")
	c.When(4, p.note(4))
	c.When(1, p.note(1))
	expect("and stay so", "4 false", "1 true")
	if c.count != 0 || len(c.promises) != 0 {
		t.Errorf("%d promises are left", c.count)
	}
}

func TestPromisesEndWithTheInstance(t *testing.T) {
	var p promised
	var c Set
	c.Ack(4, true)
	c.When(5, p.note(5))
	c.Close()
	c.When(6, p.note(6))
	if want := []string{"5 false", "6 false"}; !slices.Equal(p, want) {
		t.Errorf("%q, want %q", p, want)
	}
}

func TestABatchIsSettledWhenItAndAllBeforeAreDurable(t *testing.T) {
	var c Set
	if !c.Settled(0) || c.Settled(1) {
		t.Error("before any commit")
	}
	c.Ack(2, true)
	if !c.Settled(2) || c.Settled(3) {
		t.Error("2 is durable")
	}
	c.Ack(3, false)
	if c.Settled(2) || c.Settled(3) {
		t.Error("3 was refused")
	}
}

func TestPromisesAreBounded(t *testing.T) {
	var c Set
	for range Max {
		if !c.When(1, func(bool) {}) {
			t.Fatal("refused before the bound")
		}
	}
	if c.When(1, func(bool) {}) {
		t.Error("taken beyond the bound")
	}
	c.Ack(1, true)
	if !c.When(2, func(bool) {}) {
		t.Error("no room after the commit")
	}
}
