// SPDX-License-Identifier: Apache-2.0

package event

import "testing"

// Where a batch was checked as it was copied, its last offset is known without a look at each event.
func TestTheLastOffsetOfACopyIsThatOfItsLastEvent(t *testing.T) {
	var w Builder
	for n := range 4 {
		w.Reset()
		for range n {
			must(t, w.Append(Event{Body: []byte("x")}))
		}
		b, err := Copy(Heap{}, w.Bytes(), DefaultBatch)
		must(t, err)
		b = b.WithBase(70)
		if got, want := b.Last(), Trusted(b.Bytes(), 70, nil).Last(); got != want || want != 70+Offset(max(n, 1)-1) {
			t.Errorf("of %d events the last is %d, walking says %d", n, got, want)
		}
	}
}
