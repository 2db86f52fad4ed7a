// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"context"
	"fmt"
	"log/slog"
	"math"

	"github.com/tetratelabs/wazero/api"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// logLine is the import log.
func logLine(in *instance, mem api.Memory, stack []uint64) {
	level := slog.Level(min(max(int32(stack[0]), abi.LevelDebug), abi.LevelError))
	line, ok := "", true
	if on := in.log.To.Enabled(context.Background(), level) && in.log.Allow(); on {
		if line, ok = text(mem, stack[1], stack[2], abi.MaxText); ok {
			in.log.To.Log(context.Background(), level, line)
		}
	}
	stack[0] = answer(abi.OK)
	if !ok {
		stack[0] = answer(abi.EINVAL)
	}
}

// metric is the import metric.
func metric(in *instance, mem api.Memory, stack []uint64) {
	kind, value := int(int32(stack[0])), api.DecodeF64(stack[3])
	name, ok := mem.Read(uint32(stack[1]), uint32(stack[2]))
	if !ok || math.IsNaN(value) || math.IsInf(value, 0) || kind == abi.MetricCounter && value < 0 {
		stack[0] = answer(abi.EINVAL)
		return
	}
	known, code := in.plugin.metrics.Admit(name, kind, in.names)
	if code == abi.OK && in.metrics != nil {
		in.metrics.Plugin(in.component, kind, known, value)
	}
	if code == abi.ETOOBIG {
		in.limited(plugin.LimitMetrics, fmt.Sprintf("it reports more than %d metrics, the rest is dropped", in.names))
	}
	stack[0] = answer(code)
}
