// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/spec/abi"
)

// TLS says how connections are encrypted. Its files, in PEM form, are read when the agent starts.
type TLS struct {
	Name       string
	Cert, Key  string // absolute paths; "" = none
	CA         string // absolute path; "" = the system's
	Verify     bool   // who dials checks the certificate of whom it reaches
	MinVersion string // "1.2", "1.3"
	DeclRange  hcl.Range
}

const tlsReference = "tls"

func (l *loader) declareTLS() {
	for _, v := range l.blocks["tls"] {
		if l.tls[v.name()] != nil {
			continue // reported as a name used twice
		}
		t := &TLS{Name: v.name(), Verify: v.yes("verify"), MinVersion: v.text("min_version"), DeclRange: v.at}
		l.tls[v.name()] = t
		for argument, path := range map[string]*string{"cert": &t.Cert, "key": &t.Key, "ca": &t.CA} {
			if text := v.text(argument); v.isSet(argument) && !v.broken && !l.emptyPath(text, v.where(argument)) {
				*path = l.path(text)
			}
		}
		switch {
		case v.broken:
		case v.isSet("cert") && !v.isSet("key"):
			l.add("E1204", v.at, "A tls block with a cert needs the argument %q, the private key of that certificate.", "key")
		case v.isSet("key") && !v.isSet("cert"):
			l.add("E1204", v.at, "A tls block with a key needs the argument %q, the certificate for that key.", "cert")
		}
		if !v.broken && !t.Verify {
			l.add("W3004", v.where("verify"), "Who connects with tls.%s takes any certificate, and so may talk to somebody else.", t.Name)
		}
	}
}

// tlsOf is the block that a source or sink names, or nil; ok is false when it was reported to name none.
func (l *loader) tlsOf(v *values) (t *TLS, ok bool) {
	expr := v.args["tls"].expr
	if expr == nil {
		return nil, true
	}
	name, ok := l.reference(expr, tlsReference, slices.Sorted(maps.Keys(l.tls)))
	return l.tls[name], ok
}

// checkTLS looks whether what is to listen with TLS has a certificate. Who dials needs none: it trusts whom the system trusts.
func (g *granter) checkTLS(kind string, a address.Address, at hcl.Range) {
	if !a.Secure() || kind == abi.NeedDial || kind == abi.NeedHTTP || !g.tlsKnown {
		return
	}
	c := g.component
	switch {
	case c.TLS == nil:
		g.add("E3006", at, "%s listens on %s, and no tls block says with which certificate. Add tls = tls.NAME to it, and a block:\n\n"+
			"    tls \"NAME\" {\n      cert = \"/etc/penstock/tls/cert.pem\"\n      key  = \"/etc/penstock/tls/key.pem\"\n    }", c.Address(), a)
	case c.TLS.Cert == "":
		g.add("E3006", c.TLS.DeclRange, "%s listens on %s with tls.%s, which has neither cert nor key.", c.Address(), a, c.TLS.Name)
	}
}

// unusedTLS warns of a tls block for addresses of which none is encrypted.
func (l *loader) unusedTLS(c *Component, v *values) {
	if c.TLS == nil || slices.ContainsFunc(c.Handles, func(h Handle) bool { return h.Address.Secure() }) {
		return
	}
	l.add("W3003", v.where("tls"), "No address of %s is encrypted, so tls.%s has no effect. An address with TLS begins with tls:// or https://.", c.Address(), c.TLS.Name)
}
