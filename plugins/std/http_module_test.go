// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// collector is an HTTP server that keeps what it is sent, by the directory that the sink's case is tried in.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	sent map[string][]byte
}

func newCollector(tb testing.TB) *collector {
	c := &collector{sent: map[string][]byte{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.sent[r.URL.Path]) > 1<<20 {
			return // it is looked whether memory grows, not what comes
		}
		c.sent[r.URL.Path] = append(c.sent[r.URL.Path], body...)
	}))
	tb.Cleanup(c.Close)
	return c
}

// grant is the server as the handle that the sink asks for.
func (c *collector) grant(tb testing.TB, path string) plugin.Grants {
	base, err := url.Parse(c.URL + path)
	if err != nil {
		tb.Fatal(err)
	}
	return plugin.Grants{HTTP: map[string]plugin.HTTPClient{"url": {Base: base, Client: c.Client(), MaxResponse: 1 << 20}}}
}

func (c *collector) stored(dir string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var bodies []string
	for line := range bytes.Lines(c.sent[dir]) {
		var body string
		if err := json.Unmarshal(line, &body); err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		bodies = append(bodies, body)
	}
	return bodies, nil
}

// requests are n requests of a line each, for one instance after the other; they end with the test.
func requests(tb testing.TB, n int) <-chan *plugin.Exchange {
	all := make(chan *plugin.Exchange)
	go func() {
		for i := range n {
			ex := &plugin.Exchange{
				Request: httptest.NewRequest(http.MethodPost, "/", nil), Body: fmt.Appendf(nil, "line %d", i), Answer: func(int, http.Header, []byte) {},
			}
			select {
			case all <- ex:
			case <-tb.Context().Done():
			}
		}
	}()
	return all
}

func TestThePluginsOfHTTPKeepTheContract(t *testing.T) { inBoth(t, withHTTP) }

func withHTTP(t *testing.T, p plugin.Plugin) {
	c := newCollector(t)
	plugintest.Run(t, p,
		plugintest.Case{Kind: abi.Source, Name: "http", BadConfig: `{"path":"in"}`, Events: 50,
			Setup: func(string) (plugintest.Opening, error) {
				return plugintest.Opening{Config: `{"format":"lines"}`, Grants: plugin.Grants{Serve: requests(t, 50)}}, nil
			}},
		plugintest.Case{Kind: abi.Sink, Name: "http", BadConfig: `{"headers":{"host":"x"}}`,
			Setup: func(dir string) (plugintest.Opening, error) {
				return plugintest.Opening{Config: `{}`, Grants: c.grant(t, dir)}, nil
			},
			Stored: c.stored},
	)
}

// The largest batch takes the most processor time: it must stay within what a delivery may have.
func TestALargeBatchGoesOutByHTTPWithinItsBudget(t *testing.T) {
	p := loadModule(t)
	c := newCollector(t)
	w := event.Builder{Limit: event.DefaultBatch}
	body := []byte(`{"time":"2026-11-26T10:15:00Z","level":"info","message":"` + strings.Repeat("some text ", 20) + `"}`)
	for w.Append(event.Event{Body: body}) == nil {
	}
	for _, config := range []map[string]any{{"compression": "gzip"}, {"format": "json", "content": "object", "compression": "gzip"}} {
		in, err := p.Open(t.Context(), abi.Sink, plugin.Request{
			Component: "sink.large", Plugin: "http", Config: json.RawMessage(asJSON(config)), Instance: abi.Instance{Count: 1},
			Stream: "s", Incarnations: []abi.Incarnation{{ID: 1}}, Grants: c.grant(t, "/"), Buffers: event.Heap{},
		})
		if err != nil {
			t.Fatal(err)
		}
		before := cpu(t)
		r := event.Range{Next: event.Offset(w.Len())}
		if _, err := in.Sink.Write(t.Context(), r, w.Batch()); err != nil {
			t.Errorf("%v: %v", config, err)
		}
		t.Logf("%v: %d events of %d bytes took %v of processor time", config, w.Len(), w.Size(), cpu(t)-before)
		if err := in.Sink.Close(); err != nil {
			t.Error(err)
		}
	}
}
