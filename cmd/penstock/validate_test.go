// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
)

func TestTheWeakestPartDecidesWhatIsPromised(t *testing.T) {
	for _, c := range []struct{ replay, channel, effects, want string }{
		{"cursor", "wal", "transactional", "exactly once"},
		{"cursor", "wal", "idempotent", "exactly once, by key"},
		{"cursor", "wal", "none", "at least once"},
		{"cursor", "wal", "", "at least once"},
		{"ack", "wal", "transactional", "at least once"},
		{"ack", "wal", "none", "at least once"},
		{"none", "wal", "transactional", "at most once"},
		{"", "wal", "transactional", "at most once"},
		{"cursor", "memory", "transactional", "at most once"},
		{"none", "memory", "none", "at most once"},
	} {
		if got, why := delivery(c.replay, c.channel, c.effects); got != c.want || why == "" {
			t.Errorf("%s source, %s channel, %s sink: %q (%s), want %q", c.replay, c.channel, c.effects, got, why, c.want)
		}
	}
}
