// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"
)

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "completion {bash|zsh|fish|powershell}",
		Short: "Print a script that makes a shell complete penstock's commands",
		Long: `Print a script that makes a shell complete penstock's commands, flags and arguments.

  bash         source <(penstock completion bash)
               for good:  penstock completion bash > /etc/bash_completion.d/penstock
  zsh          source <(penstock completion zsh)
               for good:  penstock completion zsh > "${fpath[1]}/_penstock"
  fish         penstock completion fish | source
               for good:  penstock completion fish > ~/.config/fish/completions/penstock.fish
  powershell   penstock completion powershell | Out-String | Invoke-Expression`,
		Args:      cobra.MatchAll(needs("SHELL"), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.out, true)
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.out)
		},
	}
}
