// SPDX-License-Identifier: Apache-2.0

package fuel

import (
	"math/rand/v2"
	"testing"
)

// Without the functions that are marked, no function can be inside itself; and each is left after all that it calls.
func TestEachCycleOfCallsHasAFunctionThatCountsDepth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := 1 + r.IntN(12)
		next := make([][]int, n)
		for range r.IntN(3 * n) {
			from := r.IntN(n)
			next[from] = append(next[from], r.IntN(n))
		}
		marked, left, order := make([]bool, n), make([]int, n), 0
		walkDepthFirst(next, func(_, to int) { marked[to] = true }, func(n int) { order++; left[n] = order })
		if order != n {
			t.Fatalf("%v: %d nodes were left", next, order)
		}
		for from, tos := range next {
			for _, to := range tos {
				if !marked[to] && left[to] >= left[from] { // else an order in which each stands after what it calls: no cycle
					t.Fatalf("%v: from %d to %d is not marked, and was not left before", next, from, to)
				}
			}
		}
	}
}
