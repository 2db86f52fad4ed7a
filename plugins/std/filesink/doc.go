// SPDX-License-Identifier: Apache-2.0

// Package filesink is the sink "file": it writes events as lines, each exactly once, whatever is
// killed when.
//
// Beside the output PATH lies a journal, PATH.penstock, which says up to which length the output is
// committed, and which ranges of which stream that is. A delivery is
//
//  1. write the lines at the committed length     a kill: the next open cuts them off
//  2. fsync the output                            a kill: the same
//  3. write the other slot of the journal         a kill: the slot is whole, or its checksum is wrong and the old one counts
//  4. fdatasync the journal                       a kill: the ranges are reported in open, nothing comes again
//
// and then the answer. The order of 2 and 3 is the promise: a slot never speaks of bytes that are not on disk.
// One flush cannot do for both files; the second is a fdatasync of bytes that are there already,
// which moves no metadata.
//
// A rotation stands between two deliveries:
//
//  1. rename PATH to PATH.n                       a kill: open finds the committed file under its new name
//  2. create the new PATH, fsync the directory    a kill: open finds PATH empty and not the journal's
//  3. write and sync a slot: new file, length 0   before any line, so that bytes in a PATH that is not the journal's are somebody else's
//
// The output is known by device and inode. One that somebody moved away, put back from a copy or cut
// short is never cut by us: what follows is appended to what is there. When its directory was deleted, deliveries
// fail until it is back, and go on in a new output with a new journal, which takes over the ranges.
//
// The journal is two slots, of which the valid one with the higher sequence counts. Little-endian:
//
//	 0  u32  magic "PSJ1"
//	 4  u32  length in bytes, of all that follows too
//	 8  u32  CRC-32C of bytes 12..length
//	12  u16  version = 1
//	14  u16  length of the stream's name
//	16  u64  sequence
//	24  u64  device of the output
//	32  u64  inode of the output
//	40  u64  committed length of the output
//	48  i64  when the output got its first line, unix nanoseconds, or 0
//	56  u64  number of the last file rotated away
//	64  u32  ranges
//	68  stream name · { u64 incarnation · u64 first · u64 next }*ranges
package filesink
