// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
)

// hiddenText is shown in place of a secret.
const hiddenText = "(secret)"

// maxShown is how much of a value is shown, in runes: a line holds the old one and the new one.
const maxShown = 60

// argument is one that a part has, as it is written in a pipeline file. Two are the same when their values are.
type argument struct {
	name  string
	value string // in full
	shown string // "" = as value
}

// set makes arguments of values; what is not set is left out.
type set []argument

func (s *set) text(name, value string) {
	if value != "" {
		*s = append(*s, argument{name: name, value: value})
	}
}

func (s *set) list(name string, values []string) { s.text(name, strings.Join(values, ", ")) }

func (s *set) count(name string, n uint64) {
	if n > 0 {
		s.text(name, strconv.FormatUint(n, 10))
	}
}

func (s *set) yes(name string, on bool) {
	if on {
		s.text(name, "true")
	}
}

func (s *set) time(name string, d time.Duration) {
	if d > 0 {
		s.text(name, duration(d))
	}
}

func (s *set) size(name string, bytes uint64) {
	if bytes > 0 {
		s.text(name, sizeText(bytes))
	}
}

// secret has a value that is compared, and never shown.
func (s *set) secret(name, value string) {
	*s = append(*s, argument{name: name, value: value, shown: hiddenText})
}

// condition is the same when its source is, and what that speaks of.
func (s *set) condition(name string, c *config.Condition) {
	if c == nil {
		return
	}
	of := argument{name: name, value: c.Text, shown: c.Text}
	if c.Program != nil {
		of.value += "\n" + c.Loaded()
	}
	*s = append(*s, of)
}

// diff lists what is not the same, in the order of the new ones, then of those that are gone.
func diff(from, to set) (changes []Change) {
	find := func(s set, name string) *argument {
		i := slices.IndexFunc(s, func(a argument) bool { return a.name == name })
		if i < 0 {
			return nil
		}
		return &s[i]
	}
	for _, a := range to {
		if old := find(from, a.name); old == nil || old.value != a.value {
			changes = append(changes, Change{a.name, old.text(), a.text()})
		}
	}
	for _, a := range from {
		if find(to, a.name) == nil {
			changes = append(changes, Change{a.name, a.text(), ""})
		}
	}
	return changes
}

// text is what is shown of a value.
func (a *argument) text() string {
	switch {
	case a == nil:
		return ""
	case a.shown != "":
		return a.shown
	}
	if runes := []rune(a.value); len(runes) > maxShown {
		return string(runes[:maxShown-1]) + "…"
	}
	return a.value
}

// configOf are the arguments in a config block, as they are opened with. Those that are sensitive are compared as revealed.
func configOf(c config.Component, revealed map[string]config.Revealed) (s set) {
	known, isKnown := revealed[c.Address()]
	shown, full := object(c.Config), object(c.Config)
	if isKnown {
		full = object(known.Config)
	}
	for _, name := range slices.Sorted(maps.Keys(full)) {
		i := slices.IndexFunc(c.Plugin.Arguments, func(a abi.Argument) bool { return a.Name == name })
		switch _, open := shown[name]; {
		case !open, i >= 0 && c.Plugin.Arguments[i].Sensitive:
			s.secret("config."+name, string(full[name]))
		case i >= 0:
			s.text("config."+name, valueText(full[name], c.Plugin.Arguments[i].Type))
		default:
			s.text("config."+name, string(full[name]))
		}
	}
	for _, handle := range slices.Sorted(maps.Keys(known.Secrets)) {
		s.secret("secret "+handle, known.Secrets[handle])
	}
	s.list("secrets", c.Secrets)
	return s
}

func object(doc json.RawMessage) (m map[string]json.RawMessage) {
	if len(doc) > 0 && json.Unmarshal(doc, &m) != nil {
		panic("BUG: a checked config is no object")
	}
	return m
}

// valueText writes a value as a pipeline file has it.
func valueText(raw json.RawMessage, typ string) string {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case typ == "duration" && err == nil:
		return duration(time.Duration(n))
	case typ == "size" && err == nil && n >= 0:
		return sizeText(uint64(n))
	case string(raw) == "null":
		return ""
	}
	return string(raw)
}

// duration leaves out the zeros that Go writes: "1h", not "1h0m0s".
func duration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// sizeText writes bytes in the largest unit that divides them.
func sizeText(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; i < len(units)-1 && bytes >= 1024 && bytes%1024 == 0; i++ {
		bytes /= 1024
	}
	return fmt.Sprintf("%d%s", bytes, units[i])
}
