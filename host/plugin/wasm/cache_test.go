// SPDX-License-Identifier: Apache-2.0

package wasm

import (
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
		if n := loadFrom(t, dir, &logs{}); n != 1 {
			t.Errorf("%d files", n)
		}
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestADamagedCacheIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	loadFrom(t, dir, &logs{})
	list, err := listCache(dir)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	whole, err := os.ReadFile(list[0].path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 3, len(whole) / 2} {
		if err := os.WriteFile(list[0].path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		var l logs
		if files := loadFrom(t, dir, &l); files != 1 || l.count("damaged") != 1 {
			t.Errorf("cut to %d bytes: %d files, log %q", n, files, &l)
		}
		if again, err := os.ReadFile(list[0].path); err != nil || len(again) != len(whole) {
			t.Errorf("cut to %d bytes: %d bytes afterwards, %v", n, len(again), err)
		}
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
