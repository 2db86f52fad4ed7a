// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// maxRecords bounds the records of one delivery that the client holds: more than a batch of the largest size has.
	maxRecords = 1 << 20
	// linger is how long the client waits for records to make a batch of; the end of a delivery ends it.
	linger = 10 * time.Millisecond
	// defaultMaxMessage is below max.message.bytes of brokers as they are delivered, 1048588.
	defaultMaxMessage = 1_000_000
)

// sinkConfig is what both sinks have in common.
type sinkConfig struct {
	clusterConfig
	Topic       string   `json:"topic"`
	Key         string   `json:"key"`
	Headers     []string `json:"headers"`
	Compression string   `json:"compression"`
	MaxMessage  int      `json:"max_message"`
	Tombstones  bool     `json:"tombstones"`
}

// producer is what both sinks write with.
type producer struct {
	open    *sdk.Open
	cluster cluster
	options []kgo.Opt
	writer  recordWriter
	client  *kgo.Client // nil: to be opened

	written, rejected sdk.Counter
}

func (p *producer) configure(cfg *sinkConfig, read bool) (err error) {
	if p.cluster, err = cfg.cluster(read); err != nil {
		return err
	}
	if err := checkTopic("topic", cfg.Topic); err != nil {
		return err
	}
	if cfg.MaxMessage == 0 {
		cfg.MaxMessage = defaultMaxMessage
	}
	p.writer = recordWriter{topic: cfg.Topic, key: cfg.Key, maxMessage: cfg.MaxMessage, tombstones: cfg.Tombstones}
	if p.writer.headers, err = parseHeaders(cfg.Headers); err != nil {
		return err
	}
	codec, ok := map[string]kgo.CompressionCodec{"": kgo.Lz4Compression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[cfg.Compression]
	if !ok {
		return sdk.ConfigError("compression", `is %q, wanted "none", "gzip", "snappy", "lz4" or "zstd"`, cfg.Compression)
	}
	p.options = []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(codec),
		kgo.ProducerBatchMaxBytes(int32(cfg.MaxMessage)), kgo.MaxBufferedRecords(maxRecords), kgo.ProducerLinger(linger), kgo.ProduceRequestTimeout(cfg.Timeout),
	}
	return nil
}

func (p *producer) start(o *sdk.Open) {
	p.open = o
	p.written, p.rejected = o.Counter("kafka_records"), o.Counter("kafka_rejected_records")
}

// connect opens a client, and looks whether the topic is there.
func (p *producer) connect(more ...kgo.Opt) error {
	client, err := p.cluster.client(append(p.options[:len(p.options):len(p.options)], more...)...)
	if err != nil {
		return err
	}
	p.client = client
	topics, err := p.cluster.describe(client, p.writer.topic)
	if err == nil {
		err = p.cluster.explain(fmt.Sprintf("look at the topic %q", p.writer.topic), topics[p.writer.topic].err)
	}
	if err != nil {
		p.drop()
	}
	return err
}

// drop closes the client, and with it whatever it has under way. The next delivery opens another.
func (p *producer) drop() {
	if p.client != nil {
		p.client.Close()
		p.client = nil
	}
}

// errTime is what becomes of records that no broker has answered for in time. Nobody knows whether they were written.
var errTime = errors.New("the brokers have not taken it in time")

// send writes records and waits for what becomes of them. After errTime the client is closed.
func (p *producer) send(records []*kgo.Record) kgo.ProduceResults {
	done := make(chan kgo.ProduceResults, 1) // for one answer
	go func() { done <- p.client.ProduceSync(context.Background(), records...) }()
	timer := time.NewTimer(p.cluster.timeout)
	defer timer.Stop()
	select {
	case results := <-done:
		return results
	case <-timer.C:
	}
	p.client.Close() // whatever is buffered fails with it: a record that is on its way cannot be called back
	results := <-done
	p.client = nil
	for i := range results {
		if results[i].Err != nil {
			results[i].Err = errTime
		}
	}
	return results
}

// pointers are those of the records, as the client wants them.
func pointers(records []kgo.Record) []*kgo.Record {
	all := make([]*kgo.Record, len(records))
	for i := range records {
		all[i] = &records[i]
	}
	return all
}

// explain is that of the cluster, and knows what is said of time.
func (p *producer) explain(doing string, err error) error {
	if errors.Is(err, errTime) || errors.Is(err, kgo.ErrClientClosed) {
		cause := p.cluster.dials.problem()
		if cause == nil {
			return &sdk.Error{Code: abi.ETIMEOUT, Err: fmt.Errorf("%s: the brokers took longer than %v\nsee whether they are well, or raise timeout; it is tried again", doing, p.cluster.timeout)}
		}
		err = cause
	}
	return p.cluster.explain(doing, err)
}

// plainSink writes without transactions.
type plainSink struct{ producer }

// NewPlainSink makes the sink without transactions.
func NewPlainSink() sdk.Sink { return new(plainSink) }

// Check implements [sdk.Checker].
func (s *plainSink) Check(o *sdk.Open) error { return s.setup(o, false) }

func (s *plainSink) setup(o *sdk.Open, read bool) error {
	cfg := sinkConfig{Compression: "lz4", MaxMessage: defaultMaxMessage}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	return s.configure(&cfg, read)
}

// Open implements [sdk.Sink].
func (s *plainSink) Open(o *sdk.Open) error {
	s.start(o)
	if err := s.setup(o, true); err != nil {
		return err
	}
	return s.connect()
}

// Close implements [sdk.Closer].
func (s *plainSink) Close() error {
	s.drop()
	return nil
}

// Write implements [sdk.Sink].
func (s *plainSink) Write(_ event.Range, b event.Batch, d *sdk.Delivery) error {
	if s.client == nil {
		if err := s.connect(); err != nil {
			return err
		}
	}
	bad, err := s.writer.encode(b, d)
	s.rejected.Add(float64(bad))
	if err != nil || len(s.writer.records) == 0 {
		return err
	}
	all := pointers(s.writer.records)
	first, again := sort(s.send(all))
	if first != nil {
		s.drop()
		return s.explain(fmt.Sprintf("write to the topic %q", s.writer.topic), first)
	}
	s.written.Add(float64(len(all) - len(again)))
	return s.oneByOne(again, d)
}

// sort tells records that were refused for what is in their batch from an error that is about more than that.
func sort(results kgo.ProduceResults) (other error, refused map[*kgo.Record]bool) {
	for _, r := range results {
		if r.Err == nil {
			continue
		}
		if v, ok := judge(r.Err); !ok || v.fate != ofEvent {
			return r.Err, nil
		}
		if refused == nil {
			refused = map[*kgo.Record]bool{}
		}
		refused[r.Record] = true
	}
	return nil, refused
}

// oneByOne writes records that were refused together with others, and rejects those that are refused alone.
func (s *plainSink) oneByOne(again map[*kgo.Record]bool, d *sdk.Delivery) error {
	for i := range s.writer.records {
		r := &s.writer.records[i]
		if !again[r] {
			continue
		}
		result := s.send([]*kgo.Record{r})[0]
		switch v, ok := judge(result.Err); {
		case result.Err == nil:
			s.written.Add(1)
		case ok && v.fate == ofEvent:
			if err := d.Reject(s.writer.places[i], fmt.Errorf("the broker says: %w", said(result.Err))); err != nil {
				return err
			}
			s.rejected.Add(1)
		default:
			s.drop()
			return s.explain(fmt.Sprintf("write to the topic %q", s.writer.topic), result.Err)
		}
	}
	return nil
}
