// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// ledgerPartition is the one that all records are in: which it is must not change when the topic gets more.
	ledgerPartition = 0
	// maxRanges bounds what one record lists, which is 1 MB with the longest numbers. There is one for each gap, which pruning takes away every minute.
	maxRanges = 20_000
	// ledgerPage is how many records are looked at between two looks at the clock.
	ledgerPage = 10_000
)

// ledger is what a topic says of which ranges of a stream were delivered. Each transaction writes a record into it before it is committed, which
// claims its range, and lists all that is known to be held. So the last committed record of each connection says everything, and the topic is
// compacted by connection.
//
// The ledger reads what is not committed too, since the order of claims decides between connections: of two that overlap, the earlier counts if
// it is committed, and the later waits until that is known. A claim is on the brokers before its transaction is committed, and a range
// is handed to somebody else only after whoever had it has ended; so whoever claims it next has every earlier claim before its own.
type ledger struct {
	cluster cluster
	topic   string
	stream  string

	next    int64             // offset up to which it was read
	pending map[int64][]claim // by producer id: not decided yet
	held    map[string][]span // by incarnation: in order, apart
	low     event.Offset      // nothing below it comes again
	foreign bool              // somebody else writes to the topic, which was said
	said    func(msg string, a ...any)
}

// span is a range as it stands in a record: first, next.
type span [2]event.Offset

// claim is a record of the ledger.
type claim struct {
	Stream      string            `json:"stream"`
	Incarnation string            `json:"incarnation,omitempty"`
	First       event.Offset      `json:"first"`
	Next        event.Offset      `json:"next"`
	Held        map[string][]span `json:"held,omitempty"`

	offset int64
}

func newLedger(k cluster, topic, stream string) ledger {
	return ledger{cluster: k, topic: topic, stream: stream, pending: map[int64][]claim{}, held: map[string][]span{}}
}

// record is the claim of a range by a connection.
func (l *ledger) record(connection int, incarnation string, r event.Range) (*kgo.Record, error) {
	c := claim{Stream: l.stream, Incarnation: incarnation, First: r.First, Next: r.Next, Held: l.held}
	n := 0
	for _, spans := range l.held {
		n += len(spans)
	}
	if n > maxRanges {
		return nil, sdk.Retry(fmt.Errorf("%d ranges with gaps between them are held, and %s lists %d at most\nit is tried again when the channel has told which of them cannot come again", n, l.topic, maxRanges), 0)
	}
	value, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode a range: %w", err)
	}
	return &kgo.Record{Topic: l.topic, Partition: ledgerPartition, Key: []byte(l.stream + "#" + strconv.Itoa(connection)), Value: value}, nil
}

// readTo reads until a record of that offset was seen. The client reads the topic's partition.
func (l *ledger) readTo(ctx context.Context, client *kgo.Client, offset int64) error {
	for l.next <= offset {
		if err := l.readSome(ctx, client); err != nil {
			return err
		}
	}
	return nil
}

// readSome reads what comes next, at least one record.
func (l *ledger) readSome(ctx context.Context, client *kgo.Client) error {
	fetches := client.PollRecords(ctx, ledgerPage)
	for _, e := range fetches.Errors() {
		if ctx.Err() != nil {
			return l.cluster.explain("read the topic "+l.topic, ctx.Err())
		}
		if _, lost := errors.AsType[*kgo.ErrDataLoss](e.Err); !lost {
			return l.cluster.explain("read the topic "+l.topic, e.Err)
		}
		return sdk.ConfigError("state_topic", "the brokers have lost records of the topic %q: what was delivered is not known any more\nsee unclean.leader.election.enable of the topic; start again to go on with what it says now", l.topic)
	}
	fetches.EachRecord(l.take)
	return nil
}

// take looks at a record.
func (l *ledger) take(r *kgo.Record) {
	l.next = r.Offset + 1
	if r.Attrs.IsControl() {
		var key kmsg.ControlRecordKey
		if err := key.ReadFrom(r.Key); err != nil {
			return
		}
		if key.Type == kmsg.ControlRecordKeyTypeCommit {
			for _, c := range l.pending[r.ProducerID] {
				l.commit(c)
			}
		}
		if key.Type == kmsg.ControlRecordKeyTypeCommit || key.Type == kmsg.ControlRecordKeyTypeAbort {
			delete(l.pending, r.ProducerID)
		}
		return
	}
	c := claim{offset: r.Offset}
	if err := json.Unmarshal(r.Value, &c); err != nil || !r.Attrs.IsTransactional() {
		if !l.foreign {
			l.foreign = true
			l.said("somebody else writes to the topic of what was delivered, which is passed over", "topic", l.topic, "offset", r.Offset)
		}
		return
	}
	if c.Stream == l.stream {
		l.pending[r.ProducerID] = append(l.pending[r.ProducerID], c)
	}
}

