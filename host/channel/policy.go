// SPDX-License-Identifier: Apache-2.0

package channel

import (
	"fmt"
	"time"
)

// Capacity is how much a channel may hold that some reader has not committed. Zero means no bound.
type Capacity struct {
	Bytes  uint64
	Events uint64
	Age    time.Duration // since the oldest of it was committed by its source
}

// Held is how much that is. The age may be less than it is where nobody knows it to the event.
type Held struct {
	Bytes  uint64
	Events uint64
	Age    time.Duration
}

// String says it in the words of an error.
func (h Held) String() string {
	text := fmt.Sprintf("it holds %d events and %d bytes that not every reader has committed", h.Events, h.Bytes)
	if h.Age > 0 {
		text += fmt.Sprintf(", the oldest for %v", h.Age.Round(time.Millisecond))
	}
	return text
}

// Full says whether so much is no less than the capacity.
func (c Capacity) Full(h Held) bool {
	return c.Events > 0 && h.Events >= c.Events || c.Bytes > 0 && h.Bytes >= c.Bytes || c.Age > 0 && h.Events > 0 && h.Age >= c.Age
}
