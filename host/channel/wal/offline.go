// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/spec/event"
)

// Change opens a channel that no process has open, has something done to it, and closes it.
// What is sealed needs its keys; the first one seals what is written.
func Change(dir string, do func(*Channel) error, keys ...Key) error {
	o := Options{Dir: dir, OldKeys: keys}
	if len(keys) > 0 {
		o.Key = &keys[0]
	}
	c, err := Open(o)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// Forget drops a reader of a channel that no process has open, so that it holds no space any more.
func Forget(dir, reader string, keys ...Key) error {
	return Change(dir, func(c *Channel) error { return c.Forget(reader) }, keys...)
}

// Since finds the first event that was committed at t or later, as [Channel.Since]. It changes nothing, and may run while the channel is in
// use. What is sealed needs its keys.
func Since(dir string, t time.Time, keys ...Key) (event.Offset, error) {
	c, _, err := inspect(dir, keys)
	if err != nil {
		return 0, fmt.Errorf("look into channel %s: %w", dir, err)
	}
	return c.Since(t)
}

// Ahead says how many events there are at that offset and behind it, as [Channel.Ahead].
func Ahead(dir string, from event.Offset, keys ...Key) (uint64, error) {
	c, _, err := inspect(dir, keys)
	if err != nil {
		return 0, fmt.Errorf("look into channel %s: %w", dir, err)
	}
	return c.Ahead(from), nil
}
