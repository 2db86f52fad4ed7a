// SPDX-License-Identifier: Apache-2.0

// Package kafka is the source that reads topics of Apache Kafka, and the sinks that write into one.
//
// # Exactly once, in
//
// The cursor has an entry for each partition: the offset of the next record, the leader epoch of the last, and the id of the topic. It is stored
// with the events, so it is what the source goes on from; a consumer group has no part in it. What the cursor speaks of and the brokers have
// no longer is never passed over in silence: see partitions.go.
//
// # Exactly once, out
//
// A delivery is one transaction, of the events and of a record in a topic of its own that claims their range. Kafka has no constraint that would keep
// two transactions with overlapping ranges apart. What does so is the order of the claims, and the rule that a connection commits nothing before all earlier
// claims of a part of its range are decided: see ledger.go. So it does not matter
//
//   - that the answer of a commit was lost, or the process was killed in it: whoever opens under the same transactional id ends the transaction, and
//     then reads whether it was committed;
//   - that a range comes again cut differently: what is held is left out, the rest is written;
//   - that it comes to another connection, while nobody knows what became of it at the first;
//   - how many connections there are.
package kafka
