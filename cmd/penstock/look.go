// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm"
)

// cheapModules is how many bytes of modules are compiled for no more than that their plugins look at configs: half a megabyte takes some 200 ms.
// Larger ones are asked where an agent has compiled them before, since that takes no more than reading them.
const cheapModules = 512 << 10

// newLook loads modules for who only reads pipeline files, and does not wait for seconds.
func newLook() agent.Look {
	left := cheapModules
	return func(dataDir string, ref plugin.Ref, _ []config.Ask) (plugin.Checker, func() error, error) {
		o := wasm.Options{CacheDir: agent.CacheDir(dataDir)}
		if !wasm.Kept(o.CacheDir, ref) {
			if left -= len(ref.Code); left < 0 {
				return nil, nil, nil
			}
			o.CacheDir = "" // nothing is written
		}
		runtime, err := wasm.New(o)
		if err != nil {
			return nil, nil, err
		}
		p, err := runtime.Load(context.Background(), ref)
		if err != nil {
			return nil, nil, errors.Join(err, runtime.Close())
		}
		return p.(plugin.Checker), func() error { return errors.Join(p.Close(), runtime.Close()) }, nil
	}
}
