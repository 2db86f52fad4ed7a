// SPDX-License-Identifier: Apache-2.0

package config

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurationsHaveUnits(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"200ms": 200 * time.Millisecond, "1m30s": 90 * time.Second, "0s": 0, "0": 0, "1.5h": 90 * time.Minute,
		"7d": 168 * time.Hour, "0.5d": 12 * time.Hour, "100000d": 100000 * 24 * time.Hour,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "5 s", "-1s", "-1d", "1d12h", "d", "NaNd", "Infd", "1e300d", "106752d", "one second", "9223372036854775808ns"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q was taken for %v", text, got)
		}
	}
}

func TestSizesHaveUnitsAndComeToWholeBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512B": 512, "1KiB": 1024, "4MiB": 4 << 20, "1.5GiB": 3 << 29, "2TiB": 2 << 40,
		"1kB": 1000, "1KB": 1000, "100MB": 100e6, "1 GB": 1e9, "0.5KiB": 512,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "B", "-1B", "1.5B", "1K", "1Mi", "NaNB", "InfGiB", "1e30TiB", "9000000TiB", "x MiB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func TestASizeThatIsWrittenReadsBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 1<<53).Draw(t, "n") << rapid.IntRange(0, 8).Draw(t, "shift")
		if got, err := parseSize(formatSize(n)); err != nil || got != n {
			t.Fatalf("%d is written %s and read %d, %v", n, formatSize(n), got, err)
		}
	})
}

func TestADurationThatIsWrittenReadsBackTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Min(0).Draw(t, "d"))
		if got, err := parseDuration(formatDuration(d)); err != nil || got != d {
			t.Fatalf("%d is written %s and read %v, %v", d, formatDuration(d), got, err)
		}
	})
	for d, want := range map[time.Duration]string{time.Hour: "1h", 90 * time.Second: "1m30s", time.Minute: "1m", 0: "0s", 10 * time.Minute: "10m", 20 * time.Hour: "20h"} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is written %s, want %s", d, got, want)
		}
	}
}

func TestVersionsMeetConstraints(t *testing.T) {
	for _, c := range []struct {
		have, want string
		met        bool
	}{
		{"1.2.3", "1.2.3", true},
		{"1.2.3", "= 1.2.3", true},
		{"1.2.3", "1.2", false}, // 1.2.0
		{"1.2.3", "!= 1.2.3", false},
		{"1.2.3", ">= 1.2, < 2", true},
		{"2.0.0", ">= 1.2, < 2", false},
		{"1.1.9", ">= 1.2, < 2", false},
		{"1.10.0", "> 1.9", true}, // numbers, not text
		{"1.2.3", "<= 1.2.3", true},
		{"1.2.3", "> 1.2.3", false},
		{"1.9.9", "~> 1.2", true},
		{"2.0.0", "~> 1.2", false},
		{"1.1.9", "~> 1.2", false},
		{"1.2.9", "~> 1.2.3", true},
		{"1.3.0", "~> 1.2.3", false},
		{"1.9.0", "~> 1", true},
		{"2.0.0", "~> 1", false},
		{"v1.2.3-rc.1", "1.2.3", true},
		{"(devel)", ">= 99", true},
		{"", ">= 99", true},
	} {
		if got, err := satisfies(c.have, c.want); err != nil || got != c.met {
			t.Errorf("%s meets %s: %v, %v", c.have, c.want, got, err)
		}
	}
	for _, wrong := range []string{"", "newest", ">=", "1.2.3.4", ">= 1,", "=> 1", "99999999999999999999"} {
		if _, err := satisfies("1.2.3", wrong); err == nil {
			t.Errorf("%q was taken for a constraint", wrong)
		}
	}
}
