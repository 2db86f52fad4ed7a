// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// templates is how many different lines there are: enough that compression is not flattered.
	templates = 64
	// seqDigits is the width of the sequence number: at 10 M events/s it lasts 30 years.
	seqDigits = 16
	// seqLabel stands before the sequence number.
	seqLabel = " seq="
	// minSize is the shortest line: the number, its label, and a little text.
	minSize = 32
	// patience is the longest that one Poll waits for the next event to be due.
	patience = 100 * time.Millisecond
	// gather is how long events become due before they are sent, so that a batch is worth its cost.
	gather = 10 * time.Millisecond
	// cursorKey is the one entry of the cursor: the next sequence number, in decimal.
	cursorKey = "next"
)

// generate makes log lines, numbered from 0. A line is a function of its number, so that whoever
// reads them can tell a lost one, a repeated one and a changed one.
type generate struct {
	rate  float64 // events a second; 0 = as many as are asked for
	count int64   // in all; 0 = endless

	next   int64
	digits [seqDigits]byte // next, in decimal
	lines  [templates][]byte
	cursor []byte // reused

	began time.Time // when, at the rate, the line numbered from was due
	from  int64
}

func newGenerate() sdk.Source { return new(generate) }

func (g *generate) Open(o *sdk.Open) error {
	cfg := struct {
		Rate  float64 `json:"rate"`
		Count int64   `json:"count"`
		Size  int     `json:"size"`
	}{Size: 256}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	switch {
	case cfg.Rate < 0:
		return sdk.ConfigError("rate", "is %v events a second, wanted 0 (no bound) or more", cfg.Rate)
	case cfg.Count < 0:
		return sdk.ConfigError("count", "is %d, wanted 0 (endless) or more", cfg.Count)
	case cfg.Size < minSize || cfg.Size > event.DefaultBatch-event.EventMargin:
		return sdk.ConfigError("size", "is %d bytes, wanted %d to %d", cfg.Size, minSize, event.DefaultBatch-event.EventMargin)
	}
	g.rate, g.count = cfg.Rate, cfg.Count
	if at, ok := o.Cursor[cursorKey]; ok {
		n, err := strconv.ParseInt(string(at), 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("resume: cursor is %q, wanted a sequence number", at)
		}
		g.next = n
	}
	copy(g.digits[:], fmt.Sprintf("%0*d", seqDigits, g.next))
	for i := range g.lines {
		g.lines[i] = template(i, cfg.Size)
	}
	return nil
}

// template returns a line of a web server's log, with room for the number at its end.
func template(i, size int) []byte {
	methods := [...]string{"GET", "GET", "GET", "POST", "PUT"}
	paths := [...]string{"/", "/cart", "/cart/items", "/api/v1/orders", "/static/app.js", "/search?q=pump", "/login"}
	codes := [...]int{200, 200, 200, 304, 201, 404, 500, 302}
	agents := [...]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
		"curl/8.9.1", "kube-probe/1.31",
	}
	text := fmt.Sprintf(`203.0.113.%d - - [22/Nov/2026:10:%02d:%02d +0000] "%s %s HTTP/1.1" %d %d "https://shop.example%s" "%s"`,
		1+i*37%254, i*7%60, i*13%60, methods[i%len(methods)], paths[i%len(paths)], codes[i%len(codes)], 120+i*7919%90000,
		paths[(i+3)%len(paths)], agents[i%len(agents)])
	room := size - len(seqLabel) - seqDigits
	for n := 0; len(text) < room; n++ {
		text += fmt.Sprintf(" trace%d=%016x", n, uint64(i*31+n+1)*0x9e3779b97f4a7c15)
	}
	return append([]byte(text[:room]+seqLabel), make([]byte, seqDigits)...)
}

func (g *generate) Poll(p *sdk.Poll) error {
	now := p.Now()
	due, err := g.due(p, now)
	if err != nil || due == 0 {
		return err
	}
	for ; due > 0; due-- {
		err := p.Append(event.Event{Time: now.UnixNano(), Body: g.line()})
		if errors.Is(err, sdk.ErrFull) {
			break // the rest is due at the next Poll
		}
		if err != nil {
			return fmt.Errorf("append line %d: %w", g.next, err)
		}
		g.advance()
	}
	g.cursor = strconv.AppendInt(g.cursor[:0], g.next, 10)
	return p.SetCursor(cursorKey, g.cursor)
}

// due says how many events may be sent now, after waiting for some.
func (g *generate) due(p *sdk.Poll, now time.Time) (int64, error) {
	left := int64(p.MaxEvents)
	if g.count > 0 {
		left = min(left, g.count-g.next)
		if left <= 0 {
			return 0, sdk.Done
		}
	}
	if g.rate == 0 {
		return left, nil
	}
	late := now.Sub(g.began) - time.Duration(float64(g.next-g.from)/g.rate*float64(time.Second))
	if g.began.IsZero() || late > time.Second {
		g.began, g.from, late = now, g.next, 0 // what a stalled pipeline missed is not made up for
	}
	if n := int64(late.Seconds() * g.rate); n > 0 {
		return min(n, left), nil
	}
	wait := time.Duration(float64(time.Second)/g.rate) - late
	return 0, p.Sleep(min(max(wait, gather), patience, max(p.Timeout, time.Millisecond)))
}

// line returns the next line, in memory that later lines reuse.
func (g *generate) line() []byte {
	l := g.lines[g.next%templates]
	copy(l[len(l)-seqDigits:], g.digits[:])
	return l
}

// advance adds one to next and to its digits: a carry is rare, a division an event is not needed.
func (g *generate) advance() {
	g.next++
	for i := seqDigits - 1; i >= 0; i-- {
		if g.digits[i] < '9' {
			g.digits[i]++
			return
		}
		g.digits[i] = '0'
	}
}
