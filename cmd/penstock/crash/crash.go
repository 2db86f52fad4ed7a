// SPDX-License-Identifier: Apache-2.0

// Package crash kills the real agent, again and again and at every step of delivery, while it tails
// a log that is being written and rotated, and compares what came out with what was written, byte by byte.
// It is tests only; `make crash` runs the form that counts.
package crash
