// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// Names of attributes.
const (
	attributeTopic     = "kafka.topic"
	attributePartition = "kafka.partition"
	attributeOffset    = "kafka.offset"
	attributeKey       = "kafka.key"
	attributeTombstone = "kafka.tombstone"
	headerPrefix       = "kafka.header."
)

// maxNames bounds how many names of headers are remembered with their prefix.
const maxNames = 1000

// recordReader makes events of records.
type recordReader struct {
	at     partition           // of the last record
	topic  []byte              // its topic
	part   []byte              // and partition
	shared event.AttributeList // of its partition, and an offset: all that most records have
	number []byte
	attrs  []event.Attribute
	names  map[string]string
}

var truth = []byte("true")

// append appends a record as an event.
func (c *recordReader) append(p *sdk.Poll, r *kgo.Record) error {
	if at := (partition{r.Topic, r.Partition}); at != c.at || c.topic == nil {
		if err := c.moveTo(at); err != nil {
			return err
		}
	}
	c.number = strconv.AppendInt(c.number[:0], r.Offset, 10)
	at := r.Timestamp.UnixNano()
	if r.Timestamp.UnixMilli() < 0 { // the record has none
		at = p.Now().UnixNano()
	}
	if r.Key == nil && r.Value != nil && len(r.Headers) == 0 {
		c.shared.SetLast(c.number)
		return p.AppendList(at, &c.shared, r.Value)
	}
	a := append(c.attrs[:0],
		event.Attribute{Key: attributeTopic, Value: c.topic},
		event.Attribute{Key: attributePartition, Value: c.part},
		event.Attribute{Key: attributeOffset, Value: c.number})
	if r.Key != nil {
		a = append(a, event.Attribute{Key: attributeKey, Value: r.Key})
	}
	if r.Value == nil {
		a = append(a, event.Attribute{Key: attributeTombstone, Value: truth})
	}
	for i := range r.Headers {
		a = append(a, event.Attribute{Key: c.name(r.Headers[i].Key), Value: r.Headers[i].Value})
	}
	c.attrs = a
	return p.Append(event.Event{Time: at, Attributes: a, Body: r.Value})
}

// moveTo prepares what records of a partition share.
func (c *recordReader) moveTo(at partition) error {
	c.at, c.topic, c.part = at, []byte(at.topic), strconv.AppendInt(nil, int64(at.index), 10)
	c.shared.Reset()
	for _, a := range []event.Attribute{{Key: attributeTopic, Value: c.topic}, {Key: attributePartition, Value: c.part}, {Key: attributeOffset}} {
		if err := c.shared.Add(a.Key, a.Value); err != nil {
			return fmt.Errorf("prepare the attributes of %v: %w", at, err)
		}
	}
	return nil
}

// name is that of a header with its prefix.
func (c *recordReader) name(header string) string {
	if n, ok := c.names[header]; ok {
		return n
	}
	n := headerPrefix + strings.ToValidUTF8(header, "\uFFFD")
	if c.names == nil || len(c.names) >= maxNames {
		c.names = map[string]string{}
	}
	c.names[header] = n
	return n
}
