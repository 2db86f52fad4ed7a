// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"
)

// progressBar draws a bar on a terminal, and nothing elsewhere.
type progressBar struct {
	to    *terminal
	what  string
	quiet bool
	unit  func(uint64) string // how an amount is written; nil: in bytes

	drawn time.Time // when it was last drawn; zero: never
}

const (
	// redraw is how often a bar changes at most: more would only cost.
	redraw    = 100 * time.Millisecond
	barCells  = 30
	clearLine = "\r\x1b[K"
)

// draw shows how much of total is done.
func (p *progressBar) draw(done, total int64) {
	if p.quiet || !p.to.tty || total <= 0 || time.Since(p.drawn) < redraw {
		return
	}
	p.drawn = time.Now()
	unit := p.unit
	if unit == nil {
		unit = size
	}
	cells := int(min(done, total) * barCells / total)
	p.to.printf("%s%s [%s%s] %s of %s", clearLine, p.what, strings.Repeat("#", cells), strings.Repeat(" ", barCells-cells),
		unit(uint64(done)), unit(uint64(total)))
}

// clear removes the bar, so that what follows stands in its place.
func (p *progressBar) clear() {
	if !p.drawn.IsZero() {
		p.to.printf("%s", clearLine)
	}
}
