// SPDX-License-Identifier: Apache-2.0

package tail

import (
	"cmp"
	"path/filepath"
	"regexp"
	"time"

	"github.com/penstock-io/penstock/sdk"
)

type config struct {
	Paths        []string         `json:"paths"`
	Exclude      []string         `json:"exclude"`
	Start        string           `json:"start"`
	MaxLine      int              `json:"max_line"`
	OnLongLine   string           `json:"on_long_line"`
	Multiline    *multilineConfig `json:"multiline"`
	ScanInterval time.Duration    `json:"scan_interval"`
	ForgetAfter  time.Duration    `json:"forget_after"`
}

type multilineConfig struct {
	Pattern string        `json:"pattern"`
	MaxWait time.Duration `json:"max_wait"`
}

// The defaults, as plugin.hcl states them.
const (
	defaultMaxLine = 1 << 20
	defaultScan    = time.Second
	defaultForget  = 30 * 24 * time.Hour
	defaultMaxWait = time.Second
)

// settings are the config, checked.
type settings struct {
	paths, exclude []string
	fromEnd        bool
	maxLine        int
	truncate       bool
	start          *regexp.Regexp // of a line that begins an event; nil: every line does
	maxWait        time.Duration
	scan, forget   time.Duration
}

func (c *config) check() (s settings, err error) {
	if len(c.Paths) == 0 {
		return s, sdk.ConfigError("paths", "is empty, wanted at least one path or glob")
	}
	if s.paths, err = absolute("paths", c.Paths); err != nil {
		return s, err
	}
	if s.exclude, err = excludes(c.Exclude); err != nil {
		return s, err
	}
	switch c.Start {
	case "", "beginning", "end":
		s.fromEnd = c.Start == "end"
	default:
		return s, sdk.ConfigError("start", `is %q, wanted "beginning" or "end"`, c.Start)
	}
	switch c.OnLongLine {
	case "", "split", "truncate":
		s.truncate = c.OnLongLine == "truncate"
	default:
		return s, sdk.ConfigError("on_long_line", `is %q, wanted "split" or "truncate"`, c.OnLongLine)
	}
	s.maxLine = cmp.Or(c.MaxLine, defaultMaxLine)
	s.scan, s.forget = cmp.Or(c.ScanInterval, defaultScan), cmp.Or(c.ForgetAfter, defaultForget)
	if m := c.Multiline; m != nil {
		if s.start, err = regexp.Compile(m.Pattern); err != nil {
			return s, sdk.ConfigError("multiline.pattern", "%w", err)
		}
		s.maxWait = cmp.Or(m.MaxWait, defaultMaxWait)
	}
	return s, nil
}

// absolute makes patterns absolute, so that file.path does not depend on where the agent was started.
func absolute(argument string, patterns []string) ([]string, error) {
	out := make([]string, len(patterns))
	for i, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil {
			return nil, sdk.ConfigError(argument, "%q: %w", p, err)
		}
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, sdk.ConfigError(argument, "%q: %w", p, err)
		}
		out[i] = abs
	}
	return out, nil
}

// excludes makes those patterns absolute that speak of directories; the others are matched against names.
func excludes(patterns []string) ([]string, error) {
	out, err := absolute("exclude", patterns)
	for i, p := range patterns {
		if err == nil && filepath.Base(p) == p {
			out[i] = p
		}
	}
	return out, err
}

// wants says whether the globs name path, be there a file or not.
func (s *settings) wants(path string) bool {
	for _, p := range s.paths {
		if ok, _ := filepath.Match(p, path); ok { // the pattern was checked
			return !s.excluded(path)
		}
	}
	return false
}

// excluded says whether the user does not want the file at path.
func (s *settings) excluded(path string) bool {
	for _, p := range s.exclude {
		name := path
		if !filepath.IsAbs(p) {
			name = filepath.Base(path)
		}
		if ok, _ := filepath.Match(p, name); ok { // the pattern was checked
			return true
		}
	}
	return false
}
