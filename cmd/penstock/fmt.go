// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/config"
)

// stdinArg names standard input.
const stdinArg = "-"

// formatting is what fmt was asked to do.
type formatting struct {
	app         *app
	check, diff bool
	changed     []string
}

func newFmtCommand(a *app) *cobra.Command {
	f := &formatting{app: a}
	cmd := &cobra.Command{
		Use:   "fmt [PATH]",
		Short: "Lay out pipeline files as everyone does",
		Long: `Lay out pipeline files as everyone does: indentation, and the columns of equals signs. The names of files that were
changed are printed. Comments and meaning stay as they are.

PATH is a file, a directory of which all *.hcl files are laid out, or "-" for standard input to standard output.
A file that is no HCL is left as it is, with what is wrong with it.
With --check nothing is written, and the exit code is 1 when a file would be changed.`,
		Example: "  penstock fmt\n  penstock fmt --check --diff\n  penstock fmt - < pipeline.hcl",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := pathArg(args)
			if path == stdinArg {
				return f.stream()
			}
			return f.files(cmd, path)
		},
	}
	cmd.Flags().BoolVar(&f.check, "check", false, "write nothing; exit code 1 when a file would be changed")
	cmd.Flags().BoolVar(&f.diff, "diff", false, "show what changes")
	return withJSON(cmd)
}

func (f *formatting) stream() error {
	src, err := io.ReadAll(io.LimitReader(f.app.stdin, config.MaxFileBytes+1))
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	if len(src) > config.MaxFileBytes {
		return wrongUse("", "standard input is over the limit of %s", size(config.MaxFileBytes))
	}
	out, err := f.lay(src, "standard input")
	if err != nil {
		return err
	}
	if f.check && !bytes.Equal(src, out) {
		return f.unformatted("standard input")
	}
	_, err = f.app.out.Write(out)
	return err
}

// lay lays out a text, unless there are mistakes in it.
func (f *formatting) lay(src []byte, name string) ([]byte, error) {
	if sources, diags := config.Parse(src, name); diags.HasErrors() {
		return nil, f.app.mistakes(loaded{sources: sources, diags: diags})
	}
	return config.Format(src), nil
}

func (f *formatting) files(cmd *cobra.Command, path string) error {
	names, err := hclFiles(path)
	if err != nil {
		return err
	}
	f.changed = []string{}
	for _, name := range names {
		if err := f.file(name, wantsJSON(cmd)); err != nil {
			return err
		}
	}
	if f.check && len(f.changed) > 0 {
		return f.unformatted(strings.Join(f.changed, ", "))
	}
	result := map[string]any{"files": names, "changed": f.changed}
	return f.app.answer(cmd, fmt.Sprintf("%d of %s changed", len(f.changed), plural(len(names), "file")), result, func(*terminal) {})
}

func (f *formatting) unformatted(what string) error {
	return &fault{
		err: fmt.Errorf("not laid out as fmt does: %s", what), exit: exitFailed, code: "unformatted",
		hint: "Run: penstock fmt", result: map[string]any{"changed": f.changed},
	}
}

// file lays out one file, and prints its name or what changes.
func (f *formatting) file(name string, quiet bool) error {
	src, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	out, err := f.lay(src, name)
	if err != nil || bytes.Equal(src, out) {
		return err
	}
	f.changed = append(f.changed, name)
	if !quiet && !f.check {
		f.app.out.printf("%s\n", name)
	}
	if !quiet && f.diff {
		printDiff(f.app.out, name, src, out)
	}
	if f.check {
		return nil
	}
	return replaceFile(name, out)
}

// hclFiles lists the files that fmt lays out, hidden ones left out.
func hclFiles(path string) ([]string, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, &fault{err: fmt.Errorf("read pipeline files: %w", err), exit: exitUsage, code: "usage"}
	}
	if !isDir(path) {
		return []string{path}, nil
	}
	names, err := filepath.Glob(filepath.Join(escapeGlob(path), "*.hcl"))
	if err != nil {
		return nil, fmt.Errorf("list pipeline files: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(filepath.Base(name), ".") || isDir(name)
	})
	if len(names) == 0 {
		return nil, &fault{err: errors.New("there is no *.hcl file in " + path), exit: exitUsage, code: "usage"}
	}
	return names, nil
}

// escapeGlob makes a path mean itself in a pattern.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// printDiff shows which lines change. Layout changes lines and hardly ever their number, so it
// compares line by line from both ends and shows what lies between as replaced.
func printDiff(t *terminal, name string, before, after []byte) {
	old, laid := bytes.Split(before, []byte("\n")), bytes.Split(after, []byte("\n"))
	t.printf("--- %s\n+++ %s, laid out\n", name, name)
	if len(old) != len(laid) {
		printHunk(t, 0, old, laid)
		return
	}
	for i := 0; i < len(old); i++ {
		end := i
		for end < len(old) && !bytes.Equal(old[end], laid[end]) {
			end++
		}
		if end > i {
			printHunk(t, i, old[i:end], laid[i:end])
			i = end
		}
	}
}

func printHunk(t *terminal, first int, old, laid [][]byte) {
	t.printf("@@ -%d,%d +%d,%d @@\n", first+1, len(old), first+1, len(laid))
	for _, line := range old {
		t.printf("%s\n", t.paint(red, "-"+string(line)))
	}
	for _, line := range laid {
		t.printf("%s\n", t.paint(green, "+"+string(line)))
	}
}
