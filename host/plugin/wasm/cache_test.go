// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/wasm/internal/modfile"
	. "github.com/penstock-io/penstock/host/plugin/wasm/internal/wasmtest"
	"github.com/penstock-io/penstock/spec/abi"
)

// loadFrom loads a module in a runtime of its own with that cache, and answers how many files the cache has then.
func loadFrom(t *testing.T, dir string, log *logs) int {
	t.Helper()
	m := NewModule().Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(0))
	r, err := New(Options{CacheDir: dir, Log: slogOf(log)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Load(t.Context(), plugin.Ref{Name: "x", Code: pack(t, m, abi.Source)})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	list, err := listCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestCompiledCodeIsKeptInADirectoryOfOursAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache", "modules")
	for range 2 {
		if n := loadFrom(t, dir, &logs{}); n != 2 { // its machine code, and what that was made of
			t.Errorf("%d files", n)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// filled is a cache in which a module lies: its machine code, and the module as it was rewritten.
func filled(t *testing.T) (dir, machine, rewritten string) {
	t.Helper()
	dir = t.TempDir()
	loadFrom(t, dir, &logs{})
	list, err := listCache(dir)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, c := range list {
		if strings.HasPrefix(filepath.Base(c.path), "fuel-") {
			rewritten = c.path
		} else {
			machine = c.path
		}
	}
	return dir, machine, rewritten
}

func TestADamagedCacheIsMadeAnew(t *testing.T) {
	_, machine, _ := filled(t)
	whole, err := os.ReadFile(machine)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, len(whole) / 2} {
		dir, machine, _ := filled(t)
		again := cutAndLoad(t, dir, machine, int64(n), 1)
		if len(again) != len(whole) {
			t.Errorf("machine code cut to %d bytes: %d bytes afterwards", n, len(again))
		}
	}
	dir, _, rewritten := filled(t)
	if whole, err = os.ReadFile(rewritten); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, len(whole) / 2, len(whole) - 1} {
		if again := cutAndLoad(t, dir, rewritten, int64(n), 0); !bytes.Equal(again, whole) {
			t.Errorf("rewritten module cut to %d bytes: %d bytes afterwards", n, len(again))
		}
	}
}

// cutAndLoad cuts a file of the cache, loads the module, which must be told of so often, and answers what the file is then.
func cutAndLoad(t *testing.T, dir, path string, n int64, warnings int) []byte {
	t.Helper()
	if err := os.Truncate(path, n); err != nil {
		t.Fatal(err)
	}
	var l logs
	loadFrom(t, dir, &l)
	if l.count("damaged") != warnings {
		t.Errorf("cut to %d bytes: log %q", n, &l)
	}
	again, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return again
}

func TestAModuleIsRewrittenOnceForAllStarts(t *testing.T) {
	dir, _, rewritten := filled(t)
	if err := writeChecked(rewritten, []byte("what was kept")); err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := NewModule().Plugin(0)
	m.Export(abi.ExportPoll, three, one, Const(0))
	if _, err := r.Load(t.Context(), plugin.Ref{Name: "x", Code: pack(t, m, abi.Source)}); err == nil || !strings.Contains(err.Error(), "invalid magic number") {
		t.Errorf("%v: what was kept was not taken", err)
	}
}

func TestACacheThatOthersCanWriteIsRefused(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	wants := map[string]string{open: "others may write", link: "not a directory"}
	if os.Geteuid() == 0 {
		if err := os.Chown(other, 1234, 1234); err != nil {
			t.Fatal(err)
		}
		wants[other] = "belongs to user 1234"
	}
	for dir, want := range wants {
		if _, err := New(Options{CacheDir: dir}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestTheCacheIsTrimmedOldestFirst(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Unix(int64(1000-i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := trimCache(dir, 250); err != nil {
		t.Fatal(err)
	}
	list, err := listCache(dir)
	if err != nil || len(list) != 2 || filepath.Base(list[0].path) != "0" || filepath.Base(list[1].path) != "1" {
		t.Errorf("left %v, %v", list, err)
	}
}

func TestCodeThatIsNotAModuleIsRefused(t *testing.T) {
	for _, code := range []string{"", "hello", "\x00asm\x02\x00\x00\x00", modfile.Preamble + "\x01\xff"} {
		if _, err := shared.Load(t.Context(), plugin.Ref{Name: "x", Source: "./x.wasm", Code: []byte(code)}); !errors.Is(err, modfile.Err) && !errors.Is(err, ErrNoManifest) {
			t.Errorf("%q: %v", code, err)
		}
	}
}
