// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// commitEvery is how often a group is told.
	commitEvery = 5 * time.Second
	// maxPending bounds batches that are read and not durable yet; the agent has two.
	maxPending = 1024
)

// group is told how far the source is, for those who watch its lag. Nothing is ever read from it.
type group struct {
	name    string
	pending []progress
	done    map[partition]position // durable, and not told yet
	told    time.Time
}

// progress is what one batch has moved.
type progress struct {
	seq uint64
	at  partition
	pos position
}

// read notes what a batch has moved.
func (g *group) read(seq uint64, at partition, pos position) {
	if g.name != "" && len(g.pending) < maxPending*maxPartitions {
		g.pending = append(g.pending, progress{seq, at, pos})
	}
}

// durable says that the batches up to seq are.
func (g *group) durable(seq uint64) {
	n := 0
	for ; n < len(g.pending) && g.pending[n].seq <= seq; n++ {
		if g.done == nil {
			g.done = map[partition]position{}
		}
		g.done[g.pending[n].at] = g.pending[n].pos
	}
	g.pending = append(g.pending[:0], g.pending[n:]...)
}

// commit tells the group, if it is time or now.
func (g *group) commit(client *kgo.Client, k cluster, now bool) error {
	if len(g.done) == 0 || !now && time.Since(g.told) < commitEvery {
		return nil
	}
	g.told = time.Now()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = g.name
	topics := map[string]int{}
	for at, pos := range g.done {
		i, ok := topics[at.topic]
		if !ok {
			i = len(req.Topics)
			topics[at.topic] = i
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic, t.TopicID = at.topic, pos.id
			req.Topics = append(req.Topics, t)
		}
		one := kmsg.NewOffsetCommitRequestTopicPartition()
		one.Partition, one.Offset, one.LeaderEpoch = at.index, pos.next, pos.epoch
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, one)
	}
	clear(g.done)
	ctx, cancel := k.within()
	defer cancel()
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return k.explain("commit offsets to the group "+g.name, err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return k.explain(fmt.Sprintf("commit the offset of %v to the group %q", partition{t.Topic, p.Partition}, g.name), err)
			}
		}
	}
	return nil
}
