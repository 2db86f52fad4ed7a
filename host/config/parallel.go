// SPDX-License-Identifier: Apache-2.0

package config

// parallel reads how many instances of a sink's plugin deliver at the same time, and in which order.
func (l *loader) parallel(v *values, s *Sink) bool {
	before := len(l.diags)
	s.Connections = int(v.number("connections"))
	if v.broken || s.Connections < 2 {
		return true
	}
	if v.text("order") != "none" {
		l.add("E1307", v.where("connections"), "The channel's order can be kept by one connection at a time. Say order = \"none\" if events may overtake each other.")
	}
	l.concurrent(v, s, "connections")
	return !l.diags[before:].HasErrors()
}

// concurrent reports a plugin that has not said that several of its instances may write at the same time.
func (l *loader) concurrent(v *values, s *Sink, arg string) {
	if s.Plugin.Name != "" && !s.Plugin.Concurrent {
		l.add("E4009", v.where(arg), "The plugin %s does not say that several of its instances may write to one destination at the same time, so it gets one.", s.Plugin.Name)
	}
}
