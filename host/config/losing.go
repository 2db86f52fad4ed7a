// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"time"
)

// losing warns of what a channel will drop.
func (l *loader) losing(v *values) {
	name, full := "channel."+v.name(), fullAt(v)
	switch v.text("on_full") {
	case "drop_oldest":
		l.add("W2005", v.where("on_full"), "When %s is full, %s, it drops its oldest events: a sink that is behind never gets them, and their sources do not send them again.", name, full)
	case "drop_newest":
		l.add("W2005", v.where("on_full"), "When %s is full, %s, it drops what is put into it: no sink gets those events, and their sources, to which they are acknowledged, do not send them again.", name, full)
	}
}

// lagging warns of what a sink will lose that is behind.
func (l *loader) lagging(v *values, s *Sink) bool {
	ch := l.channels[s.From]
	if ch == nil || v.broken {
		return true
	}
	when := fmt.Sprintf("When channel.%s is full, %s, because of sink.%s alone", s.From, fullAt(ch), v.name())
	switch {
	case s.OnLag == "skip":
		l.add("W2005", v.where("on_lag"), "%s, the sink goes on with newer events and never gets those before.", when)
	case s.OnLag == "detach" && s.Lanes > 1:
		l.add("E1307", v.where("on_lag"), "The lanes of a sink lag one by one, and detaching one would take some keys away from it. Say on_lag = \"skip\", or leave lanes out.")
		return false
	case s.OnLag == "detach":
		l.add("W2005", v.where("on_lag"), "%s, the sink is detached: it gets none of what it has not delivered, and nothing more until the agent is started again.", when)
	}
	return true
}

// fullAt says when a channel is full.
func fullAt(v *values) string {
	at := []string{"at " + roundSize(uint64(v.number("capacity")))}
	if n := v.number("max_events"); n > 0 {
		at = append(at, fmt.Sprintf("at %d events", int64(n)))
	}
	if age := time.Duration(v.number("max_age")); age > 0 {
		at = append(at, "when the oldest is there for "+formatDuration(age))
	}
	if v.labels[0] == kindDurable {
		at = append(at, "when the disk runs short")
	}
	if last := len(at) - 1; last > 0 {
		return strings.Join(at[:last], ", ") + " or " + at[last]
	}
	return at[0]
}
