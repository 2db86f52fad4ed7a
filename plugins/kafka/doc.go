// SPDX-License-Identifier: Apache-2.0

// Package kafka is the source that reads topics of Apache Kafka, and the sinks that write into one.
//
// # Exactly once, in
//
// The cursor has an entry for each partition: the offset of the next record, the leader epoch of the last, and the id of the topic. It is stored
// with the events, so it is what the source goes on from; a consumer group has no part in it. What the cursor speaks of and the brokers have
// no longer is never passed over in silence: see partitions.go.
package kafka
