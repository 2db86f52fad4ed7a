// SPDX-License-Identifier: Apache-2.0

package reliability

// template is spec/reliability.md around its tables.
const template = `# What was done to make it lose something

What was acknowledged is on disk, and comes out once for each reader, in order. This page is written by the run that tries to break
that: ` + "`make soak`" + ` (nobody edits it by hand). ` + "`make crash`" + ` is the short form, which every change has to pass; it prints the same tables.

Written on %s: %s, %s, %s, %d processors. Seeds: %s.

## Figures

%s
"times" counts kills, distinct images of a disk (by the hash of all their bytes), runs with a failed call, damaged bytes; "looked for" the acknowledged
transactions, or lines, that were compared afterwards, summed over all of them; "injected" the failures that were seen in the trace of the system calls. Lost,
twice (an event, or an offset for two events), wrong (other bytes, another order, a part of a transaction), stuck (it did not open, or could not
be read): after how many of these times. A control takes a protection away: what is lost then has to be found, or the run fails.

## What each part does

| part | what is done |
|---|---|
| kill -9 | A real agent tails a log that is written in bursts, with writes that end in the middle of a line, and rotated by rename; it dies just before the n-th put, fsync, roll, unlink, take, write, or at any moment, and starts again; then every byte is compared. And a process that does nothing but work on a channel dies at each of its words: it was answered, it is about to commit. And three agents stand in a chain before a database, and agents, plugins, links and the database are killed, stopped, cut off and slow, several at a time, and networks lose packets |
| SIGTERM | The same agent is told to end: it drains, and exits with 0 |
| power cut | A real file system on a disk of which every write and flush is recorded with what was acknowledged meanwhile. A cut leaves all that was flushed, and of the rest nothing, all, the first few, any subset, any subset of their sectors. Each image is mounted, the channel opened, compared, used, closed, opened again |
| simulated crash | The same on a simulated disk that only keeps what it must, before each single step |
| failing call | The n-th write, flush, open, rename, unlink or preallocation fails (EIO, ENOSPC, EMFILE). After a failed flush of a segment nothing may be acknowledged |
| full disk | A small disk is filled by puts, by others, to the last byte; takes go on, nothing acknowledged is lost, it recovers by itself; put = taken + waiting |
| damaged byte | Each byte of a log is changed in turn: what comes out is a prefix, or the rest without a gap that is reported with its range; never wrong data |
| damaged file | Each file beside the log is deleted, cut, emptied, changed in turn, and an agent started on it |
| 5 GB backlog | Eight readers catch up at different places while one source writes; memory of a process of its own, above the same process without a backlog; then kill -9 |
| control | strace answers the sync with success, and the kernel never hears of it |
| mutation | Each sync, check, latch and order of steps is taken out of the code, and the tests are run |

## What each form does at least

%s
## Behaviours, and what shows them

%s`
