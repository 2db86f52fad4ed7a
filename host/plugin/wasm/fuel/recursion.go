// SPDX-License-Identifier: Apache-2.0

package fuel

import "slices"

// findRecursion marks functions so that each cycle of calls has one that is marked, and settles what each costs. An indirect call may reach every
// function of its type whose address is taken. That depth is counted in few functions counts: in a Go guest nearly all are on some cycle.
func (m *module) findRecursion() {
	byType := map[string][]int{}
	for f := range m.taken {
		if m.bodyOf(f) != nil {
			key := m.typeOf(f).key
			byType[key] = append(byType[key], int(f-m.imported))
		}
	}
	for _, functions := range byType {
		slices.Sort(functions) // what comes out must not depend on the order of a map
	}
	// Nodes are the functions, and behind them the types through which they are called.
	next := make([][]int, len(m.bodies))
	node := map[string]int{}
	for f := range m.bodies {
		for _, c := range m.bodies[f].calls {
			if m.bodyOf(c.callee) != nil {
				next[f] = append(next[f], int(c.callee-m.imported))
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
	walkDepthFirst(next, m.closes, m.leaves)
}

// closes is told of an edge that closes a cycle. A type's node is reached from functions alone.
func (m *module) closes(from, to int) {
	if to >= len(m.bodies) {
		to = from
	}
	m.bodies[to].recursive = true
}

// leaves is told of a node when all that it leads to was seen.
func (m *module) leaves(n int) {
	if n < len(m.bodies) {
		m.bodies[n].settle()
	}
}

// walkDepthFirst walks a graph, with a stack of its own, since the graph is a stranger's. It tells of the edges that lead back onto the path on
// which they were reached, of which each cycle has one, and of nodes when the walk leaves them.
func walkDepthFirst(next [][]int, closes func(from, to int), leaves func(n int)) {
	const (
		unseen = iota
		onPath
		left
	)
	state := make([]uint8, len(next))
	var path []step
	for root := range next {
		if state[root] == unseen {
			state[root] = onPath
			path = append(path, step{node: root})
		}
		for len(path) > 0 {
			s := &path[len(path)-1]
			if s.edge == len(next[s.node]) {
				state[s.node] = left
				leaves(s.node)
				path = path[:len(path)-1]
				continue
			}
			to := next[s.node][s.edge]
			s.edge++
			switch state[to] {
			case unseen:
				state[to] = onPath
				path = append(path, step{node: to})
			case onPath:
				closes(s.node, to)
			}
		}
	}
}

// step is a node on the path, and which of its edges comes next.
type step struct{ node, edge int }
