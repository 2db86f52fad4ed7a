// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TLS is how things stand with the files of a tls block that is in use.
type TLS struct {
	Block     string    `json:"block"`               // "tls.front"
	CertUntil time.Time `json:"cert_until,omitzero"` // when the certificate in use ends; zero: there is none
	CAUntil   time.Time `json:"ca_until,omitzero"`   // when the last of the authorities in use ends; zero: they are the system's
	Broken    string    `json:"broken,omitempty"`    // why the files cannot be used as they are, so that what they said before is
	Expiry    []string  `json:"expiry,omitempty"`    // what has expired, or will soon
}

// tlsCollector looks at the files of tls blocks when someone scrapes.
type tlsCollector struct {
	until, broken *prometheus.Desc
	read          atomic.Pointer[func() []TLS]
}

func newTLSCollector() *tlsCollector {
	return &tlsCollector{
		until: prometheus.NewDesc(namespace+"_tls_expiry_timestamp_seconds",
			"When the certificate that a tls block has in use expires (file=cert), and the last of its authorities (file=ca), in seconds since 1970.", []string{"tls", "file"}, nil),
		broken: prometheus.NewDesc(namespace+"_tls_files_broken",
			"1 while the files of a tls block cannot be used as they are, so that what they said before is; else 0.", []string{"tls"}, nil),
	}
}

// TLS makes each scrape read how things stand with the tls blocks.
func (m *Metrics) TLS(read func() []TLS) { m.tls.read.Store(&read) }

// Describe implements [prometheus.Collector].
func (c *tlsCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.until
	out <- c.broken
}

// Collect implements [prometheus.Collector].
func (c *tlsCollector) Collect(out chan<- prometheus.Metric) {
	read := c.read.Load()
	if read == nil {
		return
	}
	for _, t := range (*read)() {
		name := strings.TrimPrefix(t.Block, "tls.")
		for _, of := range []struct {
			file  string
			until time.Time
		}{{"cert", t.CertUntil}, {"ca", t.CAUntil}} {
			if !of.until.IsZero() {
				out <- prometheus.MustNewConstMetric(c.until, prometheus.GaugeValue, float64(of.until.Unix()), name, of.file)
			}
		}
		broken := 0.0
		if t.Broken != "" {
			broken = 1
		}
		out <- prometheus.MustNewConstMetric(c.broken, prometheus.GaugeValue, broken, name)
	}
}
