// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/penstock-io/penstock/host/config"
)

// terminal is a stream to a person, or to a pipe.
type terminal struct {
	io.Writer
	tty   bool // someone looks at it: progress may be drawn
	color bool
	width int
}

// Sizes of lines when the terminal does not say.
const (
	usualWidth = 80
	leastWidth = 20
)

// newTerminal looks at what w is. NO_COLOR, TERM=dumb and pipes are obeyed.
func newTerminal(w io.Writer) *terminal {
	t := &terminal{Writer: w, width: usualWidth}
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return t
	}
	t.tty = true
	t.color = os.Getenv("NO_COLOR") == ""
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width >= leastWidth {
		t.width = width
	}
	return t
}

// printf writes. An error is that of a reader who went away, and there is nobody to tell.
func (t *terminal) printf(format string, args ...any) { _, _ = fmt.Fprintf(t, format, args...) }

// Colours, as SGR sequences.
const (
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[1;31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

func (t *terminal) paint(color, s string) string {
	if !t.color {
		return s
	}
	return color + s + plain
}

// table writes rows in columns. Cells must not be painted: their width would be counted wrongly.
func (t *terminal) table(rows [][]string) {
	var b bytes.Buffer // a cell that is empty counts as one of its column, but leaves no blanks at the end of a line
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush()
	for line := range strings.Lines(b.String()) {
		_, _ = fmt.Fprintln(t, strings.TrimRight(line, " \n"))
	}
}

// envelope is what every command with --json prints.
type envelope struct {
	Command string   `json:"command"`
	OK      bool     `json:"ok"`
	Summary string   `json:"summary"`
	Result  any      `json:"result,omitempty"`
	Error   *problem `json:"error,omitempty"`
}

// problem is the error of an envelope.
type problem struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Hint    string            `json:"hint,omitempty"`
	Range   *config.JSONRange `json:"range,omitempty"` // in a log, bytes alone
}

// withJSON gives the command its --json.
func withJSON(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().Bool("json", false, "print one JSON object: command, ok, summary, result, error")
	return cmd
}

func wantsJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

func writeEnvelope(w io.Writer, e envelope) {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(e)
}

// answer prints what a command was asked for: as JSON, or the way human does it.
func (a *app) answer(cmd *cobra.Command, summary string, result any, human func(t *terminal)) error {
	if wantsJSON(cmd) {
		writeEnvelope(a.out, envelope{Command: commandName(cmd), OK: true, Summary: summary, Result: result})
		return nil
	}
	human(a.out)
	return nil
}

// number writes n in groups of three: 1 234 567.
func number[N ~int | ~int64 | ~uint64](n N) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// size writes bytes in the unit that leaves a short number: 1.2 GiB.
func size(bytes uint64) string {
	const units = "KMGTPE"
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	f, i := float64(bytes)/1024, 0
	for f >= 1000 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %ciB", f, units[i])
	}
	return fmt.Sprintf("%.0f %ciB", f, units[i])
}

// span writes a duration in its two largest units: 2 h 5 min, 26 s, 340 ms.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return twoUnits(int(d.Seconds()), 60, "min", "s")
	case d < 48*time.Hour:
		return twoUnits(int(d.Minutes()), 60, "h", "min")
	}
	return twoUnits(int(d.Hours()), 24, "d", "h")
}

func twoUnits(n, per int, large, small string) string {
	if n%per == 0 {
		return fmt.Sprintf("%d %s", n/per, large)
	}
	return fmt.Sprintf("%d %s %d %s", n/per, large, n%per, small)
}

// plural writes "1 error", "3 errors".
func plural[N ~int | ~int64 | ~uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return number(n) + " " + what + "s"
}
