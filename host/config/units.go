// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

var errUnit = errors.New("unit")

// parseDuration reads "200ms", "1.5s", "2h30m", and "7d" for days of 24 hours. Negative ones are refused.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n < math.MaxInt64/float64(24*time.Hour)) {
			return 0, errUnit
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, errUnit
	}
	return d, nil
}

var sizeUnits = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

// parseSize reads "4MiB", "1.5GiB", "100MB" (of 1000), "512B", and "0". It must come to whole bytes.
func parseSize(s string) (int64, error) {
	if s == "0" {
		return 0, nil
	}
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		bytes := n * u.bytes
		if err != nil || !(bytes >= 0 && bytes < 1<<62) || bytes != math.Trunc(bytes) {
			return 0, errUnit
		}
		return int64(bytes), nil
	}
	return 0, errUnit
}

// formatDuration leaves out the zeros that Go writes: "1h", not "1h0m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatSize writes bytes in the largest unit that divides them.
func formatSize(bytes int64) string {
	units := sizeUnits[:4]
	for i := len(units) - 1; i >= 0; i-- {
		if unit := int64(units[i].bytes); bytes >= unit && bytes%unit == 0 {
			return fmt.Sprintf("%d%s", bytes/unit, units[i].name)
		}
	}
	return fmt.Sprintf("%dB", bytes)
}

// roundSize writes bytes for reading, to one decimal.
func roundSize(bytes uint64) string {
	units := sizeUnits[:4]
	for i := len(units) - 1; i >= 0; i-- {
		if float64(bytes) >= units[i].bytes {
			text := strconv.FormatFloat(float64(bytes)/units[i].bytes, 'f', 1, 64)
			return strings.TrimSuffix(text, ".0") + " " + units[i].name
		}
	}
	return fmt.Sprintf("%d B", bytes)
}

// SizeText writes a number of bytes for people, to one decimal.
func SizeText(bytes uint64) string { return roundSize(bytes) }
