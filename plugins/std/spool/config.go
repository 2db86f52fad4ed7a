// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"cmp"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/penstock-io/penstock/sdk"
)

type config struct {
	Path           string           `json:"path"`
	Include        []string         `json:"include"`
	Exclude        []string         `json:"exclude"`
	Subdirectories bool             `json:"subdirectories"`
	Order          string           `json:"order"`
	WhenDone       string           `json:"when_done"`
	Done           string           `json:"done"`
	Bad            string           `json:"bad"`
	Settle         *time.Duration   `json:"settle"`
	MaxLine        int              `json:"max_line"`
	OnLongLine     string           `json:"on_long_line"`
	OnBinary       string           `json:"on_binary"`
	Multiline      *multilineConfig `json:"multiline"`
	ScanInterval   time.Duration    `json:"scan_interval"`
}

type multilineConfig struct {
	Pattern string `json:"pattern"`
}

// The defaults, as plugin.hcl states them.
const (
	defaultMaxLine = 1 << 20
	defaultScan    = time.Second
	defaultSettle  = time.Second
	defaultDone    = "done"
	defaultBad     = "bad"
)

var (
	defaultInclude = []string{"*"}
	defaultExclude = []string{"*.tmp", "*.part", "*.swp", "*~"}
)

// settings are the config, checked.
type settings struct {
	root, done, bad  string // absolute
	remove           bool   // what is done, instead of moving it to done
	include, exclude []glob
	deep             bool // look into directories below root, too
	byTime           bool // the oldest first, else by name
	settle, scan     time.Duration
	maxLine          int
	truncate, refuse bool
	binary           bool // read files that are no text
	start            *regexp.Regexp
}

func (c *config) check() (s settings, err error) {
	switch {
	case c.Path == "":
		return s, sdk.ConfigError("path", "is empty, wanted the directory that files are put into")
	case strings.ContainsAny(c.Path, `*?[{\`):
		return s, sdk.ConfigError("path", "is %q, wanted one directory: which of its files are read is for include and exclude to say", c.Path)
	}
	if s.root, err = filepath.Abs(c.Path); err != nil {
		return s, sdk.ConfigError("path", "%w", err)
	}
	if s.bad, err = s.inside("bad", cmp.Or(c.Bad, defaultBad)); err != nil {
		return s, err
	}
	if s.done, err = s.inside("done", cmp.Or(c.Done, defaultDone)); err != nil {
		return s, err
	}
	if s.done == s.bad {
		return s, sdk.ConfigError("bad", "is where done is, %q: files that were read and files that could not be are to be told apart", s.bad)
	}
	if s.include, err = globs("include", c.Include, defaultInclude); err != nil {
		return s, err
	}
	if s.exclude, err = globs("exclude", c.Exclude, defaultExclude); err != nil {
		return s, err
	}
	if err := c.choices(&s); err != nil {
		return s, err
	}
	s.deep = c.Subdirectories
	s.maxLine, s.scan, s.settle = cmp.Or(c.MaxLine, defaultMaxLine), cmp.Or(c.ScanInterval, defaultScan), defaultSettle
	if c.Settle != nil {
		s.settle = *c.Settle
	}
	if c.Multiline != nil {
		if s.start, err = regexp.Compile(c.Multiline.Pattern); err != nil {
			return s, sdk.ConfigError("multiline.pattern", "%w", err)
		}
	}
	return s, nil
}

// choices reads the arguments that are one of a few words, the first of which is the default.
func (c *config) choices(s *settings) error {
	for _, a := range []struct {
		name, value string
		words       []string
		into        []*bool // of the words from the second on
	}{
		{"order", c.Order, []string{"name", "time"}, []*bool{&s.byTime}},
		{"when_done", c.WhenDone, []string{"move", "delete"}, []*bool{&s.remove}},
		{"on_long_line", c.OnLongLine, []string{"split", "truncate", "set_aside"}, []*bool{&s.truncate, &s.refuse}},
		{"on_binary", c.OnBinary, []string{"set_aside", "read"}, []*bool{&s.binary}},
	} {
		known := a.value == ""
		for i, w := range a.words {
			known = known || a.value == w
			if i > 0 {
				*a.into[i-1] = a.value == w
			}
		}
		if !known {
			return sdk.ConfigError(a.name, `is %q, wanted "%s"`, a.value, strings.Join(a.words, `" or "`))
		}
	}
	return nil
}

// inside is a folder in the spool: a file is moved there by a rename, which no crash can leave half done.
func (s *settings) inside(argument, name string) (string, error) {
	if !filepath.IsLocal(name) || filepath.Clean(name) == "." {
		return "", sdk.ConfigError(argument, "is %q, wanted a folder in the directory path, such as %q: files are renamed into it, never copied", name, argument)
	}
	return filepath.Join(s.root, name), nil
}

// globs checks patterns; nil stands for the default.
func globs(argument string, patterns, otherwise []string) (list []glob, err error) {
	if patterns == nil {
		patterns = otherwise
	}
	for _, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil || filepath.IsAbs(p) {
			return nil, sdk.ConfigError(argument, "%q is no glob of names, or of paths from the directory path on", p)
		}
		g := glob{pattern: p, path: strings.Contains(p, "/")}
		if rest, ok := strings.CutPrefix(p, "*"); ok && !g.path && !strings.ContainsAny(rest, `*?[\`) {
			g.suffix, g.plain = rest, true
		}
		list = append(list, g)
	}
	return list, nil
}

// glob is a pattern for names, or with a slash for paths.
type glob struct {
	pattern string
	path    bool
	plain   bool // it is "*" and a suffix, which is what most are: matching those costs next to nothing
	suffix  string
}

func (g *glob) matches(rel, name string) bool {
	switch {
	case g.plain:
		return strings.HasSuffix(name, g.suffix)
	case g.path:
		name = rel
	}
	ok, _ := filepath.Match(g.pattern, name) // the pattern was checked
	return ok
}

// wants says whether a file of this name, at this path from the spool on, is to be read. Names that begin with a dot are not.
func (s *settings) wants(rel, name string) bool {
	return !hidden(name) && matches(s.include, rel, name) && !matches(s.exclude, rel, name)
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

func matches(list []glob, rel, name string) bool {
	for i := range list {
		if list[i].matches(rel, name) {
			return true
		}
	}
	return false
}
