// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Open is what an instance is opened with. It stays valid as long as the instance.
type Open struct {
	Plugin   string       // the name under which it was asked for
	Instance abi.Instance // which of how many of one component
	Cursor   event.Cursor // source: where to go on; its own
	Log      *slog.Logger // goes to the agent's log, with the component's name

	// Stream and Incarnations identify what a sink is handed: an event is never handed to it under
	// two different (stream, incarnation, offset).
	Stream       string
	Incarnations []abi.Incarnation

	config json.RawMessage
	host   *Host
}

// Config decodes the config block into the struct to which dst points, by the names in its json
// tags. The host has checked it against the manifest and has filled in defaults. Durations come as nanoseconds, so
// that a time.Duration takes them; sizes as bytes.
func (o *Open) Config(dst any) error {
	if len(o.config) == 0 {
		return nil
	}
	if err := json.Unmarshal(o.config, dst); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return ConfigError(e.Field, "is a %s, wanted a %s", e.Value, e.Type)
		}
		return ConfigError("", "decode config: %w", err)
	}
	return nil
}

// Held reports, in Open, a range that the destination holds already.
func (o *Open) Held(incarnation uint64, r event.Range) error {
	return check(o.host.Position(incarnation, r), fmt.Sprintf("report range %v as held", r))
}

// Incarnation finds the opening of the channel under which the offset was given, or false.
func (o *Open) Incarnation(at event.Offset) (abi.Incarnation, bool) {
	var found abi.Incarnation
	ok := false
	for _, inc := range o.Incarnations {
		if inc.First <= uint64(at) && (!ok || inc.First >= found.First) {
			found, ok = inc, true
		}
	}
	return found, ok
}

// Counter returns the metric of that name, which only grows.
func (o *Open) Counter(name string) Counter { return Counter{name, o.host} }

// Gauge returns the metric of that name, which is set.
func (o *Open) Gauge(name string) Gauge { return Gauge{name, o.host} }

// Counter is a metric that only grows.
type Counter struct {
	name string
	host *Host
}

// Add adds n, which is not negative.
func (c Counter) Add(n float64) { c.host.Metric(abi.MetricCounter, c.name, n) }

// Gauge is a metric that goes up and down.
type Gauge struct {
	name string
	host *Host
}

// Set sets it.
func (g Gauge) Set(v float64) { g.host.Metric(abi.MetricGauge, g.name, v) }
