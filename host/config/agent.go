// SPDX-License-Identifier: Apache-2.0

package config

import (
	"net"
	"strconv"
	"time"
)

const languageVersion = 1

// penstock checks what the configuration asks of the agent.
func (l *loader) penstock() {
	v := l.one("penstock")
	if n := v.number("language"); v.isSet("language") && n != languageVersion && !v.broken {
		l.add("E1103", v.where("language"), "This is written in version %d of the language; this agent knows version %d.", n, languageVersion)
	}
	want := v.text("required_version")
	if want == "" {
		return
	}
	ok, err := satisfies(l.opts.Version, want)
	switch {
	case err != nil:
		l.add("E1304", v.where("required_version"), "The argument %q %v.", "required_version", err)
	case !ok:
		l.add("E1103", v.where("required_version"), "This is for penstock %s; this agent is %s.", want, l.opts.Version)
	}
}

func (l *loader) agent() Agent {
	v := l.one("agent")
	a := Agent{
		Name:         defaultAgentName,
		ID:           v.text("id"),
		DataDir:      v.text("data_dir"),
		DrainTimeout: time.Duration(v.number("drain_timeout")),
		Probation:    time.Duration(v.number("probation")),
		Listen:       v.child("http").text("listen"),
		LogLevel:     v.child("log").text("level"),
		LogFormat:    v.child("log").text("format"),
	}
	if len(v.labels) > 0 {
		a.Name = v.labels[0]
	}
	if a.ID == "" {
		a.ID = a.Name
	}
	if a.DataDir == "" {
		a.DataDir = defaultDataDir(a.Name)
	}
	a.DataDir = l.path(a.DataDir)
	l.listen(v.child("http"))
	return a
}

// listen refuses an address that others can reach: there is nothing yet that would ask them who they are.
func (l *loader) listen(v *values) {
	address := v.text("listen")
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		l.add("E1304", v.where("listen"), `The argument "listen" must be host:port, such as %q; this is %s.`, defaultListen, quote(address))
		return
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		l.add("E3003", v.where("listen"), `Anyone who reaches %s could read and steer this agent. Listen on this machine alone, such as %q, and let a proxy that checks who asks pass it on.`,
			address, net.JoinHostPort("127.0.0.1", port))
	}
}
