// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// channel is one of Flume's, and what stands for it.
type channel struct {
	*component
	block  *block
	leader *channel // whose events are the same; nil: it stands for itself
	skips  bool     // it was optional: what it could not take was passed over
	reads  string   // what its sinks read, where that is a case of a route
	shared *block   // the group of its sinks, where Flume's had none
}

// blocks is nothing for a channel that another stands for.
func (ch *channel) blocks() []*block {
	if ch.leader != nil {
		return nil
	}
	return []*block{ch.block}
}

// standing is the channel that holds the events.
func (ch *channel) standing() *channel {
	if ch.leader != nil {
		return ch.leader
	}
	return ch
}

const (
	leastCapacity = 64 << 10 // of a channel, in bytes
	mostCapacity  = 1 << 50
)

// perBatch says why a property that sizes transactions is not needed.
const perBatch = "not needed: what a source reads at a time is one transaction, and the block batch of a sink says what it takes at a time"

var needlessOfChannels = map[string]string{
	"transactionCapacity": perBatch, "byteCapacityBufferPercentage": "not needed: capacity counts bodies and attributes",
	"keep-alive":    "not needed: a source waits until there is room (on_full = \"block\")",
	"checkpointDir": "not needed: all of a channel is in the agent's data_dir", "useDualCheckpoints": "not needed: the log is its own checkpoint",
	"backupCheckpointDir": "not needed: the log is its own checkpoint", "checkpointInterval": "not needed: the log is its own checkpoint",
	"checkpointOnClose": "not needed: the log is its own checkpoint", "compressBackupCheckpoint": "not needed: the log is its own checkpoint",
	"maxFileSize": "not needed: the log chooses the size of its segments", "use-log-replay-v1": "not needed: there is one way to replay",
	"use-fast-replay": "not needed: there is one way to replay", "write-timeout": "not needed", "checkpoint-timeout": "not needed",
	"overflowTimeout": "not needed: every event goes to the disk", "avgEventSize": "not needed: capacity counts what is there",
}

func (k *conversion) channel(c *component) *channel {
	ch := &channel{component: c}
	switch c.Type {
	case "memory":
		ch.block = k.block(c, "channel", "memory", c.Name)
		ch.capacity("capacity", 100)
	case "file":
		ch.block = k.block(c, "channel", "wal", c.Name)
		ch.capacity("capacity", 1_000_000)
		k.fileChannel(ch)
	case "spillablememory":
		ch.block = k.block(c, "channel", "wal", c.Name)
		k.spillable(ch)
	case "jdbc":
		ch.block = k.block(c, "channel", "wal", c.Name)
		c.note(Differs, "type", "events are kept in a log in the agent's data_dir, and not in a database")
		c.noteEach(Converted, "", "not needed: of the database")
	default:
		ch.block = k.block(c, "channel", "wal", c.Name)
		c.note(Missing, "type", "there is no equivalent; a log on this machine stands here instead. Events that Flume left in the old channel must be drained by Flume first")
		c.noteRest()
	}
	c.needless(needlessOfChannels)
	c.rest()
	c.Became = []string{ch.block.address()}
	return ch
}

// capacity sets the bounds in events and bytes; usual is Flume's in events.
func (ch *channel) capacity(key string, usual int64) {
	n, ok := ch.number(key, math.MaxInt64)
	if !ok || n == 0 {
		n = usual
	}
	if size, ok := ch.bytes("byteCapacity", leastCapacity, mostCapacity); ok {
		ch.block.set("capacity", size)
	}
	ch.block.set("max_events", n)
}

func (k *conversion) fileChannel(ch *channel) {
	if dirs := ch.take("dataDirs", ""); strings.Contains(dirs, ",") {
		ch.note(Differs, "dataDirs", "a channel is on one disk, that of the agent's data_dir; several disks are several agents, or a RAID")
	} else if dirs != "" {
		ch.note(Converted, "dataDirs", "not needed: all of a channel is in the agent's data_dir. Let Flume drain what is there")
	}
	if size, ok := ch.bytes("minimumRequiredSpace", 1, mostCapacity); ok {
		ch.block.set("min_free", size)
	}
	every, _ := ch.number("fsyncInterval", 60)
	if !ch.flag("fsyncPerTransaction", true) {
		ch.block.set("durability", fmt.Sprintf("interval:%ds", max(every, 1)))
	}
	k.encryption(ch)
}

