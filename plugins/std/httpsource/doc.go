// SPDX-License-Identifier: Apache-2.0

// Package httpsource is the source that takes events by HTTP: one request, one transaction.
//
// Invariants:
//   - A request becomes one batch, or none: what is malformed at its end has stored nothing of its beginning.
//   - 200 says that all of it is on disk. The host sends it, after the commit; the plugin only says which batch to wait for.
//   - A key (header Idempotency-Key) goes into the cursor in the same record as its events. So a client that repeats a request because
//     the answer was lost, in whatever crash, is told 200 and stores nothing twice, as long as the key is among the last so many.
//   - Nothing is remembered of a request that was refused.
package httpsource
