// SPDX-License-Identifier: Apache-2.0

package kafkatest

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// patience is how long the brokers may take for one thing.
const patience = time.Minute

// Client is one that is not the plugins'.
func Client(t testing.TB, brokers []string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(brokers...), kgo.DisableClientMetrics(), kgo.MetadataMinAge(100 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// CreateTopic makes a topic, and waits until the brokers know of it.
func CreateTopic(t testing.TB, brokers []string, topic string, partitions int32) {
	t.Helper()
	client := Client(t, brokers)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, one := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = topic, partitions, 1
	req.Topics = append(req.Topics, one)
	for { // a broker that has just started takes none at first
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		if code := resp.Topics[0].ErrorCode; code == 0 || code == kerr.TopicAlreadyExists.Code {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for len(ends(ctx, client, topic)) < int(partitions) {
		if ctx.Err() != nil {
			t.Fatalf("the topic %q does not come", topic)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// ends are where the partitions of a topic end, for who reads what is committed.
func ends(ctx context.Context, client *kgo.Client, topic string) map[int32]int64 {
	meta, one := kmsg.NewPtrMetadataRequest(), kmsg.NewMetadataRequestTopic()
	one.Topic = kmsg.StringPtr(topic)
	meta.Topics = append(meta.Topics, one)
	described, err := meta.RequestWith(ctx, client)
	if err != nil || len(described.Topics) != 1 {
		return nil
	}
	list, asked := kmsg.NewPtrListOffsetsRequest(), kmsg.NewListOffsetsRequestTopic()
	list.IsolationLevel, asked.Topic = 1, topic
	for _, p := range described.Topics[0].Partitions {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = p.Partition, -1
		asked.Partitions = append(asked.Partitions, part)
	}
	list.Topics = append(list.Topics, asked)
	resp, err := list.RequestWith(ctx, client)
	if err != nil || len(resp.Topics) != 1 {
		return nil
	}
	found := map[int32]int64{}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode == 0 {
			found[p.Partition] = p.Offset
		}
	}
	return found
}

// Read reads a topic from its beginning to its end, as somebody who reads what is committed.
func Read(t testing.TB, brokers []string, topic string) (all []*kgo.Record) {
	t.Helper()
	client := Client(t, brokers, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	left := ends(ctx, client, topic)
	for p, end := range left {
		if end == 0 {
			delete(left, p)
		}
	}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the topic %q cannot be read to its end: %v", topic, left)
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
