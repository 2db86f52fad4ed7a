// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is major, minor, patch. What comes after a dash is not compared: a development build counts as its release.
type version [3]int

var versionText = regexp.MustCompile(`^v?` + versionPattern + `$`)

// parseVersion also returns how many parts were written.
func parseVersion(s string) (v version, parts int, ok bool) {
	if !versionText.MatchString(s) {
		return v, 0, false
	}
	s, _, _ = strings.Cut(strings.TrimPrefix(s, "v"), "-")
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return v, 0, false
		}
		v[parts] = n
		parts++
	}
	return v, parts, true
}

var constraintText = regexp.MustCompile(`^\s*(=|!=|>=|<=|>|<|~>)?\s*(\S+)\s*$`)

// satisfies says whether a version meets every one of the constraints, such as ">= 1.2, < 2" or "~> 1.2".
// A version that is not one, as development builds have, meets all.
func satisfies(have, constraints string) (bool, error) {
	h, _, known := parseVersion(have)
	met := true
	for text := range strings.SplitSeq(constraints, ",") {
		m := constraintText.FindStringSubmatch(text)
		if m == nil {
			return false, fmt.Errorf(`must be versions such as ">= 1.2, < 2"; this is %s`, quote(constraints))
		}
		want, parts, ok := parseVersion(m[2])
		if !ok {
			return false, fmt.Errorf(`must be versions such as ">= 1.2, < 2"; %s is none`, quote(m[2]))
		}
		met = met && h.meets(m[1], want, parts)
	}
	return met || !known, nil
}

func (v version) meets(operator string, want version, parts int) bool {
	order := slices.Compare(v[:], want[:])
	switch operator {
	case "!=":
		return order != 0
	case ">":
		return order > 0
	case ">=":
		return order >= 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case "~>": // the last part that is written may grow
		fixed := max(1, parts-1)
		return order >= 0 && slices.Equal(v[:fixed], want[:fixed])
	}
	return order == 0
}
