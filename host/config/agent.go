// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"net"
	"slices"
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
	l.http(v.child("http"), &a)
	return a
}

// http reads who may ask over HTTP. An address that others reach needs somebody who asks them who they are, over a connection that nobody else reads.
func (l *loader) http(v *values, a *Agent) {
	known := true
	if expr := v.args["token"].expr; expr != nil {
		a.Token, known = l.reference(expr, secretReference, slices.Sorted(maps.Keys(l.secrets)))
	}
	t, ok := l.tlsOf(v)
	if a.TLS = t; t != nil && t.Cert == "" {
		l.add("E3006", v.where("tls"), "The agent's HTTP server is to use tls.%s, which has neither cert nor key.", t.Name)
		ok = false
	}
	address := v.text("listen")
	if address == "" {
		return
	}
	host, port, err := net.SplitHostPort(address)
	if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 0 || n > 65535 {
		l.add("E1304", v.where("listen"), `The argument "listen" must be host:port, such as %q; this is %s.`, defaultListen, quote(address))
		return
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() || !known || !ok || a.Guarded() {
		return
	}
	lacks := "Nobody would be asked who he is: give it token = secret.NAME, or a tls block with a ca"
	if t == nil {
		lacks = "Give it tls = tls.NAME, and token = secret.NAME or a tls block with a ca"
	}
	l.add("E3003", v.where("listen"), `Anyone who reaches %s could read what this agent does. %s; or listen on this machine alone, such as %q.`, address, lacks, net.JoinHostPort("127.0.0.1", port))
}

// Guarded says whether others than this machine may connect: nobody reads along, and they must show a token or a certificate.
func (a Agent) Guarded() bool { return a.TLS != nil && (a.Token != "" || a.TLS.CA != "") }
