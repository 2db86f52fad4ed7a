// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/spec/event"
	"github.com/penstock-io/penstock/spec/hoppb"
)

// Position is where a receiver stands in a stream: it has everything that was sent below Offset. The zero Position is before all.
type Position struct {
	Incarnation uint64
	Offset      event.Offset
}

// String implements [fmt.Stringer].
func (p Position) String() string {
	switch p.Incarnation {
	case 0:
		return "nowhere yet"
	case always[0].ID:
		return fmt.Sprint(p.Offset)
	}
	return fmt.Sprintf("%d of incarnation %016x", p.Offset, p.Incarnation)
}

func (p Position) wire() *hoppb.Position {
	if p == (Position{}) {
		return nil
	}
	return &hoppb.Position{Incarnation: p.Incarnation, Offset: uint64(p.Offset)}
}

func fromWire(p *hoppb.Position) Position {
	return Position{p.GetIncarnation(), event.Offset(p.GetOffset())}
}

// numbering is the incarnations of a stream.
type numbering []Incarnation

// place is the index of an incarnation, -1 of that of the zero Position, and whether it is known.
func (n numbering) place(id uint64) (int, bool) {
	if id == 0 {
		return -1, true
	}
	i := slices.IndexFunc(n, func(one Incarnation) bool { return one.ID == id })
	return i, i >= 0
}

// compare orders positions of known incarnations.
func (n numbering) compare(a, b Position) int {
	i, _ := n.place(a.Incarnation)
	j, _ := n.place(b.Incarnation)
	return cmp.Or(cmp.Compare(i, j), cmp.Compare(a.Offset, b.Offset))
}

// of finds the incarnation that [first, next) lies in.
func (n numbering) of(first, next event.Offset) (uint64, error) {
	for _, one := range slices.Backward(n) {
		if one.First <= first {
			if next > one.Next && one != n[len(n)-1] {
				break
			}
			return one.ID, nil
		}
	}
	return 0, fmt.Errorf("[%d, %d) lies in none of the incarnations of the stream", first, next)
}
