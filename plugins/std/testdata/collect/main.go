// SPDX-License-Identifier: Apache-2.0

// Command collect is a guest for a test of the SDK. Its heap grows so that garbage is to be collected, then it allocates no more; its events say
// how often that was done.
package main

import (
	"runtime"
	"strconv"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

type source struct {
	heap  []byte
	stats runtime.MemStats
	body  []byte
}

// Open implements [sdk.Source].
func (s *source) Open(*sdk.Open) error {
	s.heap = make([]byte, 8<<20) // more than Go's smallest heap
	return nil
}

// Poll implements [sdk.Source].
func (s *source) Poll(p *sdk.Poll) error {
	runtime.ReadMemStats(&s.stats)
	s.body = strconv.AppendUint(s.body[:0], uint64(s.stats.NumGC), 10)
	return p.Append(event.Event{Body: s.body})
}

func main() {
	sdk.Main(map[string]sdk.Plugin{"collect": {Source: func() sdk.Source { return new(source) }}})
}