// encryption asks for a new key: those of Flume are in a key store of Java, and would not be read here anyway.
func (k *conversion) encryption(ch *channel) {
	if !ch.has("encryption.activeKey") {
		return
	}
	name := k.name("secret", ch.Name+"_key")
	k.shared = append(k.shared, &block{kind: "secret", labels: []string{name}})
	k.shared[len(k.shared)-1].set("from", "file:/etc/penstock/"+name)
	ch.block.within("encryption").refer("key", "secret."+name)
	ch.note(Differs, "encryption.activeKey", fmt.Sprintf("write a new key of 32 bytes into the file of secret.%s: head -c 32 /dev/urandom > FILE, readable by the agent alone", name))
	ch.noteEach(Converted, "encryption.", "not needed: the cipher is AES-256-GCM, and the key is the secret")
}

func (k *conversion) spillable(ch *channel) {
	inMemory, ok := ch.number("memoryCapacity", math.MaxInt32)
	if !ok {
		inMemory = 10_000
	}
	onDisk, ok := ch.number("overflowCapacity", math.MaxInt32)
	if !ok {
		onDisk = 100_000_000
	}
	ch.take("byteCapacity", "")
	ch.block.set("max_events", max(inMemory+onDisk, 1))
	ch.note(Differs, "type", "all events go to the disk at once, so that none is lost in memory")
	ch.take("capacity", "") // Flume passes it over
	k.fileChannel(ch)
}

// mergeChannels joins channels that hold the same events, those that the same sources copy everything to: each sink of a channel gets all of it.
func (k *conversion) mergeChannels() {
	groups := map[string][]*channel{}
	for _, ch := range k.channels {
		if signature := k.fedBy(ch); signature != "" {
			groups[signature] = append(groups[signature], ch)
		}
	}
	for _, group := range groups {
		if len(group) < 2 {
			continue
		}
		for _, ch := range group {
			ch.skips = k.optional(ch)
		}
		k.join(group)
	}
}

// join makes one channel of several.
func (k *conversion) join(group []*channel) {
	if len(group) < 2 {
		return
	}
	leader := slices.MinFunc(group, func(a, b *channel) int { return a.rank() - b.rank() })
	for _, ch := range group {
		if ch != leader {
			ch.leader, ch.Became = leader, leader.Became
			ch.note(Converted, "", fmt.Sprintf("%s has its events too: there every sink gets those that are for it, so that one channel is enough; its bounds are those of that one", leader.block.address()))
		}
	}
}

// from is what the sinks of a channel read.
func (ch *channel) from() string {
	if ch.reads != "" {
		return ch.reads
	}
	return ch.standing().block.address()
}

// rank orders the channels of a group: the one that stands for the others was required, and is durable where one of them is.
func (ch *channel) rank() int {
	rank := 0
	if ch.block.labels[0] != "wal" {
		rank++
	}
	if ch.skips {
		rank += 2
	}
	return rank
}

// fedBy is the sources that copy everything to ch, or "" where one chooses, or there is none.
func (k *conversion) fedBy(ch *channel) string {
	var by []string
	for _, s := range k.sources {
		if !slices.Contains(s.into, ch.Name) {
			continue
		}
		if s.choice != nil {
			return ""
		}
		by = append(by, s.Name)
	}
	return strings.Join(by, " ")
}

// optional says whether every source that feeds ch may pass it over.
func (k *conversion) optional(ch *channel) bool {
	return !slices.ContainsFunc(k.sources, func(s *source) bool {
		return slices.Contains(s.into, ch.Name) && !slices.Contains(s.optional, ch.Name)
	})
}

func (k *conversion) channelNamed(name string) *channel {
	for _, ch := range k.channels {
		if ch.Name == name {
			return ch
		}
	}
	return nil
}
