// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/penstock-io/penstock/sdk"
)

const (
	// maxPartitions bounds how many positions there are: all of them are set at once at times, and fit into one batch's cursor.
	maxPartitions = 4096
	// settle is how long a topic that is not there is asked for, and settleStep how long is rested meanwhile.
	settle, settleStep = 3 * time.Second, 100 * time.Millisecond
	// maxTopic is how long the name of a topic may be; brokers have the same limit.
	maxTopic = 249
)

// partition is one of a topic.
type partition struct {
	topic string
	index int32
}

func (p partition) key() string { return p.topic + "/" + strconv.Itoa(int(p.index)) }

func (p partition) String() string { return fmt.Sprintf("partition %d of topic %q", p.index, p.topic) }

// position is how far a partition was read.
type position struct {
	next  int64    // offset of the next record
	epoch int32    // of the leader that has written the last one, or -1: finds out whether the log before it was replaced
	id    [16]byte // of the topic, or zero: a topic that is deleted and made anew has the name, but not the id
	end   int64    // of the partition, when it was last heard of
}

type storedPosition struct {
	Next  int64  `json:"next"`
	Epoch int32  `json:"epoch"`
	ID    string `json:"id,omitempty"`
}

// appendTo writes the position as it stands in the cursor.
func (p *position) appendTo(b []byte) []byte {
	b = append(b, `{"next":`...)
	b = strconv.AppendInt(b, p.next, 10)
	b = append(b, `,"epoch":`...)
	b = strconv.AppendInt(b, int64(p.epoch), 10)
	if p.id != [16]byte{} {
		b = append(b, `,"id":"`...)
		b = hex.AppendEncode(b, p.id[:])
		b = append(b, '"')
	}
	return append(b, '}')
}

// parsePosition reads an entry of the cursor.
func parsePosition(key string, value []byte) (partition, *position, error) {
	topic, number, ok := strings.Cut(key, "/")
	index, err := strconv.ParseInt(number, 10, 32)
	var stored storedPosition
	if err == nil {
		err = json.Unmarshal(value, &stored)
	}
	if err != nil || !ok || stored.Next < 0 {
		return partition{}, nil, fmt.Errorf("the cursor has the entry %q = %q, which is none of this plugin", key, value)
	}
	pos := &position{next: stored.Next, epoch: stored.Epoch}
	if id, err := hex.DecodeString(stored.ID); err == nil {
		copy(pos.id[:], id)
	}
	return partition{topic, int32(index)}, pos, nil
}

// checkTopic refuses a name that no topic has.
func checkTopic(argument, name string) error {
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
	}
	if name == "" || name == "." || name == ".." || len(name) > maxTopic || strings.ContainsFunc(name, func(r rune) bool { return !legal(r) }) {
		return sdk.ConfigError(argument, "has %q, which is no name of a topic: letters, digits, '.', '_' and '-', %d at most", name, maxTopic)
	}
	return nil
}

// describedTopic is what the brokers say of a topic.
type describedTopic struct {
	id         [16]byte
	partitions []int32
	err        error
}

// describe asks what topics are like. Those that are not there are asked for again for a moment: not every broker knows of a topic as soon as it is made.
func (k cluster) describe(client *kgo.Client, topics ...string) (map[string]describedTopic, error) {
	for end := time.Now().Add(settle); ; time.Sleep(settleStep) {
		all, err := k.describeNow(client, topics...)
		unknown := slices.ContainsFunc(topics, func(t string) bool { return errors.Is(all[t].err, kerr.UnknownTopicOrPartition) })
		if err != nil || !unknown || time.Now().After(end) {
			return all, err
		}
	}
}

func (k cluster) describeNow(client *kgo.Client, topics ...string) (map[string]describedTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	for _, t := range topics {
		one := kmsg.NewMetadataRequestTopic()
		one.Topic = kmsg.StringPtr(t)
		req.Topics = append(req.Topics, one)
	}
	ctx, cancel := k.within()
	defer cancel()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, k.explain("ask the brokers for "+strings.Join(topics, ", "), err)
	}
	all := make(map[string]describedTopic, len(topics))
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		d := describedTopic{id: t.TopicID, err: kerr.ErrorForCode(t.ErrorCode)}
		for _, p := range t.Partitions {
			d.partitions = append(d.partitions, p.Partition)
		}
		slices.Sort(d.partitions)
		all[*t.Topic] = d
	}
	return all, nil
}

