// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"strings"

	"github.com/penstock-io/penstock/spec/abi"
)

// trusted marks what nothing enforces.
const trusted = " (trusted)"

// Permissions says what the component may touch, a few words each, for people: "read /var/log/shop", "listen on tcp://:514".
// Of a plugin that runs as a child process, what nothing keeps it to is marked "(trusted)".
func (c Component) Permissions() []string {
	may, files, addresses := []string{}, "", ""
	switch {
	case c.Ref.Subprocess && c.Ref.Kept:
		may = append(may, "run as a child process, isolated")
		if slices.Contains(c.Needs, abi.NeedNetwork) {
			addresses = trusted
		}
	case c.Ref.Subprocess:
		files, addresses = trusted, trusted
		may = append(may, "run as a child process, outside of the sandbox"+trusted)
		if c.Ref.TrustedWith != "" {
			may = append(may, "trusted with "+c.Ref.TrustedWith)
		}
	}
	for _, d := range c.Dirs {
		does := "read "
		if d.Write {
			does = "read and write "
		}
		may = append(may, does+d.Path+files)
	}
	for _, h := range c.Handles {
		may = append(may, handleWords[h.Kind]+h.Address.String()+h.pattern()+addresses)
	}
	for _, path := range c.Programs {
		may = append(may, "run "+path+files)
	}
	for _, name := range c.Env {
		may = append(may, "read the environment variable "+name)
	}
	for _, name := range c.Secrets {
		may = append(may, "know secret."+name)
	}
	for _, need := range c.Needs {
		switch need {
		case abi.NeedStdout:
			may = append(may, "write to standard output")
		case abi.NeedNetwork:
			may = append(may, "reach the network"+trusted)
		}
	}
	if c.Ref.Trusted {
		may = append(may, "use the processor without a bound")
	}
	return may
}

// pattern says by which patterns the address is granted, if it is by no more than those: then not all that it may resolve to is within.
func (h Handle) pattern() string {
	var patterns []string
	for _, g := range h.Grants {
		if !g.Pattern() {
			return ""
		}
		patterns = append(patterns, g.Host)
	}
	if len(patterns) == 0 {
		return ""
	}
	return " within " + strings.Join(patterns, " or ")
}

var handleWords = map[string]string{
	abi.NeedDial: "connect to ", abi.NeedListen: "listen on ", abi.NeedServe: "serve HTTP on ", abi.NeedHTTP: "send requests to ",
}
