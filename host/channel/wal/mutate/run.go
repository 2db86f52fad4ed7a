// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// workers is how many mutations are tried at a time.
const workers = 2

// rowTime bounds the tests of one row, beside so many times what they take without a mutation: one that hangs has been caught.
const (
	rowTime  = 10 * time.Second
	rowTimes = 10
)

// bench builds test binaries with all mutations in them, and runs them.
type bench struct {
	root, folder, overlay string
	dirs                  map[string]string                   // where the tests of a package are, by its name
	took                  map[string]map[string]time.Duration // by package, and test or part of one: in the control run
}

// test of a row, "[package.]Test[/subtest]", in two parts.
func (m *mutation) test() (name, test string) {
	if name, test, ok := strings.Cut(m.row.test, "."); ok {
		return name, test
	}
	return m.file.pkg.name, m.row.test
}

func (b *bench) binary(name string) string { return filepath.Join(b.folder, name+".test") }

// build compiles the tests of some packages, once.
func (b *bench) build(names []string) error {
	for _, name := range names {
		if _, ok := b.dirs[name]; !ok {
			return fmt.Errorf("the table names tests of %q: it may be %s", name, strings.Join(slices.Sorted(maps.Keys(b.dirs)), ", "))
		}
		cmd := exec.Command("go", "test", "-c", "-overlay", b.overlay, "-o", b.binary(name), "./"+b.dirs[name])
		cmd.Dir = b.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build the tests of %s with the mutations: %w\n%s", name, err, out)
		}
	}
	return nil
}

// run runs tests with a mutation on, 0 for none, and says whether they passed. reached, unless it is "", is a file for the places they come to.
func (b *bench) run(n int, name, pattern string, limit time.Duration, reached string) (out string, passed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), limit+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.binary(name), "-test.v", "-test.failfast", "-test.timeout="+limit.String(), "-test.run="+pattern)
	cmd.Dir = filepath.Join(b.root, b.dirs[name])
	cmd.Env = append(os.Environ(), "MUTATION="+strconv.Itoa(n), "MUTATION_REACHED="+reached)
	text, err := cmd.CombinedOutput()
	return string(text), err == nil
}

// exactly is the pattern for one test, or for one part of it.
func exactly(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

var result = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)

// control runs tests without a mutation, which must pass, and notes how long they take.
func (b *bench) control(name string, tests []string) error {
	var whole []string // parts are run with the rest of their tests
	for _, t := range tests {
		top, _, _ := strings.Cut(t, "/")
		whole = append(whole, top)
	}
	pattern := "^(" + strings.Join(slices.Compact(whole), "|") + ")$"
	out, passed := b.run(0, name, pattern, 10*time.Minute, "")
	took := map[string]time.Duration{}
	for _, m := range result.FindAllStringSubmatch(out, -1) {
		if m[1] == "PASS" {
			took[m[2]], _ = time.ParseDuration(m[3] + "s")
		}
	}
	b.took[name] = took
	if !passed {
		return fmt.Errorf("the tests of %s fail without any mutation:\n%s", name, out)
	}
	for _, t := range tests {
		if _, ok := took[t]; !ok {
			return fmt.Errorf("there is no test %s in %s, or it was skipped", t, b.dirs[name])
		}
	}
	return nil
}

// outcome is what came of one mutation.
type outcome struct {
	*mutation
	caught bool
	took   time.Duration
	says   string // the first line of the failure
}

// try runs the test of one row.
func (b *bench) try(m *mutation) outcome {
	name, test := m.test()
	begun := time.Now()
	out, passed := b.run(m.n, name, exactly(test), rowTime+rowTimes*b.took[name][test], "")
	return outcome{mutation: m, caught: !passed, took: time.Since(begun), says: complaint(out)}
}

