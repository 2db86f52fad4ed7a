// SPDX-License-Identifier: Apache-2.0

// Package httpsink is the sink that sends events by HTTP: one delivery, one request.
//
// The status of the answer says what becomes of the events: 2xx, they are there; 408, 425, 429 and 5xx, they come again, not before
// Retry-After; 413, they come in halves; 400 and others of 4xx, it is looked by halves for the ones that are meant, and these are rejected; and
// 401, 403, 404 and what else says that it is the request that is wrong and not its events: the sink is held, and nothing is lost.
//
// An answer may be lost, so the same events may be sent twice (effects "none"). A request that is sent again unchanged has the same
// Idempotency-Key, for servers that look at it.
package httpsink
