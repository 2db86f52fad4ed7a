// SPDX-License-Identifier: Apache-2.0

package fuel

// findRecursion marks the functions that may be inside themselves: those on a cycle of calls. An indirect call may reach every function
// of its type whose address is taken.
func (m *module) findRecursion() {
	byType := map[string][]int{}
	for f := range m.taken {
		if f >= m.imported && f < uint32(len(m.funcs)) {
			key := m.typeOf(f).key
			byType[key] = append(byType[key], int(f-m.imported))
		}
	}
	// Nodes are the functions, and behind them the types through which they are called.
	next := make([][]int, len(m.bodies))
	node := map[string]int{}
	for f := range m.bodies {
		for _, callee := range m.bodies[f].calls {
			if callee >= m.imported && callee < uint32(len(m.funcs)) {
				next[f] = append(next[f], int(callee-m.imported))
			}
		}
		for _, typ := range m.bodies[f].indirect {
			if int(typ) >= len(m.types) {
				continue
			}
			key := m.types[typ].key
			n, ok := node[key]
			if !ok {
				n = len(next)
				node[key] = n
				next = append(next, byType[key])
			}
			next[f] = append(next[f], n)
		}
	}
	for n, on := range onCycle(next) {
		if on && n < len(m.bodies) {
			m.bodies[n].recursive = true
		}
	}
}

// onCycle says of each node of a graph whether it can be reached from itself: Tarjan's algorithm, with a stack of its own, since
// the graph is a stranger's.
func onCycle(next [][]int) []bool {
	var (
		cycle = make([]bool, len(next))
		order = make([]int, len(next)) // 0: not seen yet
		low   = make([]int, len(next))
		on    = make([]bool, len(next)) // the stack of nodes whose component is not complete
		stack []int
		path  []step
		seen  int
	)
	for root := range next {
		if order[root] > 0 {
			continue
		}
		path = append(path[:0], step{node: root})
		for len(path) > 0 {
			s := &path[len(path)-1]
			n := s.node
			if s.edge == 0 && order[n] == 0 {
				seen++
				order[n], low[n], on[n] = seen, seen, true
				stack = append(stack, n)
			}
			if s.edge < len(next[n]) {
				to := next[n][s.edge]
				s.edge++
				switch {
				case to == n:
					cycle[n] = true
				case order[to] == 0:
					path = append(path, step{node: to})
				case on[to]:
					low[n] = min(low[n], order[to])
				}
				continue
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1].node
				low[up] = min(low[up], low[n])
			}
			if low[n] == order[n] {
				stack = complete(stack, n, on, cycle)
			}
		}
	}
	return cycle
}

// step is a node on the path, and which of its edges comes next.
type step struct{ node, edge int }

// complete takes a component off the stack: more than one node are a cycle.
func complete(stack []int, root int, on, cycle []bool) []int {
	for several := stack[len(stack)-1] != root; ; {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		on[n] = false
		cycle[n] = cycle[n] || several
		if n == root {
			return stack
		}
	}
}
