// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manDate is in every page, so that two builds of one version are the same bytes; it changes with the pages.
var manDate = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

func newManCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write a manual page for each command into a directory",
		Example: "  penstock man /usr/local/share/man/man1 && man penstock-run",
		Args:    needs("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("make the directory of the pages: %w", err)
			}
			header := &doc.GenManHeader{
				Title: "PENSTOCK", Section: "1", Date: &manDate,
				Source: "Penstock " + a.build.Version, Manual: "Penstock",
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := doc.GenManTree(root, header, dir); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			pages, err := filepath.Glob(filepath.Join(dir, "penstock*.1"))
			if err != nil {
				return fmt.Errorf("list manual pages: %w", err)
			}
			a.out.printf("%s in %s\n", plural(len(pages), "page"), dir)
			return nil
		},
	}
}
