// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/subprocess"
	"github.com/penstock-io/penstock/host/plugin/wasm"
)

// poolIdle is how much memory for batches a channel keeps when nobody uses it: some batches of the
// largest usual size for each side.
const poolIdle = 16 << 20

// channelOptions is what every kind of channel is opened with.
type channelOptions struct {
	dir       string
	capacity  channel.Capacity
	onFull    channel.FullPolicy
	onCorrupt string
	forget    time.Duration
	pool      *channel.Pool
	observer  channel.Observer
	log       *slog.Logger
	durable
}

// durable is what only a channel on disk is opened with.
type durable struct {
	level   wal.Durability
	every   time.Duration // between flushes, at the level that says so
	minFree uint64
	retain  time.Duration
	scrub   time.Duration // between two rounds
	codec   wal.Codec
	key     *wal.Key // that is written with, or nil
	oldKeys []wal.Key
}

func durableOptions(c config.Channel, keys Keys) (d durable, err error) {
	d = durable{level: levels[c.Durability], every: c.FlushEvery, minFree: wal.DefaultMinFree, retain: c.Retain, scrub: c.Scrub, codec: codecs[c.Compression]}
	if c.MinFreeBytes != nil {
		d.minFree = *c.MinFreeBytes
	}
	d.key, d.oldKeys, err = keys.of(c)
	return d, err
}

// store is what every kind of channel is.
type store interface {
	channel.Channel
	channel.Operator
	channel.Seeker
	channel.Picker
}

// channels opens a channel by kind.
var channels = map[string]func(o channelOptions) (store, error){
	"memory": func(o channelOptions) (store, error) {
		return memory.New(memory.Options{Capacity: o.capacity, OnFull: o.onFull, Pool: o.pool, Observer: o.observer, ForgetAfter: o.forget}), nil
	},
	"wal": func(o channelOptions) (store, error) {
		w := wal.Options{Dir: o.dir, Capacity: o.capacity, OnFull: o.onFull, Pool: o.pool, Observer: o.observer, Log: o.log,
			Durability: o.level, FlushEvery: o.every, MinFree: o.minFree, Reserve: wal.DefaultReserve,
			Compression: o.codec, Key: o.key, OldKeys: o.oldKeys, ForgetAfter: o.forget, Scrub: o.scrub, Retain: o.retain}
		if o.onCorrupt == "quarantine" {
			w.OnCorrupt = wal.Quarantine
		}
		return wal.Open(w)
	},
}

// fullPolicies are what a channel does when it is full.
var fullPolicies = map[string]channel.FullPolicy{
	"block": channel.Block, "refuse": channel.Refuse, "drop_oldest": channel.DropOldest, "drop_newest": channel.DropNewest,
}

// lags are what a channel does about a sink because of which it is full.
var lags = map[string]channel.Lag{"hold": channel.Hold, "skip": channel.Skip, "detach": channel.Detach}

// levels are those of a channel's durability.
var levels = map[string]wal.Durability{"fsync": wal.Fsync, "interval": wal.Interval, "os": wal.OS}

// runtimes makes a runtime by name. A runtime lives as long as the agent.
var runtimes = map[string]func(dataDir string, o Options, m *Modules) (plugin.Runtime, error){
	"wasm": func(dataDir string, o Options, m *Modules) (plugin.Runtime, error) {
		return wasm.New(wasm.Options{CacheDir: cmp.Or(o.Cache, CacheDir(dataDir)), Log: o.Log})
	},
	"agent": func(string, Options, *Modules) (plugin.Runtime, error) { return within{}, nil },
	"subprocess": func(dataDir string, o Options, m *Modules) (plugin.Runtime, error) {
		return subprocess.New(subprocess.Options{Dir: filepath.Join(dataDir, "children"), Launcher: m.Launcher, Log: o.Log})
	},
}

// RuntimeOf names the runtime of a plugin: "wasm", "subprocess", or "agent" for what is part of it.
func RuntimeOf(ref config.PluginRef) string {
	if _, ok := insideOf(ref.Source); ok || ref.Source == relaySource {
		return "agent"
	}
	if ref.Subprocess {
		return "subprocess"
	}
	return "wasm"
}

// ChannelDir is where the channel of that name lies below a data directory.
func ChannelDir(dataDir, name string) string {
	return filepath.Join(dataDir, "channels", config.DirName(name))
}

// CacheDir is where compiled modules lie below a data directory.
func CacheDir(dataDir string) string { return filepath.Join(dataDir, "cache") }

// openChannels opens those that the revision before does not have.
func (r *revision) openChannels(before *revision) error {
	if err := r.renameChannels(before); err != nil {
		return err
	}
	for _, c := range r.Config.Channels {
		open := before.find(c.Address())
		if open == nil {
			var err error
			if open, err = r.openChannel(c); err != nil {
				return err
			}
		}
		r.channels = append(r.channels, open)
		r.keep(open)
	}
	return nil
}

func (r *revision) openChannel(c config.Channel) (*openChannel, error) {
	a := r.agent
	open, ok := channels[c.Kind]
	if !ok {
		return nil, fmt.Errorf("%s: there is no kind of channel %q", c.Address(), c.Kind)
	}
	disk, err := durableOptions(c, r.Keys)
	if err != nil {
		return nil, err
	}
	metrics := a.metrics.Channel(c.Address())
	o := channelOptions{
		dir:       ChannelDir(a.dir, c.Name),
		capacity:  capacityOf(c),
		onFull:    fullPolicies[c.OnFull],
		pool:      channel.NewPool(poolIdle),
		observer:  metrics.Observer(),
		log:       r.log.With("component", c.Address()),
		durable:   disk,
		onCorrupt: c.OnCorrupt,
		forget:    c.ForgetAfter,
	}
	o.observer.Step = a.opts.Step
	drops := &dropLog{log: o.log}
	o.observer.Dropped = drops.dropped
	opened, err := open(o)
	if err != nil {
		if errors.Is(err, channel.ErrLocked) {
			err = fmt.Errorf("%w: %w", ErrEnvironment, err)
		}
		return nil, errors.Join(fmt.Errorf("open %s: %w", c.Address(), err), o.pool.Close())
	}
	oc := &openChannel{Channel: opened, Operator: opened, Seeker: opened, Picker: opened, address: c.Address(), kind: c.Kind, pool: o.pool, drops: drops, unwatch: func() { metrics.Watch(nil) }}
	metrics.Watch(opened)
	return oc, nil
}

func capacityOf(c config.Channel) channel.Capacity {
	return channel.Capacity{Bytes: c.CapacityBytes, Events: c.MaxEvents, Age: c.MaxAge}
}

// warnUnused names the readers of which the sinks are gone: what they have not committed takes room for ever.
func (a *Agent) warnUnused() {
	for _, c := range a.channels() {
		for name, r := range c.Stats().Readers {
			if !r.InUse {
				a.opts.Log.Warn("a reader that no sink uses any more holds what it has not delivered: to give up its events, forget it",
					"component", c.address, "reader", name, "waiting", r.Waiting,
					"command", "penstock channel forget "+ChannelDir(a.dir, bare(c.address))+" "+name)
			}
		}
	}
}
