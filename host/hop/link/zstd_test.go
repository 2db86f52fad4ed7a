// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/spec/event"
)

// What is packed says its size, however short or long it is, and comes out as it was.
func TestAPackedBatchOfAnyLengthSaysItsSize(t *testing.T) {
	sizes := []int{4 << 10, 64 << 10, 65536 + 255, 65536 + 256, 1 << 20, event.MaxBatch - 1, event.MaxBatch}
	for n := 1; n < 1200; n++ {
		sizes = append(sizes, n)
	}
	var packed []byte
	rng := rand.New(rand.NewPCG(1, 1))
	for _, n := range sizes {
		batch := bytes.Repeat([]byte("a line like the last one "), n/25+1)[:n]
		batch[rng.IntN(n)]++
		packed = pack(packed, batch)
		size, err := unpackedSize(packed)
		if err != nil || size != n {
			t.Fatalf("%d bytes say that they are %d: %v", n, size, err)
		}
		got := make([]byte, n)
		if err := unzstd(got, packed); err != nil || !bytes.Equal(got, batch) {
			t.Fatalf("%d bytes do not come out as they were: %v", n, err)
		}
	}
}
