// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// Dropped is what records say that was given up for one reason, of one reader. Its range spans those of the records; among its
// events are those that were leased when the record was written, which may have been committed since.
type Dropped struct {
	channel.Drop
	Records uint64
}

// drops adds up records. A policy may write one for each transaction: so they are not kept one by one.
type drops map[dropKey]*Dropped

type dropKey struct {
	loss   channel.Loss
	reader string
}

// add takes in what a record says whose own offset is first.
func (d drops) add(first event.Offset, list []drop) {
	for i := range list {
		one := channel.Drop{Loss: list[i].loss, Reader: list[i].reader, Range: list[i].span, Events: list[i].events}
		if one.Loss == channel.LostNewest {
			one.Range = event.Range{First: first + one.Range.First, Next: first + one.Range.Next}
		}
		key := dropKey{one.Loss, one.Reader}
		sum := d[key]
		if sum == nil {
			d[key] = &Dropped{one, 1}
			continue
		}
		sum.Range = event.Range{First: min(sum.Range.First, one.Range.First), Next: max(sum.Range.Next, one.Range.Next)}
		sum.Events += one.Events
		sum.Records++
	}
}

// list returns the sums by reason and reader.
func (d drops) list() []Dropped {
	var all []Dropped
	for _, sum := range d {
		all = append(all, *sum)
	}
	slices.SortFunc(all, func(a, b Dropped) int { return cmp.Or(cmp.Compare(a.Loss, b.Loss), cmp.Compare(a.Reader, b.Reader)) })
	return all
}
