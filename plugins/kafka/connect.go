// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/penstock-io/penstock/sdk"
)

const (
	// connectTimeout is how long one attempt to connect may take.
	connectTimeout = 10 * time.Second
	// keepAlive finds out that a broker's machine has gone.
	keepAlive = 15 * time.Second
	// maxBrokers is how many the manifest can show; those that a cluster has beyond them it tells of itself.
	maxBrokers = 5
	// requestRetries bounds how often the client asks again by itself: what is above it is tried again by the agent, which says so.
	requestRetries = 3
	// metadataAge is how often the client asks at most where partitions are: what has moved, or was just made, is found within that.
	metadataAge = time.Second
	// maxRead bounds an answer of a broker, which comes before anything is known about it.
	maxRead = 64 << 20
)

// clusterConfig is what source and sinks have in common.
type clusterConfig struct {
	Brokers  []string      `json:"brokers"`
	SASL     string        `json:"sasl"`
	User     string        `json:"user"`
	Password string        `json:"password"`
	TLS      string        `json:"tls"`
	CA       string        `json:"tls_ca"`
	Cert     string        `json:"tls_cert"`
	Key      string        `json:"tls_key"`
	Timeout  time.Duration `json:"timeout"`
}

// cluster is where to connect to.
type cluster struct {
	options []kgo.Opt
	brokers string // for messages
	timeout time.Duration
	dials   *dials
}

// dials keeps why the last attempt to connect to a broker did not work: a request that is over in time says only that.
type dials struct {
	mu   sync.Mutex
	last error
}

// OnBrokerConnect implements [kgo.HookBrokerConnect].
func (d *dials) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = err
}

func (d *dials) problem() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// cluster checks the config. Certificates are read with it: read is false where there is no I/O.
func (c *clusterConfig) cluster(read bool) (cluster, error) {
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if len(c.Brokers) == 0 || len(c.Brokers) > maxBrokers {
		return cluster{}, sdk.ConfigError("brokers", "has %d entries, wanted 1 to %d: some brokers to begin with, such as [\"kafka1:9092\"]; they tell of the others", len(c.Brokers), maxBrokers)
	}
	for _, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			return cluster{}, sdk.ConfigError("brokers", "has %q, wanted HOST:PORT", b)
		}
	}
	k := cluster{brokers: strings.Join(c.Brokers, ", "), timeout: c.Timeout, dials: new(dials)}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: keepAlive}
	dial := dialer.DialContext
	encrypt, err := c.tls(read)
	if err != nil {
		return cluster{}, err
	}
	if encrypt != nil {
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			t := encrypt.Clone()
			t.ServerName, _, _ = net.SplitHostPort(address) // each broker shows a certificate of its own
			return (&tls.Dialer{NetDialer: dialer, Config: t}).DialContext(ctx, network, address)
		}
	}
	k.options = []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("penstock"), kgo.Dialer(dial), kgo.WithHooks(k.dials),
		kgo.RequestRetries(requestRetries), kgo.RetryTimeout(c.Timeout), kgo.BrokerMaxReadBytes(maxRead), kgo.MetadataMinAge(metadataAge), kgo.DisableClientMetrics(),
	}
	mechanism, err := c.mechanism()
	if err != nil {
		return cluster{}, err
	}
	if mechanism != nil {
		k.options = append(k.options, kgo.SASL(mechanism))
	}
	return k, nil
}

// mechanism is how the client says who it is; nil: it does not.
func (c *clusterConfig) mechanism() (sasl.Mechanism, error) {
	if c.SASL == "" || c.SASL == "none" {
		if c.User != "" || c.Password != "" {
			return nil, sdk.ConfigError("sasl", `is "none", and there is a user or a password: write sasl = "scram-sha-512", or whatever the brokers take`)
		}
		return nil, nil
	}
	if c.User == "" {
		return nil, sdk.ConfigError("user", "is empty, wanted the one to log in as")
	}
	switch c.SASL {
	case "plain":
		if c.TLS == "off" {
			return nil, sdk.ConfigError("sasl", `is "plain" with tls = "off": everybody on the way could read the password`+"\n"+`encrypt, or write sasl = "scram-sha-512"`)
		}
		return plain.Auth{User: c.User, Pass: c.Password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: c.User, Pass: c.Password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: c.User, Pass: c.Password}.AsSha512Mechanism(), nil
	}
	return nil, sdk.ConfigError("sasl", `is %q, wanted "none", "plain", "scram-sha-256" or "scram-sha-512"`, c.SASL)
}

// tls is nil where nothing is encrypted.
func (c *clusterConfig) tls(read bool) (*tls.Config, error) {
	return sdk.ClientTLS{Mode: c.TLS, CA: c.CA, Cert: c.Cert, Key: c.Key}.Config(read)
}

// client makes a client with options beside those of the cluster. It connects when it is first asked for something.
func (k cluster) client(more ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(k.options[:len(k.options):len(k.options)], more...)...)
	if err != nil {
		return nil, sdk.ConfigError("", "prepare the client: %w", err)
	}
	return client, nil
}

// within is the time that one thing may take.
func (k cluster) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), k.timeout)
}
