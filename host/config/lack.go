// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/spec/abi"
)

// lack is what a component asks for and is not granted.
type lack struct {
	component string
	need      abi.Need
	dirs      []Dir    // of a need for directories
	address   string   // of a need for an address or a URL, or the path of a program
	names     []string // of environment variables or secrets
}

// lackOf notes what the component is not granted.
func (g *granter) lackOf(k lack) {
	k.component = g.component.Address()
	g.from.lacks = append(g.from.lacks, k)
}

// reason says in words what is asked for.
func (k lack) reason() string {
	var does string
	switch k.need.Kind {
	case abi.NeedStdout:
		does = "writes to the agent's standard output"
	case abi.NeedDir:
		does = "reads what " + k.need.Value + " names"
		if k.need.Access == "write" {
			does = "reads and writes what " + k.need.Value + " names"
		}
	case abi.NeedDial:
		does = "connects to " + k.address
	case abi.NeedListen, abi.NeedServe:
		does = "listens on " + k.address
	case abi.NeedHTTP:
		does = "sends requests to " + k.address
	case abi.NeedEnv:
		does = "reads the environment of the agent: " + list(k.names, "and")
	case abi.NeedExec:
		does = "runs " + k.address
	case abi.NeedNetwork:
		does = "reaches the network"
	case abi.NeedSecret:
		does = "is given secret." + strings.Join(k.names, ", secret.") + " in " + k.need.Value
	}
	return k.component + " " + does
}

// lines are what to write into the grant block. Names stand in one list each, which addNames makes.
func (k lack) lines() (lines []string) {
	switch k.need.Kind {
	case abi.NeedStdout:
		return []string{"stdout = true"}
	case abi.NeedNetwork:
		return []string{"network = true"}
	case abi.NeedDir:
		access := cmp.Or(k.need.Access, defaultAccess)
		for _, d := range k.dirs {
			lines = append(lines, fmt.Sprintf("dir %q {\n  path   = %q\n  access = %q\n}", k.need.Handle, d.Path, access))
		}
	case abi.NeedEnv, abi.NeedSecret:
	default:
		lines = append(lines, fmt.Sprintf("%s %q { %s = %q }", k.need.Kind, k.need.Handle, argumentOf(k.need.Kind), k.address))
	}
	return lines
}

// argumentOf is the one argument of a block within grant.
func argumentOf(kind string) string {
	switch kind {
	case abi.NeedHTTP:
		return "url"
	case abi.NeedExec:
		return "path"
	}
	return "address"
}

// names of the lists in a grant block, by the need that they are for.
var nameLists = []struct{ need, argument string }{{abi.NeedEnv, "env"}, {abi.NeedSecret, "secrets"}}

// missingGrants says what a plugin is not granted, and prints the lines to add.
func (l *loader) missingGrants(p *pluginBlock) {
	if len(p.lacks) == 0 {
		return
	}
	var reasons, lines []string
	for _, k := range p.lacks {
		reasons = append(reasons, "    "+k.reason())
		lines = append(lines, k.lines()...)
	}
	for _, names := range nameLists {
		lines = append(lines, p.addNames(names.need, names.argument)...)
	}
	slices.Sort(lines)
	grant := strings.Join(slices.Compact(lines), "\n")
	where := "its grant block"
	if p.child("grant").at == p.at { // nobody wrote one
		where, grant = "the plugin block", "grant {\n  "+strings.ReplaceAll(grant, "\n", "\n  ")+"\n}"
	}
	l.add("E3001", p.at, "The plugin %q is not granted what it asks for:\n\n%s\n\nTo allow it, add to %s:\n\n    %s",
		p.name(), strings.Join(slices.Compact(reasons), "\n"), where, strings.ReplaceAll(grant, "\n", "\n    "))
}

// addNames writes the list of an argument with what it lacks in it.
func (p *pluginBlock) addNames(need, argument string) []string {
	names := slices.Clone(p.names[need])
	for _, k := range p.lacks {
		if k.need.Kind == need {
			names = append(names, k.names...)
		}
	}
	if len(names) == len(p.names[need]) {
		return nil
	}
	slices.Sort(names)
	var quoted []string
	for _, n := range slices.Compact(names) {
		quoted = append(quoted, fmt.Sprintf("%q", n))
	}
	line := argument + " = [" + strings.Join(quoted, ", ") + "]"
	if len(p.names[need]) > 0 {
		line += " # in place of the one that is there"
	}
	return []string{line}
}
