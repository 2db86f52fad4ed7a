// SPDX-License-Identifier: Apache-2.0

// Package tail is the source "file": it reads lines from files that grow, are rotated, cut and
// deleted while it reads, and while it does not run.
//
// A file is what its device and inode say it is, as long as its first bytes (up to 1 KiB: the
// fingerprint) are what they were. Its entry in the cursor, under the key "device:inode", says how far
// it has been read; so a file is found again under whatever name, and an inode that was given to
// another file is noticed.
//
// The invariants:
//
//   - An entry moves only past lines that are in the same batch. Nothing else is stored anywhere: no
//     half line, no line in memory only. What a crash takes is read again from the file.
//   - A chunk counts only when the fingerprint was right after it was read: so bytes are never
//     taken from the wrong content when a file is cut (copytruncate) or its inode reused.
//   - When the file at a path is another than before, the one before is looked for, in its directory
//     and among the open files, and read to its end before the first byte of the new one. Files
//     that came and went in between, recognised by name and by time, are read in between.
//   - What is lost, because it was deleted or cut before it was read, is said in bytes.
//   - Memory does not depend on how many bytes wait: one chunk, and a few hundred bytes a file.
//
// [Source.Poll] looks for files every scan_interval, asks the open ones every 10 to 100 ms whether
// they have grown, and reads those that have in turn, a chunk each.
package tail
