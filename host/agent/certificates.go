// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
)

const (
	// certificatesTurn is how often the files of tls blocks are looked at, also while nobody connects.
	certificatesTurn = 10 * time.Second
	// expiresSoon is how long before its end a certificate is spoken of: two weeks, in which somebody is at work, or less for one that lives shortly:
	// what renews those does it when a third of their life is left, or more.
	expiresSoon = 14 * 24 * time.Hour
	soonPart    = 4 // of the life of a certificate
	// expiryAgain is how often it is said again.
	expiryAgain = 24 * time.Hour
)

// secured is a tls block with its files, which all share that name it.
type secured struct {
	block config.TLS // without its place
	files *endpoint.TLSFiles
}

// placeless is a block without its place, and so equal to one that says the same elsewhere.
func placeless(t *config.TLS) config.TLS {
	return config.TLS{Name: t.Name, Cert: t.Cert, Key: t.Key, CA: t.CA, Verify: t.Verify, MinVersion: t.MinVersion}
}

// secure opens the files of a block, or takes over those that are open.
func (a *Agent) secure(t *config.TLS, open ...secured) (secured, error) {
	block := placeless(t)
	for _, s := range open {
		if s.files != nil && s.block == block {
			return s, nil
		}
	}
	files, err := endpoint.OpenTLS(endpoint.TLSOptions{
		Cert: t.Cert, Key: t.Key, CA: t.CA, SkipVerify: !t.Verify, MinVersion: t.MinVersion, Log: a.opts.Log.With("tls", t.Name),
	})
	return secured{block, files}, err
}

// files are those of the component's block.
func (o *opener) files() (*endpoint.TLSFiles, error) {
	t := o.component.TLS
	s, err := o.revision.agent.secure(t, o.revision.secured[t.Name], o.before.secured[t.Name], o.revision.agent.guarded)
	if err != nil {
		return nil, err
	}
	o.revision.secured[t.Name] = s
	return s.files, nil
}

// inherit takes over the files of a component that does not change.
func (r *revision) inherit(before *revision, c config.Component) {
	if c.TLS == nil {
		return
	}
	if s, ok := before.secured[c.TLS.Name]; ok {
		r.secured[c.TLS.Name] = s
	}
}

// allSecured are the tls blocks that are in use, by their names.
func (a *Agent) allSecured() map[string]secured {
	all := map[string]secured{}
	if a.guarded.files != nil {
		all[a.guarded.block.Name] = a.guarded
	}
	if r := a.current(); r != nil {
		maps.Copy(all, r.secured)
	}
	return all
}

// certificates says how things stand with the tls blocks that are in use, in the order of their names.
func (a *Agent) certificates() []admin.TLS {
	all := a.allSecured()
	list := []admin.TLS{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, standing("tls."+name, all[name].files.State(), time.Now()))
	}
	return list
}

// standing puts the state of files in words.
func standing(block string, s endpoint.TLSState, now time.Time) admin.TLS {
	t := admin.TLS{Block: block, CertUntil: s.Cert.Until, CAUntil: s.CA.Until, Broken: s.Broken}
	for _, of := range []struct {
		what  string
		valid endpoint.Validity
	}{{"certificate", s.Cert}, {"ca", s.CA}} {
		end := of.valid.Until
		switch soon := min(expiresSoon, end.Sub(of.valid.From)/soonPart); {
		case end.IsZero():
		case !now.Before(end):
			t.Expiry = append(t.Expiry, fmt.Sprintf("its %s has expired at %s: connections are refused until a new one is in the place of the file", of.what, end.UTC().Format(time.RFC3339)))
		case end.Sub(now) <= soon:
			t.Expiry = append(t.Expiry, fmt.Sprintf("its %s expires at %s: put a new one in the place of the file, which is read again by itself", of.what, end.UTC().Format(time.RFC3339)))
		}
	}
	return t
}

// expiries says in the log which certificates end soon, again each day. It belongs to one goroutine.
type expiries struct {
	agent *Agent
	said  map[string]time.Time // by what was said
}

// run looks at the files until ctx ends: so what was written into them is known before somebody connects.
func (e *expiries) run(ctx context.Context) {
	turn := time.NewTicker(certificatesTurn)
	defer turn.Stop()
	for {
		for _, s := range e.agent.allSecured() {
			s.files.Look()
		}
		e.say(e.agent.certificates(), time.Now())
		select {
		case <-turn.C:
		case <-ctx.Done():
			return
		}
	}
}

// say says what is new, or was said long ago.
func (e *expiries) say(all []admin.TLS, now time.Time) {
	said := map[string]time.Time{}
	for _, t := range all {
		for _, what := range t.Expiry {
			key := t.Block + " " + what
			said[key] = e.said[key]
			if now.Sub(said[key]) >= expiryAgain {
				said[key] = now
				e.agent.opts.Log.Warn(what, "tls", t.Block)
			}
		}
	}
	e.said = said
}
