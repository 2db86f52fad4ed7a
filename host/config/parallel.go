// SPDX-License-Identifier: Apache-2.0

package config

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// parallel reads how many instances of a sink's plugin deliver at the same time, and in which order.
func (l *loader) parallel(v *values, s *Sink) bool {
	before := len(l.diags)
	s.Connections, s.Lanes = int(v.number("connections")), int(v.number("lanes"))
	if expr := v.args["order_by"].expr; expr != nil {
		s.OrderBy = l.orderKey(expr)
	}
	any := v.text("order") == "none"
	switch {
	case v.broken:
	case v.isSet("order_by") && any:
		l.add("E1307", v.where("order_by"), "With order = \"none\" no order is kept, not by a key either. Leave one of the two out.")
	case s.Lanes > 1 && !v.isSet("order_by"):
		l.add("E1307", v.where("lanes"), "Lanes are dealt by a key: say which, with order_by = event.attributes.NAME.")
	case s.Connections > 1 && s.Lanes > 1:
		l.add("E1307", v.where("connections"), "Each lane has a connection of its own. Leave connections out, or lanes.")
	case s.Connections > 1 && !any:
		l.add("E1307", v.where("connections"), "The channel's order can be kept by one connection at a time. Say order = \"none\" if events may overtake each other.")
	case s.Connections > 1:
		l.concurrent(v, s, "connections")
	case s.Lanes > 1:
		l.concurrent(v, s, "lanes")
	}
	return !l.diags[before:].HasErrors()
}

// concurrent reports a plugin that has not said that several of its instances may write at the same time.
func (l *loader) concurrent(v *values, s *Sink, arg string) {
	if s.Plugin.Name != "" && !s.Plugin.Concurrent {
		l.add("E4009", v.where(arg), "The plugin %s does not say that several of its instances may write to one destination at the same time, so it gets one.", s.Plugin.Name)
	}
}

// orderKey reads event.attributes.NAME, or event.attributes["NAME"], as it stands.
func (l *loader) orderKey(expr hcl.Expression) string {
	t, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() || len(t) != 3 || t.RootName() != "event" {
		l.add("E1503", expr.Range(), "In this version a key is one attribute, written bare: event.attributes.NAME, or event.attributes[\"NAME\"].")
		return ""
	}
	if step, ok := t[1].(hcl.TraverseAttr); !ok || step.Name != "attributes" {
		l.add("E1503", expr.Range(), "In this version a key is an attribute: event.attributes.NAME.")
		return ""
	}
	name := ""
	switch step := t[2].(type) {
	case hcl.TraverseAttr:
		name = step.Name
	case hcl.TraverseIndex:
		if step.Key.Type() == cty.String {
			name = step.Key.AsString()
		}
	}
	if name == "" || len(name) > maxOrderKey {
		l.add("E1503", expr.Range(), "The name of an attribute has 1 to %d bytes.", maxOrderKey)
		return ""
	}
	return name
}
