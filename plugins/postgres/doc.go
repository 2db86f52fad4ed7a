// SPDX-License-Identifier: Apache-2.0

// Package postgres is the sink that writes events into a table of PostgreSQL, and the source that reads a table's rows.
//
// # Exactly once, out
//
// A delivery is one transaction, which first stores its range, as a row (stream, incarnation, first, next) of the table penstock_ranges, and
// then the events. Two transactions whose ranges overlap cannot both be committed: an exclusion constraint, which the server keeps, has the second
// wait until the first has ended, and fail if that was committed. So it does not matter
//
//   - that the answer of a COMMIT was lost: the same range, when it comes again, meets its own row, and counts as delivered;
//   - that it comes again cut differently: what the rows cover is left out, the rest is written;
//   - that a connection which is thought dead still has its transaction open on the server: it is waited for;
//   - how many connections there are.
//
// A COMMIT is sent only after the server has answered all before it. So a server that gets the beginning of a transaction late, from
// somebody who has gone, never gets its end.
//
// # Rejects
//
// Where the server takes no row of a delivery for what is in it, the transaction is rolled back, and another one, which is rolled back too, finds
// out which rows those are ([sink.find]). They are listed, and the same range comes again without them.
//
// # Exactly once, in
//
// The source goes by a key that grows, and its cursor is the last key. Transactions are committed in another order than they were
// given their keys in, so a key that has been seen does not say that all before it have. bound.go has what it waits for.
package postgres
