// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/penstock-io/penstock/host/address"
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
	Within      []address.Address // as of [DialOptions]
}

// HTTP makes a client of what lies below a URL: no proxy from the environment, no redirects, no cookies, no compression of its own, and
// connections only to addresses that [DialContext] reaches. CloseIdleConnections of its Client frees what it keeps.
func HTTP(a address.Address, o HTTPOptions) (plugin.HTTPClient, error) {
	base, err := url.Parse(a.String())
	if err != nil {
		return plugin.HTTPClient{}, fmt.Errorf("base URL: %w", err)
	}
	if o.MaxResponse <= 0 {
		o.MaxResponse = DefaultMaxResponse
	}
	if o.Exchange <= 0 {
		o.Exchange = DefaultExchange
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
	}
	transport := &http.Transport{
		DialContext:            DialContext(a, o.Within),
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
