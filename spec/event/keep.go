// SPDX-License-Identifier: Apache-2.0

package event

// A Keeper walks a batch, as a [Decoder] does, and hands on events of it to a [Builder] as they are:
//
//	for e := w.Each(b); e.Next(); {
//		if wanted(e.Body()) {
//			e.Keep()
//		}
//	}
//
// That costs a fraction of appending them: events that lie side by side are copied at once.
type Keeper struct {
	reader
	to *Builder
	// What was kept and is not copied yet: those events lie side by side.
	from, until int
	count       uint32
}

// Each begins a walk over b, of which the builder's events may be made: its offsets count from Base. There is one walk at a time. Until [Builder.Bytes]
// or [Builder.Reset] is called b must stay as it is, as what is kept of it may be copied only then.
func (w *Builder) Each(b Batch) *Keeper {
	if b.data != nil && b.base != w.Base {
		panic("BUG: a batch is made of another, and counts from another offset than that")
	}
	k := &w.kept
	k.copy()
	k.begin(b)
	k.to, k.until = w, 0
	return k
}

// Keep adds the event as it is, with its offset, to the builder: whatever the limit, since what is kept of a batch is no larger than that.
func (k *Keeper) Keep() {
	if k.at != k.until {
		k.copy()
	}
	k.until = k.end
	k.count++
}

// copy copies what was kept, and begins anew with the event at which k stands.
func (k *Keeper) copy() {
	if k.count > 0 {
		w, size := k.to, k.until-k.from
		at := max(len(w.buf), HeaderSize)
		if at+size > cap(w.buf) {
			w.grow(at + size)
		}
		w.buf = w.buf[:at+size]
		copy(w.buf[at:], k.data[k.from:k.until])
		w.last = deltaOf(w.buf[at:]) // the first one's, so as not to look at each: the host does, before it takes the batch
		w.count += k.count
		k.count = 0
	}
	k.from, k.until = k.at, k.at
}
