// SPDX-License-Identifier: Apache-2.0

// Package wal is a channel that survives restart, on github.com/tidwall/wal.
//
// tidwall/wal appends entries and rolls segment files. All else is done here: checksums, repair, group
// commit, flushing, reading, reclaiming. Of the library only Open, WriteBatch, LastIndex, ClearCache and Close are
// called; spec/wal.md says why not the others.
//
// # Files
//
//	LOCK               flock; holds the pid of who has the channel open
//	META               uuid and version of the channel
//	CLEAN              the last record, when the channel was closed in order
//	log/<20 digits>    segments, named by the index of their first record
//	pos/<reader>       two slots, written in turn: where the reader stands
//	quarantine/        what could not be used, kept for people to look at
//	reserve            ballast, thrown off when the disk is full
//
// # The record
//
// One record is one entry of the log is one committed transaction: uvarint length, then little-endian
//
//	 0  u32  magic "PSW1", so that a record never begins with zero
//	 4  u8   kind: 1 PUT, 2 STATE, 3 FENCE, 4 GAP
//	 5  u8   version = 1
//	 6  u16  flags: bit 0 = everything before this record was on disk when it was written; bit 1 = it stands in the
//	         place of damaged ones, and the next need not hold its CRC
//	 8  u8   codec of the body: 0 = as it is, 1 = s2 (block format), 2 = zstd (a frame without checksum)
//	 9  u8   reserved = 0, three times
//	12  u32  id of the key that sealed body and TLVs, each apart and after the codec; 0 = none
//	16  u64  index of the record
//	24  u32  header CRC of the record before it
//	28  u32  number of events
//	32  u64  offset of the first event, or of the next one where there are none
//	40  i64  time of commit, unix nanoseconds
//	48  u32  length of the body as stored
//	52  u32  length of the body before the codec; of a GAP: how many records it stands for
//	56  u32  length of the TLVs as stored
//	60  u32  CRC-32C of the body as stored
//	64  u32  CRC-32C of the TLVs as stored
//	68  u32  CRC-32C of bytes 0..68
//	72  body: nothing, or one PSB1 batch whose base field does not count · TLVs: {u16 type, u16 0, u32 length, value}*
//
// A part that is sealed is [nonce 12][ciphertext][tag 16], AES-256-GCM. The key's id is the first four bytes of its SHA-256.
// The checksums are over what is stored, so that no key is needed to verify them.
//
// # Invariants
//
//   - A record is published to readers, and its transaction acknowledged, at the same moment: after a flush that
//     began when it was written, or below Fsync when the system has it. A STATE, a FENCE and a registration are always flushed.
//   - A STATE stands first in each segment, and nowhere else: so any prefix of segments can be unlinked.
//   - Nothing is ever written after an error: the tail is cut back to what is durable and opened anew; after a
//     failed flush the channel stops.
//   - A key that is not given is never damage: nothing is cut off, set aside or passed over for want of it.
//   - What a policy gives up is in a flushed record before a reader moves, and so before a segment goes.
//   - What is damaged is never thrown away: its bytes lie in quarantine before a GAP takes their place.
//   - Each opening writes a FENCE: a random incarnation, and offsets from the next multiple of 2^32.
//   - With no room on the disk nothing is lost and takes go on: what an opening could not write is written later.
//   - c.mu guards all that is in memory, and is never held during a read, a write or a flush. Whoever
//     set c.leading owns the log's tail.
package wal
