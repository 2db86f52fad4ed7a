// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Sources are the files that were read, for showing lines of them.
type Sources struct {
	files  map[string]*hcl.File // the configuration
	beside map[string]*hcl.File // what it reads: files of variables, and those of the function file
	absent []string             // what it would have read, and could not

	dataDir string // for DataDir
}

// DataDir says where an agent of these files keeps its data, absolute, also where there are mistakes in them: who asks an agent that runs is not stopped
// by what somebody has made of its files since. "" is not known: what says it may be among the mistakes.
func (s *Sources) DataDir() string {
	if s == nil {
		return ""
	}
	return s.dataDir
}

// Names returns the files' names as diagnostics have them, sorted.
func (s *Sources) Names() []string {
	if s == nil {
		return nil
	}
	names := make([]string, 0, len(s.files))
	for name := range s.files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Bytes returns what is in the named file, or nil.
func (s *Sources) Bytes(name string) []byte {
	if f := s.file(name); f != nil {
		return f.Bytes
	}
	return nil
}

// file is one that was read, or nil.
func (s *Sources) file(name string) *hcl.File {
	switch {
	case s == nil:
		return nil
	case s.files[name] != nil:
		return s.files[name]
	}
	return s.beside[name]
}

// add takes in a file that the configuration reads.
func (s *Sources) add(name string, file *hcl.File) {
	if s.beside == nil {
		s.beside = make(map[string]*hcl.File)
	}
	s.beside[name] = file
}

// Beside returns the names of the files that the configuration reads and that are not part of it, sorted: what it means changes with them.
func (s *Sources) Beside() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.beside))
}

// Wants returns the names of the files beside the configuration that it depends on: those of Beside, and those that could not be read.
func (s *Sources) Wants() []string {
	if s == nil {
		return nil
	}
	names := append(s.Beside(), s.absent...)
	slices.Sort(names)
	return slices.Compact(names)
}

// revision is the sha256 over the base names and contents, and over what variables are: where the files lie does not matter. What is sensitive has
// no part in it, since who knows the rest could guess.
func (s *Sources) revision(vars map[string]cty.Value) string {
	h := sha256.New()
	add := func(parts ...[]byte) {
		for _, part := range parts {
			h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(part))))
			h.Write(part)
		}
	}
	for _, name := range append(s.Names(), s.Beside()...) {
		add([]byte(filepath.Base(name)), s.Bytes(name))
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if v := vars[name]; !v.ContainsMarked() && v.IsWhollyKnown() {
			doc, _ := ctyjson.SimpleJSONValue{Value: v}.MarshalJSON() // what does not encode has a type of the library's own, and no text
			add([]byte(name), doc)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// read finds, reads and parses the files of a configuration.
func (f *faults) read(path string, overlay map[string][]byte) *Sources {
	s := &Sources{files: make(map[string]*hcl.File)}
	for _, name := range f.find(path, overlay) {
		src, err := readOver(name, overlay)
		if err != nil {
			f.unreadable(name, err)
			continue
		}
		s.files[name] = f.parse(src, name)
	}
	return s
}

// find lists the files that path means: itself, or what is in the directory, or would be if it were saved.
func (f *faults) find(path string, overlay map[string][]byte) []string {
	info, err := os.Stat(path)
	switch {
	case err != nil && isOpen(path, overlay):
		return []string{path}
	case err != nil:
		f.unreadable(path, err)
		return nil
	case !info.IsDir():
		return []string{path}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		f.unreadable(path, err)
		return nil
	}
	var names []string
	for _, e := range entries {
		if name := filepath.Join(path, e.Name()); isPipelineFile(e.Name()) && !isDir(name) {
			names = append(names, name)
		}
	}
	names = slices.DeleteFunc(withUnsaved(path, names, overlay), func(name string) bool {
		src, err := readOver(name, overlay)
		return err == nil && IsManifest(name, src) // what cannot be read is reported later
	})
	switch {
	case len(names) == 0:
		f.add("E1002", fileRange(path), "There is no *.hcl file of a pipeline in the directory %q. Name the file or directory that holds the pipeline.", path)
	case len(names) > MaxFiles:
		f.add("E1003", fileRange(path), "There are %d files; %d are the most that make up one configuration.", len(names), MaxFiles)
		return nil
	}
	return names
}

func isOpen(name string, overlay map[string][]byte) bool {
	abs, err := filepath.Abs(name)
	_, open := overlay[abs]
	return err == nil && open
}

// withUnsaved adds the files that are open and would be in the directory.
func withUnsaved(dir string, names []string, overlay map[string][]byte) []string {
	abs, err := filepath.Abs(dir)
	if err != nil || len(overlay) == 0 {
		return names
	}
	for path := range overlay {
		name := filepath.Join(dir, filepath.Base(path))
		if filepath.Dir(path) == abs && isPipelineFile(filepath.Base(path)) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// isPipelineFile leaves out tests, and what editors leave lying about.
func isPipelineFile(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") {
		return false
	}
	if strings.HasSuffix(name, ".test.hcl") || strings.HasSuffix(name, ".test.hcl.json") {
		return false
	}
	return strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".hcl.json")
}

func isDir(name string) bool {
	info, err := os.Stat(name) // follows symlinks, as configuration maps have them
	return err == nil && info.IsDir()
}

// readOver reads a file, or what stands for it.
func readOver(name string, overlay map[string][]byte) ([]byte, error) {
	if abs, err := filepath.Abs(name); err == nil {
		if src, open := overlay[abs]; open {
			return src, nil
		}
	}
	return readFile(name)
}

// readFile reads a regular file within the limit. A pipe would block, a device never end.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, MaxFileBytes+1)) // one more, so that the parser's check sees that it is over
}

func (f *faults) unreadable(name string, err error) {
	cause := err
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		cause = pathError.Err // the path stands above it anyway
	}
	hint := ""
	switch {
	case errors.Is(err, fs.ErrNotExist):
		hint = neighbour(name)
		if to, err := os.Readlink(name); err == nil {
			hint = fmt.Sprintf(" It is a link to %s, which is not there.", quote(to))
		}
	case errors.Is(err, fs.ErrPermission):
		hint = fmt.Sprintf(" The agent runs as user %d, which may not read it.", os.Geteuid())
	}
	f.add("E1001", fileRange(name), "Reading %s: %v.%s", name, cause, hint)
}

