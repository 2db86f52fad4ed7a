// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Plugin is a module that is loaded.
type Plugin struct {
	Name    string      `json:"name"` // the module's own
	Version string      `json:"version"`
	Digest  string      `json:"digest"`  // sha256, in hex
	Runtime string      `json:"runtime"` // "wasm" or "subprocess"
	Source  string      `json:"source"`  // "builtin:std", or the file
	Trusted bool        `json:"trusted,omitempty"`
	Uses    []PluginUse `json:"uses"`
}

// PluginUse is what one component makes of a module. Figures count since the agent started.
type PluginUse struct {
	Component string `json:"component"`
	Plugin    string `json:"plugin"`    // which of the module
	Instances int    `json:"instances"` // that may be open at a time
	PluginFigures
	May []string `json:"may"` // what it may touch
}

// PluginFigures are those of the plugin of one component.
type PluginFigures struct {
	MemoryBytes uint64  `json:"memory_bytes"` // of the instance that was called last
	CPUSeconds  float64 `json:"cpu_seconds"`
	Restarts    uint64  `json:"restarts"`
	Traps       uint64  `json:"traps"`
}

// Figures reads the figures of a component.
func (p *PluginMetrics) Figures(component string) PluginFigures {
	s := p.of(component)
	return PluginFigures{
		MemoryBytes: uint64(max(0, value(s.memory))), CPUSeconds: value(s.cpu), Restarts: count(s.restarts), Traps: count(s.traps),
	}
}

// value reads a counter or a gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic("BUG: a metric does not write itself: " + err.Error())
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

// AskPlugins asks the agent of that data directory for its plugins. ErrNoAgent when there is none.
func AskPlugins(ctx context.Context, dataDir string) (list []Plugin, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := demand(ctx, dataDir, http.MethodGet, "/api/v1/plugins", nil, &list); err != nil {
		return nil, fmt.Errorf("ask the agent of %s: %w", dataDir, err)
	}
	return list, nil
}
