// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/host/plugin"
)

// inherited are the variables of the agent's environment that a child gets: none that could hold a secret. What else it needs is
// granted to it.
var inherited = []string{"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// prepare is the one place where a command is made ready before it starts: what it may see and do is settled here. contract is the
// environment of the handshake, work its own directory.
func prepare(cmd *exec.Cmd, open plugin.Request, contract []string, work string) error {
	cmd.Dir = work
	cmd.Env = append([]string{"HOME=" + work, "TMPDIR=" + work, "PWD=" + work}, contract...)
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	taken := func(name string) bool {
		return slices.ContainsFunc(contract, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	for name, value := range open.Grants.Env {
		if taken(name) {
			return fmt.Errorf("the variable %s is one that the agent itself sets for a plugin, and cannot be granted", name)
		}
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	lead(cmd)
	return nil
}
