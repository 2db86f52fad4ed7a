// SPDX-License-Identifier: Apache-2.0

// Package spool is the source "spool": a directory into which others put files that are finished. Each is read once, from its first
// line to its last, and is then moved away or deleted.
//
// A file goes through these states, of which each is in the cursor, in the record of the channel that has the lines it speaks of:
//
//	waiting ──▶ reading ──▶ read ──commit──▶ moved to done, or deleted ──▶ forgotten
//	   └───────────┴──────────┴──▶ bad ──commit──▶ reason written, moved to bad ──▶ forgotten
//
// The invariants:
//
//   - A file leaves its place only when the batch with its last line is durable. Its entry is taken from the cursor only when
//     the new names are durable, too: after a power cut in between the file is at its old place, and the entry says that it was read.
//   - An entry moves only past lines that are in the same batch. What a crash takes is read again from the file.
//   - A file is what its place, size and time say. A piece of it counts only when these were right after it was read; a file that
//     changed after it was taken up is bad, and its reason says how much of it is in the channel.
//   - Nothing is ever overwritten: where a name is taken in done or bad, the new one gets the time.
//   - One file's trouble is its own: the others go on. What cannot be moved is not read again either.
//   - Memory does not depend on how many files wait, nor on their sizes.
package spool