// complaint is the line of a failed run that says what failed.
func complaint(out string) string {
	for _, mark := range []string{"panic: ", "_test.go:", "channeltest/", "--- FAIL"} {
		for line := range strings.Lines(out) {
			if strings.Contains(line, mark) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

// each does something for all, two at a time, and keeps the order.
func each[T, R any](list []T, do func(T) R, done func(i int, r R)) []R {
	results := make([]R, len(list))
	next := make(chan int)
	var wait sync.WaitGroup
	var mu sync.Mutex
	for range workers {
		wait.Go(func() {
			for i := range next {
				results[i] = do(list[i])
				mu.Lock()
				done(i, results[i])
				mu.Unlock()
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wait.Wait()
	return results
}

// visits is which tests come to the place of a mutation, by its number; the quick ones first.
type visits map[int][]candidate

type candidate struct {
	name, test string // package, test
	took       time.Duration
}

// visit runs each test for itself, and notes where it comes to.
func (b *bench) visit(names []string) (visits, error) {
	var all []candidate
	for _, name := range names {
		list, err := exec.Command(b.binary(name), "-test.list=^Test").Output()
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", name, err)
		}
		for _, test := range strings.Fields(string(list)) {
			if test != "TestMain" && !isRandom(test) {
				all = append(all, candidate{name: name, test: test})
			}
		}
	}
	places := make([][]int, len(all))
	var errs []error
	each(numbers(len(all)), func(i int) string {
		file := filepath.Join(b.folder, "reached-"+strconv.Itoa(i))
		begun := time.Now()
		if _, passed := b.run(0, all[i].name, exactly(all[i].test), 10*time.Minute, file); !passed {
			return all[i].test
		}
		all[i].took = time.Since(begun)
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			n, _ := strconv.Atoi(strings.TrimSpace(line))
			places[i] = append(places[i], n)
		}
		return ""
	}, func(i int, failed string) {
		if failed != "" {
			errs = append(errs, fmt.Errorf("%s of %s fails without any mutation", failed, all[i].name))
		}
	})
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	v := visits{}
	for i, c := range all {
		for _, n := range places[i] {
			v[n] = append(v[n], c)
		}
	}
	for _, list := range v {
		slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(a.took, b.took) })
	}
	return v, nil
}

// finder looks for the tests that catch mutations.
type finder struct {
	*bench
	visits
	patience time.Duration // for one mutation
	mu       sync.Mutex
	caught   map[string]int // how often a test did: by test, and by file and test
}

// tries is how many tests are run by themselves before the quick ones are run together.
const tries = 4

// find looks for a test that catches a mutation, among those that come to it, for a while: first those that caught others, of
// the same file above all, then the quick ones.
func (f *finder) find(m *mutation) string {
	begun := time.Now()
	first, quick, slow := f.candidates(m)
	for _, c := range first {
		if _, passed := f.run(m.n, c.name, exactly(c.test), findTime, ""); !passed {
			return f.note(m, c.name, c.test)
		}
	}
	for name, list := range quick {
		if out, passed := f.run(m.n, name, "^("+strings.Join(list, "|")+")$", findTime, ""); !passed {
			return f.note(m, name, failed(out))
		}
	}
	for _, c := range slow {
		if time.Since(begun) > f.patience {
			break
		}
		if _, passed := f.run(m.n, c.name, exactly(c.test), findTime, ""); !passed {
			return f.note(m, c.name, c.test)
		}
	}
	return ""
}

// candidates are the tests that come to a mutation: the most likely, the quick ones by package, and the slow ones.
func (f *finder) candidates(m *mutation) (first []candidate, quick map[string][]string, slow []candidate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := slices.Clone(f.visits[m.n])
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(f.caught[m.file.name+b.test], f.caught[m.file.name+a.test]), cmp.Compare(f.caught[b.test], f.caught[a.test]))
	})
	quick = map[string][]string{}
	for _, c := range list {
		if len(first) < tries && f.caught[c.test] > 0 && c.took < 10*quickTest {
			first = append(first, c)
		} else if c.took < quickTest {
			quick[c.name] = append(quick[c.name], c.test)
		} else {
			slow = append(slow, c)
		}
	}
	slices.SortFunc(slow, func(a, b candidate) int { return cmp.Compare(a.took, b.took) })
	return first, quick, slow
}

const findTime = time.Minute

const quickTest = 400 * time.Millisecond

// note remembers who caught a mutation, and gives its name as a row has it.
func (f *finder) note(m *mutation, name, test string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.caught[test]++
	f.caught[m.file.name+test]++
	if name != m.file.pkg.name {
		return name + "." + test
	}
	return test
}

var (
	failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+) `)
	running = regexp.MustCompile(`(?m)^=== RUN   (\S+)$`)
)

// failed is the test that failed, or was running when the process died.
func failed(out string) string {
	if m := failure.FindStringSubmatch(out); m != nil {
		return m[1]
	}
	all := running.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return ""
	}
	top, _, _ := strings.Cut(all[len(all)-1][1], "/")
	return top
}

// isRandom says whether a test does other things each time, so that no row can count on it.
func isRandom(test string) bool {
	return slices.Contains([]string{"TestItDoesWhatTheModelDoes", "TestTenProducersAndTenTakersLoseAndRepeatNothing", "TestItKeepsTheLawsBelowFsync"}, test)
}

func numbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
