// SPDX-License-Identifier: Apache-2.0

// Package crash cuts the power under a durable channel, fails its system calls and fills its disk, and
// compares what is left with what was acknowledged. It is a test only, for Linux.
//
// # Power cuts
//
// A disk in memory is served as a file by a FUSE program, a loop device makes it a block device, and a real
// ext4, xfs or btrfs on it holds the channel. A process of its own does the work on it, and says what it is about to do, and what was
// acknowledged. The sector writes, the flushes and these words make one list, in one order:
//
//	write 8+16 · write 512+8 · flush · "acked source.x 12" · write 24+8 · …
//
// A power cut is a place in that list. Everything that was flushed before it is on the disk; of the writes after
// the last flush, any: none, all, the first few, any subset, any subset of their sectors. Such an image is mounted, so that the
// kernel replays its journal, the channel is opened on it, and then must hold whatever was acknowledged before the place of the cut.
//
// # Kills, failing calls, full disks
//
// The same work is killed at any of its words, or some time after. // The same work runs under strace, which fails one call: the n-th write, sync, open, rename, unlink or preallocation. Then nothing
// acknowledged may be gone; and after a failed flush of a segment nothing may be acknowledged at all, until it is opened again.
// A small tmpfs is filled, drained and filled again.
//
// Flags: -states (images of each file system), -injections (calls to fail; 0 = each), -kills, -seed. `make powercut` is the short form,
// `make soak` the long one. Needs root, /dev/fuse, loop devices, strace, mkfs.ext4, mkfs.xfs and mkfs.btrfs; what is missing is a skip, in CI a failure.
//
// # Invariants
//
//   - The process waits until its word stands in the list. So what it acknowledged stands no earlier than it was acknowledged
//     (a cut asks for nothing too much), and what it is about to do stands before it is done.
//   - A suite that finds nothing proves nothing: each run takes syncs out of the same work, and has to find it out.
//   - Kills, and the cuts under one file system, are done once more to a channel that is compressed and encrypted: its words are the same.
package crash
