// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what happens in milliseconds.
const patience = 30 * time.Second

// fake is a cluster in this process.
type fake struct {
	*kfake.Cluster // nil: it is a real one
	t              testing.TB
	addresses      []string
}

// maker makes a cluster with the topics in and out.
type maker func(t testing.TB, options ...kfake.Opt) *fake

// newFake starts brokers with topics of one partition each, unless the options say otherwise.
func newFake(t testing.TB, options ...kfake.Opt) *fake {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &fake{c, t, c.ListenAddrs()}
}

// config is what leads to the cluster, with what a test sets.
func (f *fake) config(more map[string]any) map[string]any {
	c := map[string]any{"brokers": f.addresses, "tls": "off"}
	maps.Copy(c, more)
	return c
}

// client is one that is not ours.
func (f *fake) client(options ...kgo.Opt) *kgo.Client {
	f.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.addresses...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	return client
}

// put writes values into a partition.
func (f *fake) put(topic string, index int32, values ...string) {
	f.t.Helper()
	client := f.client()
	defer client.Close()
	for _, v := range values {
		f.produce(client, &kgo.Record{Topic: topic, Partition: index, Value: []byte(v)})
	}
}

func (f *fake) produce(client *kgo.Client, r *kgo.Record) {
	f.t.Helper()
	if err := client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// read reads a topic from its beginning to its end, as somebody who reads what is committed.
func (f *fake) read(topic string) []*kgo.Record {
	f.t.Helper()
	client := f.client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeTopics(topic), kgo.KeepControlRecords())
	defer client.Close()
	var all []*kgo.Record
	left := f.ends(topic)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all
}

// ends are where partitions end of which something is there.
func (f *fake) ends(topic string) map[int32]int64 {
	f.t.Helper()
	client, k := f.client(), f.cluster()
	defer client.Close()
	topics, err := k.describe(client, topic)
	if err != nil || topics[topic].err != nil {
		f.t.Fatal(topic, err, topics[topic].err)
	}
	var all []partition
	for _, index := range topics[topic].partitions {
		all = append(all, partition{topic, index})
	}
	begin, err1 := k.bounds(client, all, atStart, false)
	end, err2 := k.bounds(client, all, atEnd, false)
	if err := errors.Join(err1, err2); err != nil {
		f.t.Fatal(err)
	}
	ends := map[int32]int64{}
	for at, o := range end {
		if o > begin[at] {
			ends[at.index] = o
		}
	}
	return ends
}

func (f *fake) cluster() cluster { return cluster{timeout: patience, dials: new(dials)} }

// ask sends a request that answers an error for a topic.
func (f *fake) ask(what string, request kmsg.Request) error {
	f.t.Helper()
	client := f.client()
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := client.Request(ctx, request)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	code := int16(0)
	switch r := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		code = r.Topics[0].ErrorCode
	case *kmsg.DeleteTopicsResponse:
		code = r.Topics[0].ErrorCode
	case *kmsg.CreatePartitionsResponse:
		code = r.Topics[0].ErrorCode
	case *kmsg.DeleteRecordsResponse:
		code = r.Topics[0].Partitions[0].ErrorCode
	}
	return kerr.ErrorForCode(code)
}

func (f *fake) createTopic(topic string, partitions int32, configs map[string]string) error {
	f.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = topic, partitions, 1
	for name, value := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, kmsg.StringPtr(value)
		one.Configs = append(one.Configs, c)
	}
	req.Topics = append(req.Topics, one)
	if err := f.ask("create "+topic, req); err != nil {
		return err
	}
	client := f.client()
	defer client.Close()
	topics, err := f.cluster().describe(client, topic)
	return errors.Join(err, topics[topic].err)
}

func (f *fake) deleteTopic(topic string) error {
	f.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	one := kmsg.NewDeleteTopicsRequestTopic()
	one.Topic = kmsg.StringPtr(topic)
	req.Topics, req.TopicNames = append(req.Topics, one), []string{topic}
	if err := f.ask("delete "+topic, req); err != nil {
		return err
	}
	client := f.client()
	defer client.Close()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if topics, err := f.cluster().describeNow(client, topic); err != nil || errors.Is(topics[topic].err, kerr.UnknownTopicOrPartition) {
			return err
		}
	}
	return errors.New("it is still there")
}

func (f *fake) deleteRecords(topic string, index int32, before int64) error {
	f.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	one, part := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	part.Partition, part.Offset = index, before
	one.Topic, one.Partitions = topic, append(one.Partitions, part)
	req.Topics = append(req.Topics, one)
	return f.ask("delete records of "+topic, req)
}

// grow gives a topic more partitions.
func (f *fake) grow(topic string, n int32) {
	f.t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	one := kmsg.NewCreatePartitionsRequestTopic()
	one.Topic, one.Count = topic, n
	req.Topics = append(req.Topics, one)
	if err := f.ask("grow "+topic, req); err != nil {
		f.t.Fatal(err)
	}
}

// values are those of records.
func values(records []*kgo.Record) string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return strings.Join(all, ",")
}

func openSource(t *testing.T, f *fake, more map[string]any) *sdktest.Source {
	t.Helper()
	c := map[string]any{"topics": []string{"in"}}
	maps.Copy(c, more)
	s := sdktest.OpenSource(t, New, f.config(c))
	s.Timeout = 50 * time.Millisecond
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// restart kills the source and opens it again where its cursor says.
func restart(t *testing.T, s *sdktest.Source) {
	t.Helper()
	_ = s.Close() // its client has goroutines, which a kill would end
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

// until polls and commits until there are so many events, and a moment longer.
func until(t *testing.T, s *sdktest.Source, n int) string {
	t.Helper()
	before := len(s.Events)
	for end := time.Now().Add(patience); len(s.Events)-before < n; {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.Commit()
		if time.Now().After(end) {
			t.Fatalf("of %d events %d came", n, len(s.Events)-before)
		}
	}
	for range 3 {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.Commit()
	}
	return strings.Join(sdktest.Bodies(s.Events[before:]), ",")
}

// fails polls until there is an error.
func fails(t *testing.T, s *sdktest.Source) error {
	t.Helper()
	return failsUnless(t, s, 1<<30)
}

// failsUnless polls until there is an error, or there are so many events.
func failsUnless(t *testing.T, s *sdktest.Source, n int) error {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, err := s.Poll()
		s.Commit()
		if err != nil || len(s.Events) >= n {
			return err
		}
	}
	t.Fatal("no error")
	return nil
}

// expect looks at an error's code and text.
func expect(t *testing.T, err error, code abi.Code, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("%v (%T), wanted code %s", err, err, code)
	}
	for _, p := range parts {
		if !strings.Contains(e.Error(), p) {
			t.Errorf("%q does not say %q", e.Error(), p)
		}
	}
}

// numbers are "0,1,…".
func numbers(from, to int) []string {
	all := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func joined(from, to int) string { return strings.Join(numbers(from, to), ",") }
