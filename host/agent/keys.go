// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
)

// Keys are those of channels, by the names of their secrets.
type Keys map[string]wal.Key

// ReadKeys reads the secrets that the channels of a configuration use.
func ReadKeys(c *config.Config) (Keys, hcl.Diagnostics) {
	read, diags := config.ReadKeys(c)
	keys := Keys{}
	for name, raw := range read {
		key, err := wal.NewKey(raw)
		if err != nil {
			panic("BUG: " + err.Error()) // of the length, which was checked
		}
		keys[name] = key
	}
	return keys, diags
}

// of returns the key that a channel is written with, nil for none, and those that it is read with.
func (k Keys) of(c config.Channel) (write *wal.Key, read []wal.Key, err error) {
	if c.Key != "" {
		key, err := k.get(c, c.Key)
		if err != nil {
			return nil, nil, err
		}
		write = &key
	}
	for _, name := range c.OldKeys {
		key, err := k.get(c, name)
		if err != nil {
			return nil, nil, err
		}
		read = append(read, key)
	}
	return write, read, nil
}

// get never goes on without a key: what should be encrypted would be plain.
func (k Keys) get(c config.Channel, name string) (wal.Key, error) {
	key, ok := k[name]
	if !ok {
		return key, fmt.Errorf("%s: secret.%s was not read", c.Address(), name)
	}
	return key, nil
}

// codecs are those of a channel's compression.
var codecs = map[string]wal.Codec{"none": wal.NoCodec, "s2": wal.S2, "zstd": wal.Zstd}