// commit adds what a claim that is committed says.
func (l *ledger) commit(c claim) {
	for id, spans := range c.Held {
		for _, s := range spans {
			l.add(id, s)
		}
	}
	l.add(c.Incarnation, span{c.First, c.Next})
}

// add joins a range to those that are held.
func (l *ledger) add(incarnation string, s span) {
	if s[0] >= s[1] || s[1] <= l.low {
		return
	}
	have := l.held[incarnation]
	from, _ := slices.BinarySearchFunc(have, s[0], func(h span, at event.Offset) int { // the first that ends at s or later
		if h[1] < at {
			return -1
		}
		return 1
	})
	to := from
	for to < len(have) && have[to][0] <= s[1] {
		s = span{min(s[0], have[to][0]), max(s[1], have[to][1])}
		to++
	}
	l.held[incarnation] = slices.Replace(have, from, to, s)
}

// prune forgets what ends at low or before.
func (l *ledger) prune(low event.Offset) {
	l.low = max(l.low, low)
	for id, spans := range l.held {
		spans = slices.DeleteFunc(spans, func(s span) bool { return s[1] <= l.low })
		if l.held[id] = spans; len(spans) == 0 {
			delete(l.held, id)
		}
	}
}

// left is what of a range is not held.
func (l *ledger) left(incarnation string, r event.Range) []event.Range {
	var left []event.Range
	for _, h := range l.held[incarnation] {
		if h[1] <= r.First || h[0] >= r.Next {
			continue
		}
		if h[0] > r.First {
			left = append(left, event.Range{First: r.First, Next: h[0]})
		}
		if r.First = h[1]; r.First >= r.Next {
			return left
		}
	}
	return append(left, r)
}

// contested says whether a claim before that offset may still be committed that has a part of the range.
func (l *ledger) contested(incarnation string, r event.Range, before int64) bool {
	for _, claims := range l.pending {
		for _, c := range claims {
			if c.offset < before && c.Incarnation == incarnation && c.First < r.Next && c.Next > r.First {
				return true
			}
		}
	}
	return false
}

// check looks whether the topic is there and keeps what has to be kept, or makes it.
func (l *ledger) check(client *kgo.Client, create bool) error {
	doing := fmt.Sprintf("look at the topic %q", l.topic)
	look := l.cluster.describe
	if create {
		look = l.cluster.describeNow
	}
	topics, err := look(client, l.topic)
	if err != nil {
		return err
	}
	switch err := topics[l.topic].err; {
	case errors.Is(err, kerr.UnknownTopicOrPartition) && create:
		return l.create(client)
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return sdk.ConfigError("state_topic", "the topic %q is not there, which keeps what was delivered\nwrite create = true, or create it with one partition and cleanup.policy=compact", l.topic)
	case err != nil:
		return l.cluster.explain(doing, err)
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	one := kmsg.NewDescribeConfigsRequestResource()
	one.ResourceType, one.ResourceName, one.ConfigNames = kmsg.ConfigResourceTypeTopic, l.topic, []string{"cleanup.policy"}
	req.Resources = append(req.Resources, one)
	ctx, cancel := l.cluster.within()
	defer cancel()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return l.cluster.explain(doing, err)
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			l.said("the settings of the topic of what was delivered may not be looked at: see to it that its cleanup.policy is compact", "topic", l.topic, "error", err)
			continue
		}
		for _, c := range r.Configs {
			if c.Value != nil && c.Name == "cleanup.policy" && *c.Value != "compact" {
				return sdk.ConfigError("state_topic", "the topic %q has cleanup.policy=%s, which in time deletes what was delivered, so that events could come twice\nset cleanup.policy=compact", l.topic, *c.Value)
			}
		}
	}
	return nil
}

// create makes the topic. Its segments are small, so that what is compacted, and read again, is little.
func (l *ledger) create(client *kgo.Client) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	one := kmsg.NewCreateTopicsRequestTopic()
	one.Topic, one.NumPartitions, one.ReplicationFactor = l.topic, 1, -1
	for name, value := range map[string]string{"cleanup.policy": "compact", "segment.bytes": "16777216", "min.cleanable.dirty.ratio": "0.1"} {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, kmsg.StringPtr(value)
		one.Configs = append(one.Configs, c)
	}
	req.Topics = append(req.Topics, one)
	ctx, cancel := l.cluster.within()
	defer cancel()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return l.cluster.explain("create the topic "+l.topic, err)
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return l.cluster.explain("create the topic "+l.topic, err)
		}
	}
	topics, err := l.cluster.describe(client, l.topic)
	if err != nil {
		return err
	}
	return l.cluster.explain("look at the topic "+l.topic, topics[l.topic].err)
}
