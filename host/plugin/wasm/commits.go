// SPDX-License-Identifier: Apache-2.0

package wasm

import "github.com/penstock-io/penstock/spec/abi"

// promise is what imports with a parameter after do: it has f called when that batch is durable, or refused.
func (in *instance) promise(after int64, f func(durable bool)) abi.Code {
	switch {
	case in.kind != abi.Source || after <= 0 || uint64(after) > in.seq:
		return abi.EINVAL
	case !in.commits.When(uint64(after), f):
		return abi.EAGAIN
	}
	return abi.OK
}
