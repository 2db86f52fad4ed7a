// SPDX-License-Identifier: Apache-2.0

package reliability

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Print prints the figures, for a terminal as for Markdown.
func (f Figures) Print(w io.Writer) {
	rows := [][]string{{"part", "what was done", "times", "of", "looked for", "injected", "lost", "twice", "wrong", "stuck", "result", "s"}}
	for _, r := range f.Rows {
		rows = append(rows, []string{string(r.Part), r.What, count(r.Tried), blank(r.Of), blank(r.Checked), blank(r.Fired),
			count(r.Lost), count(r.Twice), count(r.Wrong), count(r.Stuck), r.result(), fmt.Sprintf("%.0f", r.Seconds)})
	}
	printTable(w, rows)
	rows = [][]string{{"what was measured", "is", "may be"}}
	for _, b := range f.Bars {
		rows = append(rows, []string{b.What, fmt.Sprintf("%.3g %s", b.Measured, b.Unit), fmt.Sprintf("%.3g %s", b.Most, b.Unit)})
	}
	printMore(w, rows)
	rows = [][]string{{"taken out of the code", "places", "caught", "not caught", "cannot matter", "open"}}
	for _, m := range f.Mutations {
		rows = append(rows, []string{m.Kind, count(m.Sites), count(m.Caught), count(m.Uncaught), count(m.CannotMatter), count(m.Open)})
	}
	printMore(w, rows)
}

// printMore prints one more table, if there is something in it.
func printMore(w io.Writer, rows [][]string) {
	if len(rows) > 1 {
		fmt.Fprintln(w)
		printTable(w, rows)
	}
}

// result says in a few words how it ended.
func (r Row) result() string {
	s := "nothing lost"
	switch {
	case r.Caught:
		s = "caught"
	case r.Part == Control && r.Excuse != "":
		s = "not caught: " + r.Excuse
	case r.Part == Control:
		s = "MISSED"
	case r.found() > 0:
		s = "FAILED"
	}
	if r.Unfit > 0 {
		s += fmt.Sprintf("; %d not mountable", r.Unfit)
	}
	if r.Note != "" {
		s += "; " + r.Note
	}
	return s
}

// printTable prints rows of cells, the first of which is the head.
func printTable(w io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, c := range cells {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	line := func(cells []string, pad string) {
		for i, c := range cells {
			fill := strings.Repeat(pad, width[i]-utf8.RuneCountInString(c))
			if _, err := strconv.ParseFloat(strings.ReplaceAll(c, " ", ""), 64); err == nil {
				c, fill = fill+c, "" // numbers stand to the right
			}
			fmt.Fprintf(w, "| %s%s ", c, fill)
		}
		fmt.Fprintln(w, "|")
	}
	for i, cells := range rows {
		line(cells, " ")
		if i == 0 {
			line(make([]string, len(cells)), "-")
		}
	}
}

// count writes a number for people: 1234567 as "1 234 567".
func count(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + " " + s[at:]
	}
	return s
}

// blank leaves out what says nothing.
func blank(n int) string {
	if n == 0 {
		return ""
	}
	return count(n)
}
