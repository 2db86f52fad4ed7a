// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

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
var runtimes = map[string]func(dataDir string, o Options) (plugin.Runtime, error){
	"wasm": func(dataDir string, o Options) (plugin.Runtime, error) {
		return wasm.New(wasm.Options{CacheDir: CacheDir(dataDir), Log: o.Log})
	},
	"subprocess": func(dataDir string, o Options) (plugin.Runtime, error) {
		return subprocess.New(subprocess.Options{Dir: filepath.Join(dataDir, "children"), Launcher: o.Modules.Launcher, Log: o.Log})
	},
}

// runtimeOf names the runtime of a plugin.
func runtimeOf(ref config.PluginRef) string {
	if ref.Subprocess {
		return "subprocess"
	}
	return "wasm"
}

// ChannelDir is where the channel of that name lies below a data directory.
func ChannelDir(dataDir, name string) string { return filepath.Join(dataDir, "channels", name) }

// CacheDir is where compiled modules lie below a data directory.
func CacheDir(dataDir string) string { return filepath.Join(dataDir, "cache") }

func (a *Agent) openChannels() error {
	for _, c := range a.opts.Config.Channels {
		open, ok := channels[c.Kind]
		if !ok {
			return fmt.Errorf("%s: there is no kind of channel %q", c.Address(), c.Kind)
		}
		disk, err := durableOptions(c, a.opts.Keys)
		if err != nil {
			return err
		}
		metrics := a.metrics.Channel(c.Address())
		o := channelOptions{
			dir:       ChannelDir(a.dir, c.Name),
			capacity:  channel.Capacity{Bytes: c.CapacityBytes, Events: c.MaxEvents, Age: c.MaxAge},
			onFull:    fullPolicies[c.OnFull],
			pool:      channel.NewPool(poolIdle),
			observer:  metrics.Observer(),
			log:       a.opts.Log.With("component", c.Address()),
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
			return errors.Join(fmt.Errorf("open %s: %w", c.Address(), err), o.pool.Close())
		}
		oc := &openChannel{Channel: opened, Operator: opened, Seeker: opened, address: c.Address(), kind: c.Kind, pool: o.pool}
		metrics.Watch(opened)
		a.channels = append(a.channels, oc)
		a.onClose(drops.Close)
		a.onClose(oc.Close)
	}
	return nil
}

// warnUnused names the readers of which the sinks are gone: what they have not committed takes room for ever.
func (a *Agent) warnUnused() {
	for _, c := range a.channels {
		for name, r := range c.Stats().Readers {
			if !r.InUse {
				a.opts.Log.Warn("a reader that no sink uses any more holds what it has not delivered: to give up its events, forget it",
					"component", c.address, "reader", name, "waiting", r.Waiting,
					"command", "penstock channel forget "+ChannelDir(a.dir, bare(c.address))+" "+name)
			}
		}
	}
}

func (a *Agent) channel(name string) *openChannel {
	for _, c := range a.channels {
		if c.address == "channel."+name {
			return c
		}
	}
	panic("BUG: " + name + " passed validation and is not open")
}

// loadPlugins compiles each module once, all at the same time.
func (a *Agent) loadPlugins(ctx context.Context) error {
	refs, started := map[config.PluginRef]config.PluginRef{}, map[string]plugin.Runtime{}
	for _, c := range a.opts.Config.Components() {
		refs[keyOf(c.Ref)] = c.Ref
		name := runtimeOf(c.Ref)
		if started[name] != nil {
			continue
		}
		runtime, err := runtimes[name](a.dir, a.opts)
		if err != nil {
			return fmt.Errorf("start the runtime of plugins (%s): %w", name, err)
		}
		started[name] = runtime
		a.onClose(runtime.Close)
	}
	defer a.opts.Modules.forget()
	g, ctx := errgroup.WithContext(ctx)
	for key, ref := range refs {
		g.Go(func() error {
			found, err := a.opts.Modules.target(ref)
			if err != nil {
				return fmt.Errorf("plugin %s: %w", ref.Name, err)
			}
			p, err := started[runtimeOf(ref)].Load(ctx, found)
			if err != nil {
				return fmt.Errorf("load plugin %s from %s: %w", ref.Name, ref.Source, err)
			}
			m := p.Manifest()
			a.metrics.Plugin().Loaded(m.Name, m.Version, p.Digest(), runtimeOf(ref))
			a.onClose(p.Close)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.plugins[key] = p
			return nil
		})
	}
	return g.Wait()
}

// keyOf is what a module is found by that was loaded: the same file under other bounds is another one.
func keyOf(ref config.PluginRef) config.PluginRef {
	ref.Name = ""
	return ref
}

// plugin is the module of a component.
func (a *Agent) plugin(c config.Component) plugin.Plugin { return a.plugins[keyOf(c.Ref)] }
