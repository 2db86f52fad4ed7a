// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"encoding/json"
	"log/slog"

	"github.com/penstock-io/penstock/spec/abi"
)

// Check has a plugin of a program that is linked into this one look at a config, if it is a [Checker]: nil: it finds nothing wrong. The config has
// been checked against the manifest. For what is wrong with an argument the error is an [*Error] with its path.
func Check(plugins map[string]Plugin, kind abi.Kind, name string, config json.RawMessage) error {
	g := Guest{plugins: plugins}
	c, ok := g.make(name, kind).(Checker)
	if !ok {
		return nil
	}
	return c.Check(&Open{Plugin: name, Instance: abi.Instance{Count: 1}, Log: slog.New(slog.DiscardHandler), config: config, host: &g.host})
}
