// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/plugins/kafka/kafkatest"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	benchEvents = 400_000
	benchBatch  = 4000 // as many as a delivery has
	benchSize   = 256
)

// BenchmarkSinks writes lines of 256 bytes, 4000 a delivery, beside a bare client that writes as much in each of its transactions.
func BenchmarkSinks(b *testing.B) {
	broker := kafkatest.Start(b)
	addresses := []string{broker.Address}
	var batches []event.Batch
	for n := 0; n < benchEvents; n += benchBatch {
		var w event.Builder
		w.Limit = event.MaxBatch
		for i := range benchBatch {
			if err := w.Append(event.Event{Time: time.Now().UnixNano(), Body: fmt.Appendf(nil, "%0*d", benchSize, n+i)}); err != nil {
				b.Fatal(err)
			}
		}
		batches = append(batches, w.Batch().WithBase(event.Offset(n)))
	}
	for name, create := range map[string]func() sdk.Sink{"kafka": NewSink, "kafka_plain": NewPlainSink} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				topic := fmt.Sprint(name, time.Now().UnixNano())
				kafkatest.CreateTopic(b, addresses, topic, 1)
				kafkatest.CreateTopic(b, addresses, topic+"-bare", 1)
				s := sdktest.NewSink(b, create)
				s.Stream = topic
				s.Configure(map[string]any{"brokers": addresses, "tls": "off", "topic": topic, "create": true})
				if err := s.Restart(); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				for _, one := range batches {
					if err := s.Hand(event.Range{First: one.Base(), Next: one.Base() + benchBatch}, one); err != nil {
						b.Fatal(err)
					}
				}
				ours := time.Since(start)
				_ = s.Close()
				theirs := bareWriter(b, addresses, topic+"-bare", name == "kafka", batches)
				b.ReportMetric(benchEvents/ours.Seconds(), "events/s")
				b.ReportMetric(benchEvents/theirs.Seconds(), "bare-events/s")
				b.ReportMetric(theirs.Seconds()/ours.Seconds(), "of-bare")
			}
		})
	}
}

func bareWriter(b *testing.B, addresses []string, topic string, transactions bool, batches []event.Batch) time.Duration {
	options := []kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.Lz4Compression()), kgo.ProducerBatchMaxBytes(defaultMaxMessage),
		kgo.MaxBufferedRecords(maxRecords), kgo.ProducerLinger(linger)}
	if transactions {
		options = append(options, kgo.TransactionalID(topic))
	}
	client := kafkatest.Client(b, addresses, options...)
	defer client.Close()
	ctx := context.Background()
	write := func(batch event.Batch) error {
		records := make([]*kgo.Record, 0, batch.Len())
		for _, e := range batch.All() {
			records = append(records, &kgo.Record{Value: e.Body})
		}
		if !transactions {
			return client.ProduceSync(ctx, records...).FirstErr()
		}
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		return client.EndTransaction(ctx, kgo.TryCommit)
	}
	if err := write(batches[0]); err != nil { // connects
		b.Fatal(err)
	}
	start := time.Now()
	for _, one := range batches {
		if err := write(one); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// BenchmarkSource reads such lines, beside a bare client.
func BenchmarkSource(b *testing.B) {
	broker := kafkatest.Start(b)
	addresses := []string{broker.Address}
	kafkatest.CreateTopic(b, addresses, "in", 4)
	client := kafkatest.Client(b, addresses, kgo.DefaultProduceTopic("in"), kgo.MaxBufferedRecords(maxRecords))
	for n := range benchEvents {
		client.Produce(context.Background(), &kgo.Record{Value: fmt.Appendf(nil, "%0*d", benchSize, n)}, nil)
	}
	if err := client.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	client.Close()
	for range b.N {
		ours, theirs := readAll(b, addresses), bareReader(b, addresses)
		b.ReportMetric(benchEvents/ours.Seconds(), "events/s")
		b.ReportMetric(benchEvents/theirs.Seconds(), "bare-events/s")
		b.ReportMetric(theirs.Seconds()/ours.Seconds(), "of-bare")
	}
}

// readAll has the source read the topic, with a host that does nothing but count.
func readAll(b *testing.B, addresses []string) time.Duration {
	n := 0
	host := sdk.Host{
		Emit: func(batch []byte) int64 {
			c, err := event.Copy(event.Heap{}, batch, event.MaxBatch)
			if err != nil {
				b.Error(err)
			}
			n += c.Len()
			return 1
		},
		Cursor: func(string, []byte) abi.Code { return abi.OK },
		Fail:   func(code abi.Code, _ time.Duration, _, message string) { b.Error(code, message) },
		Log:    func(int, []byte) {}, Metric: func(int, string, float64) {}, Now: func() int64 { return time.Now().UnixNano() },
	}
	guest := sdk.NewGuest(map[string]sdk.Plugin{"kafka": {Source: New}}, host)
	config := fmt.Appendf(nil, `{"brokers":[%q],"tls":"off","topics":["in"]}`, addresses[0])
	start := time.Now()
	request := abi.OpenRequest{Plugin: "kafka", Kind: abi.Source, Config: config, Instance: abi.Instance{Count: 1}}
	doc, err := request.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	copy(guest.Alloc(len(doc)), doc)
	if code := guest.Open(len(doc)); code < 0 {
		b.Fatal(code)
	}
	defer guest.Close()
	for n < benchEvents {
		if code := guest.Poll(benchBatch, event.DefaultBatch, 250*time.Millisecond); code < 0 {
			b.Fatal(code)
		}
	}
	return time.Since(start)
}

func bareReader(b *testing.B, addresses []string) time.Duration {
	start := time.Now()
	client := kafkatest.Client(b, addresses, kgo.ConsumeTopics("in"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchPartitionBytes), kgo.MaxConcurrentFetches(fetchesAhead))
	defer client.Close()
	for n := 0; n < benchEvents; {
		n += client.PollRecords(context.Background(), benchBatch).NumRecords()
	}
	return time.Since(start)
}
