// SPDX-License-Identifier: Apache-2.0

package toolchain

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
)

func buildGo(ctx context.Context, p Project, b build) error {
	program, err := exec.LookPath("go")
	if err != nil {
		return &Missing{"Go", "go", "Install Go 1.24 or later: https://go.dev/dl"}
	}
	args := []string{"build", "-trimpath", "-ldflags=-s", "-o", b.output}
	if p.Program() { // for the machine, and with the C, that the environment says
		err = b.run(ctx, p.Dir, nil, program, append(args, ".")...)
	} else {
		env := []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}
		err = b.run(ctx, p.Dir, env, program, append(args, "-buildmode=c-shared", ".")...)
	}
	if err != nil {
		if missing := lacksModules(ctx, p.Dir, program); missing != nil {
			return missing
		}
		return err
	}
	if p.Program() {
		return servesAgent(b.output)
	}
	return nil
}

// lacksModules says, after a build that failed, that modules of other people's were not to be had; nil when it failed of something else. What the
// network said is in the log already, in as many ways as networks have to fail: so Go is asked once more, and told to leave the network alone.
func lacksModules(ctx context.Context, dir, program string) *Missing {
	cmd := exec.CommandContext(ctx, program, "list", "-deps", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOPROXY=off")
	var said bytes.Buffer
	cmd.Stderr = &said
	if cmd.Run() == nil || !bytes.Contains(said.Bytes(), []byte("module lookup disabled by GOPROXY=off")) {
		return nil
	}
	return &Missing{What: "Go modules that go.mod names are not on this machine, and could not be fetched", Install: `Build once where there is a network: they stay in Go's cache, and the next build needs none.
Behind a proxy set HTTPS_PROXY, or GOPROXY to a mirror of Go modules. For a machine without a network run "go mod vendor" in the folder on
one that has it, and take the folder along.`}
}

// servesAgent looks whether a program can be a child of the agent at all: the SDK that comes with a plugin for WebAssembly has not what serves.
func servesAgent(program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("look at the program: %w", err)
	}
	if slices.ContainsFunc(info.Deps, func(m *debug.Module) bool { return m.Path == "google.golang.org/grpc" }) {
		return nil
	}
	return errors.New("the program cannot serve an agent, as it is built without gRPC: the SDK in its folder is for WebAssembly alone. " +
		"penstock plugin new --lang go --runtime subprocess begins a plugin with the SDK for both; take its go.mod, go.sum and penstock, and leave vendor out")
}
