// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"sync"
	"time"
)

// Pause is until when a destination has asked to be left alone. The loops of a sink share it: what one of them rolls back the next would take at once,
// and ask again. The zero Pause is ready.
type Pause struct {
	mu    sync.Mutex
	until time.Time
}

// extend notes that the destination has asked for so long.
func (p *Pause) extend(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.until) {
		p.until = until
	}
}

// wait returns when it may be asked, or ctx ends.
func (p *Pause) wait(ctx context.Context) {
	for ctx.Err() == nil {
		p.mu.Lock()
		left := time.Until(p.until)
		p.mu.Unlock()
		if left <= 0 {
			return
		}
		sleep(ctx, left)
	}
}
