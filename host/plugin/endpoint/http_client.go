// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// Limits of an HTTP client, where nothing else is said.
const (
	// DefaultMaxResponse bounds the body of a response, in bytes: what a sink is told is short, and what a source fetches is in pages.
	DefaultMaxResponse = 64 << 20
	// DefaultExchange bounds a request with its response, whatever the plugin asks for.
	DefaultExchange = 10 * time.Minute
	// maxResponseHeader bounds the headers of a response, in bytes.
	maxResponseHeader = 64 << 10
	// maxClientConns is how many connections all instances of a component may have together; requests beyond wait for one.
	maxClientConns = 64
	// maxClientIdle is how many are kept between requests: one each for as many instances as there are, as a rule.
	maxClientIdle = 16
	// httpKeep is how long they are kept.
	httpKeep = 90 * time.Second
)

// HTTPOptions say how to send requests. Zero means the default.
type HTTPOptions struct {
	TLS         *tls.Config // of https; nil: the system's roots
	MaxResponse int64       // bytes of a response's body
	Exchange    time.Duration
}

// HTTP makes a client of what lies below baseURL: no proxy from the environment, no redirects, no cookies, no compression of its own, and
// connections only to addresses that [DialContext] reaches. CloseIdleConnections of its Client frees what it keeps.
func HTTP(baseURL string, o HTTPOptions) (plugin.HTTPClient, error) {
	base, err := parseBase(baseURL)
	if err != nil {
		return plugin.HTTPClient{}, err
	}
	if o.MaxResponse <= 0 {
		o.MaxResponse = DefaultMaxResponse
	}
	if o.Exchange <= 0 {
		o.Exchange = DefaultExchange
	}
	host := base.Hostname()
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	transport := &http.Transport{
		DialContext:            DialContext(host),
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    abi.DefaultHandshake,
		DisableCompression:     true,
		MaxConnsPerHost:        maxClientConns,
		MaxIdleConnsPerHost:    maxClientIdle,
		IdleConnTimeout:        httpKeep,
		MaxResponseHeaderBytes: maxResponseHeader,
		Protocols:              new(http.Protocols),
	}
	transport.Protocols.SetHTTP1(true) // a request each, so that one slow answer holds up no other
	return plugin.HTTPClient{
		Base: base, MaxResponse: o.MaxResponse,
		Client: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       o.Exchange,
		},
	}, nil
}

// parseBase reads an absolute URL of http or https that has no query: what is below it is a path.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, fmt.Errorf("base URL: %w", errors.Unwrap(err))
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("base URL %q: it begins with http:// or https://", u.Redacted())
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("base URL %q: it names no host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("base URL %q: a password in it would be logged; give it to the plugin as a secret", u.Redacted())
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("base URL %q: leave out what begins with ? or #", u.Redacted())
	}
	if _, err := (plugin.HTTPClient{Base: &url.URL{}}).URL(u.EscapedPath()); err != nil {
		return nil, fmt.Errorf("base URL %q: %w", s, err)
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}