// Timestamps of ListOffsets that are none.
const (
	atEnd   = -1
	atStart = -2
)

// bounds asks where partitions begin or end. The end is that of what is committed, where isolation asks for that.
func (k cluster) bounds(client *kgo.Client, which []partition, timestamp int64, committed bool) (map[partition]int64, error) {
	found := make(map[partition]int64, len(which))
	if len(which) == 0 {
		return found, nil
	}
	req := kmsg.NewPtrListOffsetsRequest()
	if committed {
		req.IsolationLevel = 1
	}
	topics := map[string]int{}
	for _, p := range which {
		i, ok := topics[p.topic]
		if !ok {
			i = len(req.Topics)
			topics[p.topic] = i
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = p.topic
			req.Topics = append(req.Topics, t)
		}
		one := kmsg.NewListOffsetsRequestTopicPartition()
		one.Partition, one.Timestamp = p.index, timestamp
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, one)
	}
	ctx, cancel := k.within()
	defer cancel()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, k.explain("ask the brokers where partitions begin and end", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			at := partition{t.Topic, p.Partition}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, k.explain("ask where "+at.String()+" begins and ends", err)
			}
			found[at] = p.Offset
		}
	}
	for _, p := range which {
		if _, ok := found[p]; !ok {
			return nil, k.explain("ask where "+p.String()+" begins and ends", context.DeadlineExceeded)
		}
	}
	return found, nil
}

// discover looks which partitions there are, and has the client read those that it does not read yet. At the beginning, which is also after
// something was wrong, it looks whether the brokers still have what the positions speak of.
func (s *source) discover(beginning bool) error {
	s.looked = time.Now()
	topics, err := s.cluster.describe(s.client, s.topics...)
	if err != nil {
		return err
	}
	var fresh, old []partition
	for _, name := range s.topics {
		t := topics[name]
		if t.err == nil && len(t.partitions) == 0 {
			t.err = kerr.LeaderNotAvailable
		}
		if err := s.explainTopic(name, t.err); err != nil {
			return err
		}
		if err := s.sameTopic(name, t, beginning); err != nil {
			return err
		}
		for _, index := range t.partitions {
			at := partition{name, index}
			if _, ok := s.at[at]; !ok {
				fresh = append(fresh, at)
			} else if beginning {
				old = append(old, at)
			}
		}
	}
	if n := len(s.at) + len(fresh); n > maxPartitions {
		return sdk.ConfigError("topics", "have %d partitions together, and one source reads %d at most: share them among several", n, maxPartitions)
	}
	if err := s.begin(topics, fresh); err != nil {
		return err
	}
	if err := s.checkBounds(old); err != nil {
		return err
	}
	s.read(append(fresh, old...))
	for _, name := range s.topics {
		s.known[name] = true
	}
	s.partitioned.Set(float64(len(s.at)))
	return nil
}

// explainTopic says what is wrong with a topic. One that was there may come again.
func (s *source) explainTopic(name string, err error) error {
	doing := fmt.Sprintf("look at the topic %q", name)
	if !errors.Is(err, kerr.UnknownTopicOrPartition) && !errors.Is(err, kerr.UnknownTopicID) {
		return s.cluster.explain(doing, err)
	}
	switch {
	case !s.known[name]:
		return sdk.ConfigError("topics", "the brokers have no topic %q\ncreate it, or see its name and the user's rights", name)
	case s.onMissing == stop:
		return sdk.ConfigError("topics", "the topic %q, which was read before, was deleted\ncreate it again and write on_missing = \"oldest\" to read the new one, or take it from topics", name)
	}
	return sdk.Retry(fmt.Errorf("the topic %q was deleted; it is waited for", name), 0)
}

