// SPDX-License-Identifier: Apache-2.0

package config

import (
	"slices"
	"testing"
)

func TestAPathGrantsTheDirectoryThatItIsIn(t *testing.T) {
	for path, want := range map[string]string{
		"/var/log/app.log":       "/var/log",
		"/var/log/*.log":         "/var/log",
		"/var/log/app-*/x.log":   "/var/log",
		"/var/log/*/x.log":       "/var/log",
		"/var/log/a?c/x":         "/var/log",
		"/var/log/[ab]/x":        "/var/log",
		"/var/log/{a,b}/x":       "/var/log",
		`/var/log/a\*/x`:         "/var/log",
		"/var/log/":              "/var/log",
		"/var/log":               "/var",
		"/app.log":               "/",
		"/*":                     "/",
		"/":                      "/",
		"/var//log/../log/x.log": "/var/log",
	} {
		if got := grantedDir(path); got != want {
			t.Errorf("%s grants %s, want %s", path, got, want)
		}
	}
}

func TestADirectoryCoversWhatIsInItWithNoMoreThanItsRight(t *testing.T) {
	for _, c := range []struct {
		have, want Dir
		covers     bool
	}{
		{Dir{"/var/log", false}, Dir{"/var/log", false}, true},
		{Dir{"/var/log", false}, Dir{"/var/log/app", false}, true},
		{Dir{"/var/log", false}, Dir{"/var/logs", false}, false},
		{Dir{"/var/log", false}, Dir{"/var", false}, false},
		{Dir{"/var/log", false}, Dir{"/var/log", true}, false},
		{Dir{"/var/log", true}, Dir{"/var/log/app", false}, true},
		{Dir{"/", false}, Dir{"/var", false}, true},
	} {
		if got := c.have.covers(c.want); got != c.covers {
			t.Errorf("%v covers %v: %v", c.have, c.want, got)
		}
	}
}

func TestOnlyTheWidestDirectoriesRemain(t *testing.T) {
	got := widest([]Dir{{"/b/c", false}, {"/a/x", true}, {"/a", false}, {"/a/y", false}, {"/b/c", true}, {"/b/c/d", true}, {"/ab", false}})
	want := []Dir{{"/a", false}, {"/a/x", true}, {"/ab", false}, {"/b/c", true}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
