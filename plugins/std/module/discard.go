// SPDX-License-Identifier: Apache-2.0

package module

import (
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// discard takes everything and keeps nothing: for measuring, and for what nobody needs.
type discard struct{}

func newDiscard() sdk.Sink { return discard{} }

func (discard) Open(*sdk.Open) error { return nil }

func (discard) Write(event.Range, event.Batch, *sdk.Delivery) error { return nil }
