// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree is a small channel with tests that catch some of what can be done to it.
var tree = map[string]string{
	"go.mod":          "module example.com/small\n\ngo 1.26\n",
	"wal/wal.go":      smallCode,
	"wal/wal_test.go": smallTests,
}

const smallCode = `package wal

import "errors"

var errShort = errors.New("short")

type disk interface{ Sync() error }

type log struct {
	d       disk
	n       int
	stopped error
	tired   bool
}

func (l *log) put(b []byte) error {
	if len(b) == 0 || len(b) > 10 {
		return errShort
	}
	if l.stopped != nil {
		return l.stopped
	}
	l.n++
	if err := l.d.Sync(); err != nil {
		l.stopped = err
		return err
	}
	l.tired = true
	return nil
}
`

const smallTests = `package wal

import (
	"errors"
	"testing"
)

type fake struct {
	syncs int
	err   error
}

func (f *fake) Sync() error { f.syncs++; return f.err }

func TestSync(t *testing.T) {
	f := &fake{}
	l := log{d: f}
	if l.put([]byte("x")) != nil || f.syncs != 1 {
		t.Error("not synced")
	}
	f.err = errors.New("broken")
	if l.put([]byte("x")) == nil || l.put([]byte("x")) == nil || f.syncs != 2 {
		t.Error("not latched")
	}
}

func TestEmpty(t *testing.T) {
	l := log{d: &fake{}}
	if l.put(nil) == nil {
		t.Error("empty")
	}
}
`

const rows = `latch stopped
no latch tired: nobody asks

file wal/wal.go

sync log.put: l.d.Sync()
	TestSync
latch log.put: l.stopped = err
	TestSync
latch log.put: l.stopped != nil
	TestSync
check log.put: len(b) == 0
	TestEmpty
check log.put: len(b) > 10
	cannot matter: it is small enough
law log.put: it is counted
	- 	l.n++
	+ 	l.n--
	cannot matter: nobody looks
`

// plant writes the small tree with a table, and takes its survey.
func plant(t *testing.T, table string, edit func(code string) string) (*survey, error) {
	t.Helper()
	root := t.TempDir()
	for name, data := range tree {
		if name == "wal/wal.go" && edit != nil {
			data = edit(data)
		}
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(root, "table.txt")
	if err := os.WriteFile(path, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	return takeSurvey(root, path, []*pkg{{name: "wal", dir: "wal"}})
}

func TestATableThatHasAllIsProved(t *testing.T) {
	s, err := plant(t, rows, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := (&options{json: true}).do(s, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	var got struct{ Counts []tally }
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	want := []tally{{"sync", 1, 1, 0, 0, 0}, {"check", 2, 1, 0, 1, 0}, {"latch", 2, 2, 0, 0, 0}, {"law", 1, 0, 0, 1, 0}, {"all", 6, 4, 0, 2, 0}}
	if !slices.Equal(got.Counts, want) {
		t.Errorf("counted %+v", got.Counts)
	}
}

func TestAMutationThatIsNotCaughtFails(t *testing.T) {
	s, err := plant(t, strings.Replace(rows, "\tTestEmpty", "\tTestSync", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := (&options{}).do(s, &out); !errors.Is(err, errUncaught) || strings.Count(out.String(), "NOT CAUGHT") != 1+chances {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestARowThatIsOpenFails(t *testing.T) {
	s, err := plant(t, strings.Replace(rows, "\tTestEmpty", "\topen: nobody has looked", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&options{}).do(s, &strings.Builder{}); !errors.Is(err, errUncaught) {
		t.Error(err)
	}
}

func TestWhatTheTableDoesNotSayFails(t *testing.T) {
	for name, c := range map[string]struct {
		rows string
		edit func(string) string
		want string
	}{
		"a site without a row": {rows, func(code string) string {
			return strings.Replace(code, "l.n++", "l.n++\n\tif l.n > 99 { return errors.New(\"full\") }", 1)
		}, `no row for "check log.put: l.n > 99"`},
		"a site that is there twice": {rows, func(code string) string {
			return strings.Replace(code, "l.n++", "l.n++\n\t_ = l.d.Sync()", 1)
		}, `no row for "sync log.put: l.d.Sync() #2"`},
		"a row without a site": {rows, func(code string) string {
			return strings.Replace(code, " || len(b) > 10", "", 1)
		}, `no site "check log.put: len(b) > 10" any more`},
		"a new flag": {rows, func(code string) string {
			return strings.Replace(code, "tired   bool", "tired, lame bool", 1)
		}, "lame is a field that could be a latch"},
		"a row that says nothing": {strings.Replace(rows, "\tTestEmpty\n", "", 1), nil, "neither a test"},
		"a law whose code is gone": {rows, func(code string) string {
			return strings.Replace(code, "l.n++", "l.n += 1", 1)
		}, `the code of "law log.put: it is counted" is not in wal/wal.go once`},
		"a test that is not there": {strings.Replace(rows, "TestEmpty", "TestNone", 1), nil, "there is no test TestNone"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := plant(t, c.rows, c.edit)
			if err == nil {
				err = (&options{}).do(s, &strings.Builder{})
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it said %v", err)
			}
		})
	}
}

func TestAProposalNamesTheTestAndIsWrittenInTheOrderOfTheCode(t *testing.T) {
	s, err := plant(t, strings.Replace(rows, "sync log.put: l.d.Sync()\n\tTestSync\n", "", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&options{propose: true, write: true}).do(s, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if sites(string(got)) != sites(rows) || !strings.Contains(string(got), "sync log.put: l.d.Sync()\n\tTest") {
		t.Errorf("it wrote\n%s", got)
	}
}

// sites lists the rows of a table by their ids, sorted.
func sites(table string) string {
	var ids []string
	for line := range strings.Lines(table) {
		if line[0] != '\t' && line[0] != '\n' {
			ids = append(ids, line)
		}
	}
	slices.Sort(ids)
	return strings.Join(ids, "")
}
