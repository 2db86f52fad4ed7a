// SPDX-License-Identifier: Apache-2.0

// Command penstock moves events from where they arise to where they are kept, and loses none.
//
// Each subcommand has a file of its own, and is a func that returns a [cobra.Command]. What they share is in
// app.go (errors and exit codes), output.go (terminals and JSON), load.go (configurations) and signals.go.
//
// Manners that hold for all: what was asked for goes to stdout, everything else to stderr; what prints data has
// --json, with one envelope, also when it fails; colour and progress on a terminal only; an error says what,
// where, and what to do; the exit code tells whose fault it is (app.go).
package main

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with everything handed in. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if f := cmd.Flags().Lookup("json"); f != nil && slices.Contains(args, "--json") {
			_ = f.Value.Set("true") // it may come after what is wrong
		}
		return err
	})
	cmd, err := root.ExecuteContextC(ctx)
	return a.finish(cmd, err)
}
