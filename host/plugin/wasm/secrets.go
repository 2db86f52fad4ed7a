// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/spec/abi"
)

// maxName bounds what a guest calls a handle or a secret.
const maxName = 256

// secret is the import secret: it gives the value of one that was granted.
func secret(in *instance, mem api.Memory, stack []uint64) {
	name, ok := text(mem, stack[0], stack[1], maxName)
	if !ok {
		stack[0] = answer(abi.EINVAL)
		return
	}
	value, granted := in.grants.Secrets[name]
	if !granted {
		in.denied(abi.ImportSecret, name)
		stack[0] = answer(abi.EACCES)
		return
	}
	stack[0] = put(mem, stack[2], stack[3], value)
}

// put writes what a guest asked for to ptr, where there is room for so many bytes, and answers its length: nothing is written of what is longer.
func put[T string | []byte](mem api.Memory, ptr, room uint64, what T) uint64 {
	if uint64(len(what)) > uint64(uint32(room)) {
		return uint64(len(what))
	}
	view, ok := mem.Read(uint32(ptr), uint32(len(what)))
	if !ok {
		return answer(abi.EINVAL)
	}
	copy(view, what)
	return uint64(len(what))
}
