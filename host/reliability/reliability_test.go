// SPDX-License-Identifier: Apache-2.0

package reliability

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// enough are figures that pass as a soak.
func enough() (f Figures) {
	for _, m := range minima {
		what := m.what
		if what == "" {
			what = "anything"
		}
		switch m.part {
		case Control:
			for range m.soak {
				f.Rows = append(f.Rows, Row{Part: Control, What: what, Tried: 9, Lost: 1, Caught: true})
			}
		case Large:
			for range m.soak {
				f.Bars = append(f.Bars, Bar{Part: Large, What: "memory", Measured: 1, Most: 2, Unit: "MiB"})
			}
		default:
			f.Rows = append(f.Rows, Row{Part: m.part, What: what, Tried: m.soak, Fired: m.soak, Checked: 10})
		}
	}
	f.Mutations = []Mutations{{Kind: "sync", Sites: 3, Caught: 2, CannotMatter: 1}}
	return f
}

func TestARunIsJudged(t *testing.T) {
	find := func(f *Figures, p Part) *Row {
		return &f.Rows[slices.IndexFunc(f.Rows, func(r Row) bool { return r.Part == p })]
	}
	for name, c := range map[string]struct {
		change func(*Figures)
		want   string // empty: nothing is wrong
	}{
		"enough was done and nothing was lost":       {func(*Figures) {}, ""},
		"a control that cannot matter is not caught": {func(f *Figures) { f.Rows = append(f.Rows, Row{Part: Control, Excuse: "why"}) }, ""},
		"a control is not caught":                    {func(f *Figures) { f.Rows = append(f.Rows, Row{Part: Control, What: "no sync"}) }, "no sync was not caught"},
		"something was lost":                         {func(f *Figures) { find(f, PowerCut).Lost = 1 }, "lost 1"},
		"something came twice":                       {func(f *Figures) { find(f, Kill).Twice = 1 }, "twice 1"},
		"something was wrong":                        {func(f *Figures) { find(f, Flip).Wrong = 1 }, "wrong 1"},
		"something did not open":                     {func(f *Figures) { find(f, FullDisk).Stuck = 1 }, "stuck 1"},
		"a failure was not injected":                 {func(f *Figures) { find(f, Failure).Fired-- }, "had a failure"},
		"too few kills":                              {func(f *Figures) { find(f, Kill).Tried-- }, "are wanted"},
		"too few images of one file system":          {func(f *Figures) { find(f, PowerCut).Tried-- }, "power cut ext4 ordered"},
		"too few controls": {func(f *Figures) {
			find(f, Control).Caught, find(f, Control).Excuse = false, "why"
		}, "control"},
		"too much memory":              {func(f *Figures) { f.Bars[0].Measured = 3 }, "memory"},
		"nobody measured the memory":   {func(f *Figures) { f.Bars = nil }, "large backlog"},
		"a mutation was not caught":    {func(f *Figures) { f.Mutations[0].Uncaught = 1 }, "not caught"},
		"there was no mutation at all": {func(f *Figures) { f.Mutations = nil }, ""},
	} {
		f := enough()
		c.change(&f)
		wrong := strings.Join(judge(f, "soak"), "\n")
		if c.want == "" && wrong != "" || !strings.Contains(wrong, c.want) {
			t.Errorf("%s: judged %q", name, wrong)
		}
	}
}

func TestFiguresThatAreWrittenAreReadBack(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(Directory, dir)
	f := enough()
	err := Write("first", Figures{Rows: []Row{{Part: Kill, What: "is replaced", Lost: 7}}})
	if err == nil {
		err = Write("first", f)
	}
	if err == nil {
		err = Write("second", Figures{Rows: []Row{{Part: Harm, What: "anything", Tried: 2}}}) // in another process
	}
	if err == nil { // as the mutation run prints it
		err = os.WriteFile(filepath.Join(dir, "mutations.json"), []byte(`{"counts": [{"kind": "all", "sites": 3, "caught": 3}], "rows": [{"kind": "sync", "seconds": 1}]}`), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || len(got.Rows) != len(f.Rows) || len(got.Bars) != len(f.Bars) || len(got.Mutations) != 1 || got.Mutations[0].Caught != 3 {
		t.Fatalf("read %+v, %v", got, err)
	}
	if i := slices.IndexFunc(got.Rows, func(r Row) bool { return r.Part == Harm }); got.Rows[i].Tried != 32 {
		t.Errorf("what two processes did is %+v", got.Rows[i])
	}
	if wrong := judge(got, "soak"); len(wrong) > 0 {
		t.Errorf("judged %q", wrong)
	}
	var out bytes.Buffer
	got.Print(&out)
	got.sum(&out)
	for _, want := range []string{"| kill -9 ", "| caught ", "| memory ", "| all ", "· lost 0 · twice 0 ·"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed without %q:\n%s", want, out.String())
		}
	}
}
