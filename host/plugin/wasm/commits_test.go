// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"testing"

	"github.com/penstock-io/penstock/spec/abi"
)

func TestOnlyASourceWaitsForItsOwnBatches(t *testing.T) {
	in := &instance{kind: abi.Source, seq: 3}
	for after, want := range map[int64]abi.Code{0: abi.EINVAL, -1: abi.EINVAL, 1: abi.OK, 3: abi.OK, 4: abi.EINVAL} {
		if got := in.promise(after, func(bool) {}); got != want {
			t.Errorf("after %d: %s, want %s", after, got, want)
		}
	}
	in.kind = abi.Sink
	if got := in.promise(1, func(bool) {}); got != abi.EINVAL {
		t.Errorf("in a sink: %s", got)
	}
}
