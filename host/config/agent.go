// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
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
		Labels:       v.pairs("labels"),
		Origin:       v.yes("origin"),
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
	if len(a.ID) > maxName {
		l.add("E1207", v.where("id"), "The id has %d characters; %d are the most.", len(a.ID), maxName)
	}
	l.agentLabels(v, a.Labels)
	if a.DataDir == "" {
		a.DataDir = defaultDataDir(a.Name)
	}
	a.DataDir = l.path(a.DataDir)
	l.http(v.child("http"), &a)
	return a
}

// knowsDataDir says whether mistakes leave no doubt about the agent's data directory.
func (l *loader) knowsDataDir() bool {
	blocks := l.blocks["agent"]
	switch len(blocks) {
	case 0:
		return !l.adrift
	case 1:
		return blocks[0].text("data_dir") != "" || !blocks[0].isSet("data_dir") && !blocks[0].broken
	}
	return false
}

// dataDirOfHalf finds the agent's data directory in what could be parsed. There it must stand as it is: whatever it would be made of may be missing.
func (l *loader) dataDirOfHalf(files *Sources) string {
	var blocks hcl.Blocks
	for _, name := range files.Names() {
		content, _, _ := files.files[name].Body.PartialContent(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "agent", LabelNames: []string{"name"}}}})
		blocks = append(blocks, content.Blocks...)
	}
	if len(blocks) != 1 {
		return ""
	}
	content, _, _ := blocks[0].Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "data_dir"}}})
	a := content.Attributes["data_dir"]
	if a == nil || a.Expr == nil || slices.ContainsFunc(l.diags, func(d *hcl.Diagnostic) bool {
		return d.Subject == nil || d.Subject.Filename == a.Range.Filename && d.Subject.Start.Line >= a.Range.Start.Line && d.Subject.Start.Line <= a.Range.End.Line
	}) {
		return ""
	}
	v, diags := a.Expr.Value(nil)
	if diags.HasErrors() || !v.IsKnown() || v.IsNull() || v.Type() != cty.String || v.AsString() == "" {
		return ""
	}
	return l.path(v.AsString())
}

// maxLabels bounds the labels of an agent, and maxLabel what one says: each scrape of its metrics has them all.
const (
	maxLabels = 32
	maxLabel  = 256
)

// agentLabel is what can be the name of a label of a metric as well.
var agentLabel = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

func (l *loader) agentLabels(v *values, labels map[string]string) {
	at := v.where("labels")
	if len(labels) > maxLabels {
		l.add("E1003", at, "The agent has %d labels; %d are the most.", len(labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		switch {
		case !agentLabel.MatchString(name) || len(name) > maxName:
			l.add("E1207", at, "%s cannot be the name of a label: letters, digits and _ make one, %d at most, and it begins with a letter, as in the metrics that show it.", quote(name), maxName)
		case name == "agent" || name == "id":
			l.add("E1207", at, "A label cannot be called %q: that is the agent's own.", name)
		case len(labels[name]) > maxLabel:
			l.add("E1003", at, "The label %q has %d bytes; %d are the most.", name, len(labels[name]), maxLabel)
		}
	}
}

// introduce lets expressions speak of the agent, when its block has been read.
func (l *loader) introduce() {
	v := l.one("agent")
	name := defaultAgentName
	if len(v.labels) > 0 {
		name = v.labels[0]
	}
	labels := make(map[string]cty.Value)
	for key, value := range v.pairs("labels") {
		labels[key] = cty.StringVal(value)
	}
	l.scope.agent = map[string]cty.Value{"name": cty.StringVal(name), "id": cty.StringVal(cmp.Or(v.text("id"), name)), "labels": cty.ObjectVal(labels)}
	for arg, broken := range map[string]bool{"id": v.args["id"].unknown, "labels": v.args["labels"].unknown || v.broken && v.isSet("labels")} {
		if broken {
			l.scope.agent[arg] = cty.DynamicVal
		}
	}
	l.scope.known = nil
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