// sameTopic looks whether a topic is still the one that was read. A position in another one means nothing.
func (s *source) sameTopic(name string, t describedTopic, beginning bool) error {
	var gone []partition
	for at, pos := range s.at {
		if at.topic != name {
			continue
		}
		if pos.id == [16]byte{} {
			pos.id = t.id // brokers before 2.8 had none
			continue
		}
		if pos.id != t.id && t.id != [16]byte{} {
			gone = append(gone, at)
		}
	}
	switch {
	case len(gone) == 0:
		return nil
	case s.onMissing == stop:
		return sdk.ConfigError("on_missing", "the topic %q was deleted and made anew since it was read: what is in it is something else\n"+
			"write on_missing = \"oldest\" (or \"newest\") to read the new one from its beginning (or end)", name)
	case !beginning:
		return sdk.Retry(fmt.Errorf("the topic %q was deleted and made anew; it is opened again", name), time.Millisecond) // the client stays with the old one
	}
	s.remade.Add(1)
	s.log.Warn("the topic was deleted and made anew since it was read, and is read as on_missing says", "topic", name, "on_missing", s.onMissing)
	s.known[name] = false
	for _, at := range gone {
		delete(s.at, at)
		delete(s.moved, at)
	}
	return nil
}

// begin gives partitions their first position. Only those that are there when a topic is first read may be read from their end: of one that
// comes later, all of it is new.
func (s *source) begin(topics map[string]describedTopic, fresh []partition) error {
	var low, high []partition
	for _, at := range fresh {
		from := s.start
		if _, had := s.known[at.topic]; had && !s.known[at.topic] { // made anew
			from = s.onMissing
		}
		if from == newest && !s.known[at.topic] {
			high = append(high, at)
		} else {
			low = append(low, at)
		}
	}
	starts, err := s.cluster.bounds(s.client, low, atStart, false)
	if err != nil {
		return err
	}
	ends, err := s.cluster.bounds(s.client, high, atEnd, s.isolation == kgo.ReadCommitted())
	if err != nil {
		return err
	}
	for _, at := range fresh {
		next, ok := starts[at]
		if !ok {
			next = ends[at]
		}
		s.at[at] = &position{next: next, epoch: -1, id: topics[at.topic].id, end: next}
		s.moved[at] = true
	}
	return nil
}

// checkBounds looks whether the brokers have what comes at each position, and does what on_missing says where they do not.
func (s *source) checkBounds(old []partition) error {
	starts, err := s.cluster.bounds(s.client, old, atStart, false)
	if err != nil {
		return err
	}
	ends, err := s.cluster.bounds(s.client, old, atEnd, false)
	if err != nil {
		return err
	}
	for _, at := range old {
		pos, low, high := s.at[at], starts[at], ends[at]
		if pos.next >= low && pos.next <= high {
			continue
		}
		what := fmt.Sprintf("the brokers have deleted the offsets %d to %d before they were read", pos.next, low-1)
		if pos.next > high {
			what = fmt.Sprintf("offset %d comes next, and the partition ends at %d: the brokers have lost records, or their data is that of another time", pos.next, high)
		}
		if s.onMissing == stop {
			return sdk.ConfigError("on_missing", "%v: %s\nsee retention.ms and retention.bytes of the topic; to go on, write on_missing = \"oldest\" (what is there; it is counted what is not) or \"newest\"", at, what)
		}
		next := low
		if s.onMissing == newest {
			next = high
		}
		s.missing.Add(float64(max(0, next-pos.next)))
		s.log.Error("records are missing, and on_missing says to go on", "topic", at.topic, "partition", at.index, "wanted", pos.next, "oldest", low, "newest", high, "goes_on_at", next)
		pos.next, pos.epoch = next, -1
		s.moved[at] = true
	}
	return nil
}

// read has the client read partitions from their positions on.
func (s *source) read(which []partition) {
	add := map[string]map[int32]kgo.Offset{}
	for _, at := range which {
		if add[at.topic] == nil {
			add[at.topic] = map[int32]kgo.Offset{}
		}
		pos := s.at[at]
		o := kgo.NoResetOffset().At(pos.next)
		if pos.epoch >= 0 {
			o = o.WithEpoch(pos.epoch)
		}
		add[at.topic][at.index] = o
	}
	s.client.AddConsumePartitions(add)
}
