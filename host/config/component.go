// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
)

func (l *loader) source(v *values) (Source, bool) {
	into, linked := l.channelOf(v, "into", l.fed)
	linked = linked && l.onlyDead(v, abi.Source, into)
	through, refined := l.through(v, abi.Source, into)
	c, ok := l.component(abi.Source, v)
	return Source{Component: c, Into: into, Through: through}, ok && linked && refined
}

func (l *loader) sink(v *values) (Sink, bool) {
	var feed Feed
	linked := true
	if l.grouped[v.name()] == nil && v.args["from"].expr != nil {
		feed, linked = l.feed(v)
	}
	drains := feed.From
	if g := l.grouped[v.name()]; g != nil {
		drains = g.Feed.From
	}
	through, refined := l.through(v, abi.Sink, drains)
	c, ok := l.component(abi.Sink, v)
	batch, retry := v.child("batch"), v.child("retry")
	s := Sink{
		Component: c,
		Feed:      feed,
		Through:   through,
		Start:     v.text("start"),
		OnLag:     v.text("on_lag"),
		Delivery:  v.text("delivery"),
		Timeout:   time.Duration(v.number("timeout")),
		Batch: Batch{
			Events: int(batch.number("events")),
			Bytes:  int(batch.number("bytes")),
			Wait:   time.Duration(batch.number("wait")),
		},
		Retry: Retry{Min: time.Duration(retry.number("min")), Max: time.Duration(retry.number("max"))},
	}
	if c.Ref.Source == hopModule && !batch.isSet("wait") {
		s.Batch.Wait = hopBatchWait
	}
	if !retry.broken && s.Retry.Min > s.Retry.Max {
		l.add("E1303", retry.where("min"), "The first pause, %v, is longer than the longest, %v.", s.Retry.Min, s.Retry.Max)
	}
	parallel := l.parallel(v, &s)
	lags := l.lagging(v, &s)
	grouped := l.member(v, &s)
	relayed := l.relay(v, &s)
	return s, ok && linked && refined && parallel && lags && grouped && relayed
}

// component checks what sources, processors and sinks have in common: plugin, config, grants.
func (l *loader) component(kind abi.Kind, v *values) (Component, bool) {
	plugin, from, ok := l.resolve(kind, v)
	if !ok {
		return Component{}, false
	}
	c := Component{
		Name: v.name(), Kind: kind, Ref: from.ref, Plugin: plugin,
		Limits: from.limits(plugin), DeclRange: v.at,
	}
	args, ok := l.schemaOf(schemaKey{from.ref, kind, plugin.Name}, plugin, v.label[0])
	if !ok {
		return c, false
	}
	before := len(l.diags)
	settings := l.config(plugin, args, v)
	if l.diags[before:].HasErrors() || unknown(settings) {
		return c, false // grants computed from half a config would mislead
	}
	g := granter{loader: l, component: &c, from: from, config: make(map[string]any), settings: settings}
	c.TLS, g.tlsKnown = l.tlsOf(v)
	g.grant(args)
	c.settle(g.config)
	if !l.diags[before:].HasErrors() {
		l.unusedTLS(&c, v)
	}
	if !l.diags[before:].HasErrors() {
		l.mutual(&c, v)
		l.ask(&c, v, settings)
	}
	return c, !l.diags[before:].HasErrors()
}

// hopModule is the source of the plugins of a hop.
const hopModule = builtinScheme + "hop"

// mutual sees to it that both sides of a hop show a certificate: who the other is decides what it may send, and whose events these are.
func (l *loader) mutual(c *Component, v *values) {
	if c.Ref.Source != hopModule || !slices.ContainsFunc(c.Handles, func(h Handle) bool { return h.Address.Secure() }) {
		return
	}
	at := v.at
	if v.args["tls"].expr != nil {
		at = v.where("tls")
	}
	switch {
	case c.TLS == nil, c.Kind == abi.Sink && c.TLS.Cert == "":
		l.add("E4010", at, "A hop needs a tls block with cert and key: the other side asks who this is.")
	case c.Kind == abi.Source && c.TLS.CA == "":
		l.add("E4010", at, "A hop needs a tls block with a ca: clients must show a certificate that it has signed, so that it is known who sends.")
	}
}

// unknown says whether something has no value because of a mistake that was reported elsewhere.
func unknown(settings map[string]setting) bool {
	for _, s := range settings {
		if s.unknown {
			return true
		}
	}
	return settings == nil
}

// schemaKey tells one plugin of one module from all others.
type schemaKey struct {
	ref  PluginRef
	kind abi.Kind
	name string
}

// schemaOf makes the plugin's arguments ready, once. A manifest comes from outside and may be wrong.
func (l *loader) schemaOf(key schemaKey, p abi.Plugin, at hcl.Range) ([]argument, bool) {
	if args, ok := l.schemas[key]; ok {
		return args, true
	}
	args := make([]argument, 0, len(p.Arguments))
	for _, decl := range p.Arguments {
		a, err := compileArgument(decl)
		if err != nil {
			l.add("E4005", at, "The manifest of plugin %s: argument %q: %s", p.Name, decl.Name, stop(err.Error()))
			return nil, false
		}
		args = append(args, a)
	}
	l.schemas[key] = args
	return args, true
}

// config checks the config block against the plugin's schema, and fills in defaults.
func (l *loader) config(p abi.Plugin, args []argument, v *values) map[string]setting {
	owner := fmt.Sprintf("The plugin %s", p.Name)
	if c := v.child("config"); c.body != nil {
		parts, ok := l.expand(args, owner, c.body)
		if !ok {
			return nil
		}
		return l.settings(args, owner, parts, c.at)
	}
	return l.settings(args, owner, content{BodyContent: &hcl.BodyContent{}}, v.at)
}
