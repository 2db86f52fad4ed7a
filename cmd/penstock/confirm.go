// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// yesFlag gives a command that changes things its --yes.
func yesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolP("yes", "y", false, "do it without asking")
}

// errDeclined is what a command ends with when the answer was no.
var errDeclined = errors.New("nothing was changed")

// confirm asks, unless --yes was given. Where there is nobody to ask, the answer is no.
func (a *app) confirm(cmd *cobra.Command, question string) error {
	if yes, err := cmd.Flags().GetBool("yes"); err == nil && yes {
		return nil
	}
	if f, ok := a.stdin.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) || wantsJSON(cmd) {
		return wrongUse("Add --yes to do it.", "%s nobody can be asked here", question)
	}
	a.err.printf("%s [y/N] ", question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
