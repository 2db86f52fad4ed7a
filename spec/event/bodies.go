// SPDX-License-Identifier: Apache-2.0

package event

import (
	"encoding/binary"
	"iter"
)

// Bodies yields the body of each event with its offset: for those who need no more, at half the cost
// of [Batch.All], since the body stands at the end of the record. It is valid as long as the batch is held.
func (b Batch) Bodies() iter.Seq2[Offset, []byte] {
	return func(yield func(Offset, []byte) bool) {
		if b.data == nil {
			return
		}
		le := binary.LittleEndian
		for rest := b.data[HeaderSize:]; len(rest) >= RecordSize; {
			size, body := le.Uint32(rest), le.Uint32(rest[16:])
			if !yield(b.base+Offset(le.Uint32(rest[20:])), rest[size-body:size:size]) {
				return
			}
			rest = rest[size:]
		}
	}
}
