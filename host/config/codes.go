// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
)

// Codes lists every code there is, sorted.
func Codes() []string {
	names := make([]string, 0, len(codes))
	for c := range maps.Keys(codes) {
		names = append(names, string(c))
	}
	slices.Sort(names)
	return names
}

// Explain returns the long text of a code, which begins with its title. Case does not matter.
func Explain(name string) (text string, ok bool) {
	c := code(strings.ToUpper(strings.TrimSpace(name)))
	entry, ok := codes[c]
	if !ok {
		return "", false
	}
	return string(c) + ": " + entry.title + "\n\n" + strings.TrimSpace(entry.text) + "\n", true
}

// codes are all mistakes there are. A code is never used for another one, nor renamed; a text may be bettered.
// E1 language, E2 channels and disk, E3 permissions, E4 plugins, E5 secrets; W is a warning of the same hundreds.
var codes = allCodes(languageCodes, partCodes, warningCodes)

// entry is what is said of a code.
type entry struct{ title, text string }

func allCodes(tables ...map[code]entry) map[code]entry {
	all := make(map[code]entry)
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}
