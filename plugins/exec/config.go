// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/sdk"
)

// What on_failure, restart, stderr and event say.
const (
	failEvent = "event"
	failHold  = "hold"

	restartAlways    = "always"
	restartOnFailure = "on_failure"
	restartNever     = "never"

	stderrLog    = "log"
	stderrEvents = "events"

	eventRun = "run"
)

// config is the source's config block.
type config struct {
	Command     []string          `json:"command"`
	Interval    time.Duration     `json:"interval"`
	Timeout     time.Duration     `json:"timeout"`
	Restart     string            `json:"restart"`
	Backoff     time.Duration     `json:"backoff"`
	MaxBackoff  time.Duration     `json:"max_backoff"`
	MinUptime   time.Duration     `json:"min_uptime"`
	OnFailure   string            `json:"on_failure"`
	Stderr      string            `json:"stderr"`
	Event       string            `json:"event"`
	MaxLine     int               `json:"max_line"`
	OnLongLine  string            `json:"on_long_line"`
	Directory   string            `json:"directory"`
	Env         []string          `json:"env"`
	Environment map[string]string `json:"environment"`
	StopSignal  string            `json:"stop_signal"`
	Grace       time.Duration     `json:"grace"`
}

// stopSignals are the values of stop_signal.
var stopSignals = map[string]syscall.Signal{
	"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
	"KILL": syscall.SIGKILL,
}

// read reads the config, and checks what the manifest cannot.
func (c *config) read(o *sdk.Open) error {
	if err := o.Config(c); err != nil {
		return err
	}
	switch {
	case len(c.Command) == 0 || c.Command[0] == "":
		return sdk.ConfigError("command", `is empty, wanted a program and its arguments, such as ["/usr/bin/vmstat", "10"]`)
	case slices.ContainsFunc(c.Command, func(arg string) bool { return strings.ContainsRune(arg, 0) }):
		return sdk.ConfigError("command", "has a byte 0 in it, which no program can be given")
	case len(c.Command) == 1 && strings.ContainsAny(c.Command[0], " |;<>$"):
		return sdk.ConfigError("command", "is one word, %q, and there is no shell that takes it apart: write each argument by itself, or [\"/bin/sh\", \"-c\", %[1]q]", c.Command[0])
	case c.Interval > 0 && c.Restart != "":
		return sdk.ConfigError("restart", "and interval exclude each other: with interval the next run begins when it is time")
	case c.Backoff > c.MaxBackoff:
		return sdk.ConfigError("backoff", "is %v, and max_backoff %v is less", c.Backoff, c.MaxBackoff)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Environment)) {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(c.Environment[name], 0) {
			return sdk.ConfigError("environment", "has a variable %q, which cannot be set", name)
		}
	}
	if c.Restart == "" {
		c.Restart = restartAlways
	}
	return nil
}

// find looks for the program, and answers its path.
func (c *config) find() (string, error) {
	path, err := exec.LookPath(c.Command[0])
	if err == nil {
		return path, nil
	}
	return "", c.unusable(c.Command[0], err)
}

// unusable says why the program cannot be run: that is a matter of the config, and nothing is gained by trying again.
func (c *config) unusable(path string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return sdk.ConfigError("command", "there is no program %q in PATH (%s)\nwrite its whole path, or see that it is installed", path, os.Getenv("PATH"))
	case errors.Is(err, fs.ErrNotExist) && exists(path):
		return sdk.ConfigError("command", "the interpreter that the first line of %s names is not there, or is not granted\nname it, or the directory of what it is made of, in programs", path)
	case errors.Is(err, fs.ErrNotExist):
		return sdk.ConfigError("command", "there is no program %s", path)
	case errors.Is(err, fs.ErrPermission):
		return sdk.ConfigError("command", "%s cannot be run by user %d, as which this plugin runs\nsee that everybody can read and run it (chmod 755), and enter its directory; if it is a script whose interpreter is none of the "+
			"system's, name that in programs", path, os.Getuid())
	}
	return sdk.ConfigError("command", "%s cannot be run: %w", path, err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// inherited are the variables of the plugin's own environment that the command gets: not those by which the agent talks to the plugin.
var inherited = []string{"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"}

// environ is the environment of the command.
func (c *config) environ(dir string) (all []string) {
	for _, name := range slices.Concat(inherited, c.Env) {
		if value, ok := os.LookupEnv(name); ok {
			all = append(all, name+"="+value)
		}
	}
	all = append(all, "PWD="+dir)
	for _, name := range slices.Sorted(maps.Keys(c.Environment)) {
		all = append(all, name+"="+c.Environment[name]) // of two the last counts
	}
	return all
}