// neighbour suggests the file beside it whose name is nearest.
func neighbour(name string) string {
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return didYouMean(filepath.Base(name), names)
}

// parse parses one file. The result may lack what could not be parsed; it is never nil.
func (f *faults) parse(src []byte, name string) *hcl.File {
	bound, parse := boundSource, func(src []byte, name string) (*hcl.File, hcl.Diagnostics) {
		return hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	}
	if strings.HasSuffix(name, ".json") {
		bound, parse = boundJSON, hcljson.Parse
		src = bytes.TrimPrefix(src, byteOrderMark) // the other parser knows it
	}
	if at, mistake := notText(src); mistake != "" {
		f.add("E1101", byteRange(src, name, at), "%s", mistake)
		return &hcl.File{Body: hcl.EmptyBody(), Bytes: src}
	}
	if err := bound(src, name); err != nil {
		at := fileRange(name)
		if deep, ok := errors.AsType[*tooDeep](err); ok {
			at = deep.at
		}
		f.add("E1003", at, "The file %v.", err)
		return &hcl.File{Body: hcl.EmptyBody(), Bytes: src}
	}
	file, diags := parse(src, name)
	open := false
	for _, d := range diags {
		c := code("E1101")
		switch d.Summary {
		case "Attribute redefined":
			c = "E1102"
		case "Invalid multi-line string", "Unterminated template string":
			if open {
				continue // one quote that is not closed turns the rest of the file inside out
			}
			open = true
		}
		f.adopt(c, hcl.Diagnostics{d}, fileRange(name))
	}
	if file == nil || file.Body == nil {
		return &hcl.File{Body: hcl.EmptyBody(), Bytes: src}
	}
	return file
}

// byteOrderMark is what some editors put before text in UTF-8.
var byteOrderMark = []byte("\xef\xbb\xbf")

// notText says where text is not UTF-8, and what to do. The parser would find a mistake in each character, and the one for JSON none.
func notText(src []byte) (at int, mistake string) {
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) {
		return 0, "The file is in UTF-16, as some editors on Windows write it. Have the editor save it as UTF-8."
	}
	for rest := src; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 {
			return at, fmt.Sprintf("The byte 0x%02x is not text in UTF-8. Have the editor save the file as UTF-8.", rest[0])
		}
		at, rest = at+n, rest[n:]
	}
	return 0, ""
}

// fileFunction reads a file that lies beside the configuration, or below it, and nothing else: a configuration is one directory.
func (l *loader) fileFunction(files *Sources) function.Function {
	return text(func(name string) (_ string, err error) {
		defer func() {
			if err != nil && filepath.IsLocal(name) {
				files.absent = append(files.absent, filepath.Join(l.beside, name))
			}
		}()
		root, err := os.OpenRoot(l.beside)
		if err != nil {
			return "", err
		}
		defer root.Close() //nolint:errcheck // it was only read
		f, err := root.Open(filepath.FromSlash(name))
		if err != nil {
			return "", fmt.Errorf("the file %s is not beside the configuration, or cannot be read: %w", quote(name), err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return "", fmt.Errorf("%s is no regular file", quote(name))
		}
		bytes, err := io.ReadAll(io.LimitReader(f, maxText+1))
		switch {
		case err != nil:
			return "", err
		case len(bytes) > maxText:
			return "", fmt.Errorf("the file %s is larger than %s", quote(name), formatSize(maxText))
		case !utf8.Valid(bytes):
			return "", fmt.Errorf("the file %s is not text in UTF-8", quote(name))
		}
		files.add(filepath.Join(l.beside, name), &hcl.File{Bytes: bytes})
		return string(bytes), nil
	})
}
