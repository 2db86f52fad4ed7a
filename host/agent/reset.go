// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/pipeline"
	"github.com/penstock-io/penstock/spec/abi"
)

// reset forgets where a source stands, durably, so that its next instance begins anew. The source does not run now; one that is held is
// tried again. Its cursor is nowhere else: see [Agent.fetch].
func (c *component) reset(ctx context.Context) error {
	if c.Kind != abi.Source {
		return &admin.Refusal{Code: admin.CodeUsage, Message: c.Address() + " is no source: it has no cursor",
			Hint: "What a sink is to get again: penstock channel replay"}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, moveWait, errNoRoom)
	defer cancel()
	if _, err := c.channel.Cursor(ctx, c.Address()); err != nil { // what was refused before is over
		return fmt.Errorf("forget the cursor of %s: %w", c.Address(), err)
	}
	err := commit(ctx, c.channel, channel.Put{Source: c.Address(), Removed: true})
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, channel.ErrFull) {
		return &admin.Refusal{Code: admin.CodeRefused, Message: fmt.Sprintf("%s keeps its cursor: %s takes nothing now (%v)", c.Address(), c.channel.address, err),
			Hint: "Its sinks must make room first. Then try again."}
	}
	if err != nil {
		return fmt.Errorf("forget the cursor of %s: %w", c.Address(), err)
	}
	if state, _, _ := c.fate(); state == pipeline.Held {
		c.State(pipeline.Starting, "")
	}
	return nil
}
