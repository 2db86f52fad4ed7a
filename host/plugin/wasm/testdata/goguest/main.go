// SPDX-License-Identifier: Apache-2.0

// Command goguest is a guest for tests of the host. As a source it does with files what its config
// lists, logs what came of it, and then counts; as a processor it forwards events one by one; as a sink it appends
// lines to a file. It speaks the ABI by hand, so that the tests depend on nothing but the contract.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

//go:wasmimport penstock emit
func hostEmit(ptr unsafe.Pointer, n uint32) int64

//go:wasmimport penstock log
func hostLog(level int32, ptr unsafe.Pointer, n uint32) int32

var arena []byte

//go:wasmexport penstock_abi_1
func marker() {}

//go:wasmexport penstock_alloc
func alloc(n int32) unsafe.Pointer {
	if cap(arena) < int(n) {
		arena = make([]byte, n)
	}
	arena = arena[:n]
	return unsafe.Pointer(unsafe.SliceData(arena))
}

var (
	decoder event.Decoder
	builder event.Builder
)

var keep bool // the processor copies events whole

//go:wasmexport penstock_process
func process(n int32) int32 {
	b := event.Trusted(arena[:n], 0, nil) // the host has checked it
	builder.Reset()
	for e := builder.Each(b); e.Next(); {
		if keep {
			e.Keep()
		} else if err := builder.AppendEvent(e.Event()); err != nil {
			return -8
		}
	}
	out := builder.Bytes()
	return int32(min(0, hostEmit(unsafe.Pointer(unsafe.SliceData(out)), uint32(len(out)))))
}

//go:wasmimport penstock cursor
func hostCursor(key unsafe.Pointer, klen uint32, value unsafe.Pointer, vlen uint32) int32

var next, last int // of the source's events

//go:wasmexport penstock_poll
func poll(most, _, _ int32) int32 {
	if next >= last {
		return -3
	}
	builder.Reset()
	for ; next < last && builder.Len() < int(most); next++ {
		if err := builder.Append(event.Event{Body: fmt.Append(nil, "event ", next)}); err != nil {
			return -8
		}
	}
	key, value := "next", strconv.Itoa(next)
	hostCursor(unsafe.Pointer(unsafe.StringData(key)), uint32(len(key)), unsafe.Pointer(unsafe.StringData(value)), uint32(len(value)))
	out := builder.Bytes()
	return int32(min(0, hostEmit(unsafe.Pointer(unsafe.SliceData(out)), uint32(len(out)))))
}

var file string // of the sink

//go:wasmexport penstock_deliver
func deliver(_, _ int64, n int32) int32 {
	var text []byte
	for _, e := range decoder.All(event.Trusted(arena[:n], 0, nil)) {
		text = append(append(text, e.Body...), '\n')
	}
	if err := appendTo(file, string(text)); err != nil {
		log(err.Error())
		return -5
	}
	return 0
}

//go:wasmexport penstock_open
func open(n int32) int32 {
	request, err := abi.ParseOpenRequest(arena[:n])
	if err != nil {
		log(err.Error())
		return -5
	}
	var config struct {
		Steps [][]string `json:"steps"`
		Count int        `json:"count"`
		File  string     `json:"file"`
		Mode  string     `json:"mode"`
	}
	if err := json.Unmarshal(request.Config, &config); err != nil {
		return -6
	}
	last, file, keep = config.Count, config.File, config.Mode == "keep"
	next, _ = strconv.Atoi(string(request.Cursor["next"]))
	for _, step := range config.Steps {
		result, err := do(step[0], step[1:])
		if err != nil {
			result = errorName(err)
		}
		log(strings.Join(step, " ") + " = " + result)
	}
	return 0
}

func log(s string) { hostLog(0, unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))) }

func errorName(err error) string {
	if e := syscall.Errno(0); errors.As(err, &e) {
		return e.Error()
	}
	return err.Error()
}

var steps = map[string]func(args []string) (string, error){
	"read": func(a []string) (string, error) {
		b, err := os.ReadFile(a[0])
		return string(b), err
	},
	"write":  func(a []string) (string, error) { return "", os.WriteFile(a[0], []byte(a[1]), 0o644) },
	"append": func(a []string) (string, error) { return "", appendTo(a[0], a[1]) },
	"excl": func(a []string) (string, error) {
		f, err := os.OpenFile(a[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			err = f.Close()
		}
		return "", err
	},
	"patch":    func(a []string) (string, error) { return patch(a[0]) },
	"list":     func(a []string) (string, error) { return list(a[0]) },
	"count":    func(a []string) (string, error) { return count(a[0]) },
	"glob":     func(a []string) (string, error) { m, err := filepath.Glob(a[0]); return strings.Join(m, ","), err },
	"stat":     func(a []string) (string, error) { return stat(os.Stat(a[0])) },
	"lstat":    func(a []string) (string, error) { return stat(os.Lstat(a[0])) },
	"readlink": func(a []string) (string, error) { return os.Readlink(a[0]) },
	"symlink":  func(a []string) (string, error) { return "", os.Symlink(a[0], a[1]) },
	"link":     func(a []string) (string, error) { return "", os.Link(a[0], a[1]) },
	"rename":   func(a []string) (string, error) { return "", os.Rename(a[0], a[1]) },
	"remove":   func(a []string) (string, error) { return "", os.Remove(a[0]) },
	"mkdir":    func(a []string) (string, error) { return "", os.Mkdir(a[0], 0o755) },
	"mkdirall": func(a []string) (string, error) { return "", os.MkdirAll(a[0], 0o755) },
	"touch":    func(a []string) (string, error) { return "", os.Chtimes(a[0], time.Time{}, time.Unix(1e9, 5)) },
	"getenv":   func(a []string) (string, error) { return strings.Join(os.Environ(), ","), nil },
}

func do(name string, args []string) (string, error) {
	f, ok := steps[name]
	if !ok {
		return "", errors.New("no such step")
	}
	return f(args)
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// patch writes, reads, truncates and seeks in one open file.
func patch(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 3)
	_, err1 := f.WriteAt([]byte("XY"), 1)
	err2 := f.Truncate(5)
	_, err3 := f.ReadAt(b, 1)
	end, err4 := f.Seek(0, io.SeekEnd)
	_, err5 := f.WriteString("!")
	return fmt.Sprint(string(b), " ", end), errors.Join(err1, err2, err3, err4, err5, f.Sync())
}

func list(path string) (string, error) {
	entries, err := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		names = append(names, fs.FormatDirEntry(e))
	}
	sort.Strings(names)
	return strings.Join(names, ","), err
}

// count reads a directory twice, without sorting.
func count(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	seen := map[string]bool{}
	names, err := f.Readdirnames(-1)
	for _, n := range names {
		seen[n] = true
	}
	return fmt.Sprint(len(names), " ", len(seen)), err
}

func stat(info fs.FileInfo, err error) (string, error) {
	if err != nil {
		return "", err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%v %d dev=%d ino=%d nlink=%d mtime=%d", info.Mode().Type(), info.Size(), st.Dev, st.Ino, st.Nlink, info.ModTime().UnixNano()), nil
}

func main() {}
