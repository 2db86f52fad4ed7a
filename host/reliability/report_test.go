// SPDX-License-Identifier: Apache-2.0

package reliability

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var (
	form  = flag.String("form", "", "how much must have been done: short or soak; empty: there is no run to judge")
	write = flag.Bool("write", false, "write spec/reliability.md")
)

// minimum is how often a part is done at least, in each form of the run.
type minimum struct {
	part        Part
	what        string // of the rows that count; empty: all of the part
	short, soak int
}

// minima are what the forms of the run promise.
var minima = []minimum{
	{Kill, "an agent under load", 50, 500},
	{Kill, "a process that works on a channel", 100, 1000},
	{Kill, "a process that works on a channel, compressed and encrypted", 34, 334},
	{Kill, "a chain of three agents, its links, plugins and PostgreSQL", 30, 300},
	{Kill, "a chain of three agents, on networks that lose packets", 30, 300},
	{Terminate, "", 10, 40},
	{PowerCut, "ext4 ordered", 80, 500},
	{PowerCut, "ext4 writeback", 80, 500},
	{PowerCut, "ext4 writeback, compressed and encrypted", 80, 500},
	{PowerCut, "xfs", 80, 500},
	{PowerCut, "btrfs", 80, 500},
	{Simulated, "", 1000, 1000},
	{Failure, "", 32, 600},
	{FullDisk, "", 7, 7},
	{Flip, "", 5000, 5000},
	{Harm, "", 30, 30},
	{Large, "", 3, 3},
	{Control, "", 6, 6},
}

// least is what of the minimum counts in a form.
func (m minimum) least(form string) int {
	if form == "soak" {
		return m.soak
	}
	return m.short
}

// done is how often it was done: of controls, how many were caught; of what has a bound, how much was measured.
func (m minimum) done(f Figures) (n int) {
	for _, b := range f.Bars {
		if b.Part == m.part {
			n++
		}
	}
	for _, r := range f.Rows {
		switch {
		case r.Part != m.part || m.what != "" && m.what != r.What:
		case r.Part != Control:
			n += r.Tried
		case r.Caught:
			n++
		}
	}
	return n
}

// judge says what is wrong with a run.
func judge(f Figures, form string) (wrong []string) {
	for _, r := range f.Rows {
		switch {
		case r.Part == Control && !r.Caught && r.Excuse == "":
			wrong = append(wrong, fmt.Sprintf("%s: %s was not caught", r.Part, r.What))
		case r.Part != Control && r.found() > 0:
			wrong = append(wrong, fmt.Sprintf("%s: %s: lost %d, twice %d, wrong %d, stuck %d, of %d", r.Part, r.What, r.Lost, r.Twice, r.Wrong, r.Stuck, r.Tried))
		case r.Part == Failure && r.Fired < r.Tried:
			wrong = append(wrong, fmt.Sprintf("%s: of %d runs %d had a failure", r.What, r.Tried, r.Fired))
		}
	}
	for _, m := range f.Mutations {
		if m.Uncaught > 0 {
			wrong = append(wrong, fmt.Sprintf("of %d places of the kind %q that were taken out of the code %d were not caught", m.Sites, m.Kind, m.Uncaught))
		}
	}
	for _, b := range f.Bars {
		if b.Measured > b.Most {
			wrong = append(wrong, fmt.Sprintf("%s: %.3g %s, at most %.3g", b.What, b.Measured, b.Unit, b.Most))
		}
	}
	for _, m := range minima {
		if n := m.done(f); n < m.least(form) {
			wrong = append(wrong, fmt.Sprintf("%s %s: %d times, at least %d are wanted", m.part, m.what, n, m.least(form)))
		}
	}
	return wrong
}

// sum says in some lines what it all comes to.
func (f Figures) sum(w io.Writer) {
	images, kills, looked, lost, twice, fired, caught, controls, harmless := 0, 0, 0, 0, 0, 0, 0, 0, 0
	for _, r := range f.Rows {
		if r.Part == Control {
			controls++
			if r.Caught {
				caught++
			} else if r.Excuse != "" {
				harmless++
			}
			continue
		}
		looked, lost, twice, fired = looked+r.Checked, lost+r.Lost, twice+r.Twice, fired+r.Fired
		switch r.Part {
		case PowerCut:
			images += r.Tried
		case Kill:
			kills += r.Tried
		}
	}
	fmt.Fprintf(w, "%s distinct disk images · %s kills · %s acknowledged transactions and lines looked for · lost %d · twice %d · %s failures injected · controls caught %d of %d",
		count(images), count(kills), count(looked), lost, twice, count(fired), caught, controls)
	if harmless > 0 {
		fmt.Fprintf(w, ", %d cannot matter", harmless)
	}
	fmt.Fprintln(w)
}

// printMinima prints what each form does at least.
func printMinima(w io.Writer) {
	rows := [][]string{{"part", "", "`make crash`", "`make soak`"}}
	for _, m := range minima {
		rows = append(rows, []string{string(m.part), m.what, count(m.short), count(m.soak)})
	}
	printTable(w, rows)
}

// TestTheTable reads what a run found, prints it, and judges it.
func TestTheTable(t *testing.T) {
	dir := os.Getenv(Directory)
	if *form == "" || dir == "" {
		t.Skip("there is no run to judge: make crash, make soak")
	}
	f, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	f.Print(&text)
	fmt.Fprintln(&text)
	f.sum(&text)
	fmt.Printf("\n%s\n", text.Bytes())
	printMinima(os.Stdout)
	for _, w := range judge(f, *form) {
		t.Error(w)
	}
	if *write && !t.Failed() {
		if err := os.WriteFile("../../spec/reliability.md", document(f, text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// document is spec/reliability.md.
func document(f Figures, tables string) []byte {
	var d, m, c bytes.Buffer
	printMinima(&m)
	printCases(&c)
	fmt.Fprintf(&d, template, time.Now().UTC().Format("2006-01-02"), kernel(), fileSystemOf(os.TempDir()), runtime.Version(), runtime.NumCPU(),
		seeds(f), tables, m.String(), c.String())
	return d.Bytes()
}

func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-") // what follows names the machine's maker
	return "Linux " + version
}

// fileSystemOf is the kind of file system that a directory lies on.
func fileSystemOf(dir string) string {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return "unknown"
	}
	best, kind := "", "unknown"
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		rel, err := filepath.Rel(f[1], dir)
		if err == nil && !strings.HasPrefix(rel, "..") && len(f[1]) >= len(best) {
			best, kind = f[1], f[2]
		}
	}
	return kind
}

// seeds are those of the parts that chose at random.
func seeds(f Figures) string {
	var list []string
	for _, r := range f.Rows {
		s := fmt.Sprintf("%s %d", r.Part, r.Seed)
		if r.Seed != 0 && !strings.Contains(strings.Join(list, ", "), s) {
			list = append(list, s)
		}
	}
	return strings.Join(list, ", ")
}
