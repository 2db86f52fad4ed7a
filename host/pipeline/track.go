// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// On the way to a sink an event has an offset, by which its destination, its dead letter and whoever replays that know it. What is made of it keeps that; so at
// most one event is made of one.

// severalOfOne is why an event is rejected of which a processor makes more.
const severalOfOne = "it makes several events of one, and on the way to a sink an event has one offset, by which it is known: name the processor in the " +
	"source, through which events go before they have one, and say multiplies = true in its plugin.hcl"

// multiplied are those events of b, in order, of which the processor made more than one: it claims not to.
func (u *use) multiplied(b, out event.Batch) (list []plugin.Rejection) {
	if !u.tracked || out.Len() == out.Offsets() {
		return nil
	}
	var last event.Offset
	for i, o := range numbers(out) {
		if i > 0 && o == last {
			list = append(list, plugin.Rejection{Index: int(o - b.Base()), Code: abi.EREJECT, Reason: severalOfOne})
		}
		last = o
	}
	return inOrder(list)
}

// numbers are the offsets of the events of b.
func numbers(b event.Batch) []event.Offset {
	list := make([]event.Offset, 0, b.Len())
	var d event.Decoder
	for d.Reset(b); d.Next(); {
		list = append(list, d.Offset())
	}
	return list
}

// offset is that of the event at a place among those that the processor is for.
func (u *use) offset(place event.Offset) event.Offset {
	if u.chooser.ask != nil {
		place = event.Offset(u.chooser.places[place])
	}
	return u.offsets[place]
}

// trace finds the offsets of what comes out of the processor, as process puts it together: of what was made of the events that it is for, in place of
// these, and of the others.
func (u *use) trace(made []event.Batch) {
	var kept []event.Offset // places among those that it is for
	for _, part := range made {
		kept = append(kept, numbers(part)...)
	}
	out := make([]event.Offset, 0, len(u.offsets))
	if u.chooser.ask == nil {
		for _, place := range kept {
			out = append(out, u.offsets[place])
		}
		u.offsets = out
		return
	}
	places, place := u.chooser.places, event.Offset(0)
	for i, o := range u.offsets {
		if len(places) == 0 || places[0] != uint32(i) { // it passes by
			out = append(out, o)
			continue
		}
		if len(kept) > 0 && kept[0] == place {
			out, kept = append(out, o), kept[1:]
		}
		places, place = places[1:], place+1
	}
	u.offsets = out
}
