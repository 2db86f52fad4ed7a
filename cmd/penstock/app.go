// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/agent"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/config"
)

// Exit codes. A signal that forced the end gives 128 and its number: 130, 143.
const (
	exitFailed      = 1 // failed while running
	exitUsage       = 2 // wrong use, or a wrong configuration
	exitEnvironment = 3 // no agent, a port or a directory that is taken
	exitIntegrity   = 5 // a checksum, a damaged log
)

// app is what the subcommands share.
type app struct {
	stdin    io.Reader
	out, err *terminal
	build    admin.Build
	// dispatched is set when a subcommand's own code begins: what goes wrong before is wrong use.
	dispatched bool
	// leave ends the process at once; a field, so that a test lives on.
	leave func(code int)
	// variables are what the pipeline files are given.
	variables config.Variables
	// loadedHere are the pipeline files of this directory, for here; nil: they were not asked for yet.
	loadedHere func() (loaded, error)
	// mentioned is set when it was said that there are mistakes in the pipeline files.
	mentioned bool
	// look has plugins that are not builtin look at their configs; nil: they do so when they are opened.
	look agent.Look
	// unread says of secrets in the pipeline files why they could not be read, where a command would have used them.
	unread []string
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{
		stdin: stdin, out: newTerminal(stdout), err: newTerminal(stderr),
		build: readBuild(), leave: os.Exit,
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "Move events from where they arise to where they are kept, and lose none",
		Long: `Penstock reads events from sources, keeps them in a durable channel, and writes them to sinks.
What was acknowledged is on disk, and comes out once for each sink, in order, whatever is killed, cut or full.

Begin with:

  penstock quickstart       a demo that runs within seconds, in a directory of its own
  penstock schema           the plugins there are; "penstock schema source file" for one of them
  penstock run              run the pipeline files (*.hcl) of this directory`,
		SilenceErrors: true, SilenceUsage: true,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.out)
	root.SetErr(a.err)
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			sub := c(a)
			sub.GroupID = g.id
			root.AddCommand(sub)
		}
	}
	root.SetHelpCommandGroupID(groups[len(groups)-1].id)
	a.noteDispatch(root)
	a.variableFlags(root)
	return root
}

// readsPipeline marks a command that reads pipeline files and has no --data-dir, which says so of all others.
const readsPipeline = "reads-pipeline"

// variableFlags gives the commands that read pipeline files the flags for their variables.
func (a *app) variableFlags(cmd *cobra.Command) {
	if cmd.Flags().Lookup("data-dir") != nil || cmd.Annotations[readsPipeline] != "" {
		cmd.Flags().StringArrayVar(&a.variables.Set, "var", nil, "give a variable of the pipeline files a value: NAME=VALUE; may be repeated")
		cmd.Flags().StringArrayVar(&a.variables.Files, "var-file", nil, "a file of such values, a line NAME = VALUE each; may be repeated")
	}
	for _, sub := range cmd.Commands() {
		a.variableFlags(sub)
	}
}

// noteDispatch makes each command say that its own code begins: cobra checks flags until just before.
func (a *app) noteDispatch(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.dispatched = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.noteDispatch(sub)
	}
}

// groups are the subcommands, in the order of the help text.
var groups = []struct {
	id, title string
	commands  []func(*app) *cobra.Command
}{
	{"run", "Run:", []func(*app) *cobra.Command{
		newQuickstartCommand, newRunCommand, newPlanCommand, newReloadCommand, newStatusCommand, newLogsCommand, newWhyCommand, newSendCommand,
	}},
	{"write", "Write pipelines:", []func(*app) *cobra.Command{
		newValidateCommand, newGraphCommand, newFmtCommand, newSchemaCommand, newExplainCommand, newConvertCommand,
		newTestCommand, newLSPCommand,
	}},
	{"parts", "Look after the parts:", []func(*app) *cobra.Command{
		newSourceCommand, newSinkCommand, newChannelCommand, newDeadCommand, newPluginCommand,
	}},
	{"measure", "Measure:", []func(*app) *cobra.Command{
		newBenchCommand,
	}},
	{"other", "Other:", []func(*app) *cobra.Command{
		newVersionCommand, newCompletionCommand, newManCommand,
	}},
}

// fault is an error with what the user needs beside its text.
type fault struct {
	err  error
	exit int               // see the exit codes; 0 = by what err is
	code string            // stable, for programs: "E1203", "usage", "environment", …
	hint string            // what to do, a sentence
	at   *config.JSONRange // where in which file
	// What the command found out all the same. show prints it in place of the error, for people; result is its form in JSON.
	result any
	show   func()
	said   bool // it is told already, and nothing but the exit code is left
}

// Error gives the text alone; the hint has a line of its own.
func (f *fault) Error() string { return f.err.Error() }

// Unwrap returns what is under it.
func (f *fault) Unwrap() error { return f.err }

// wrongUse is an error of the command line.
func wrongUse(hint, format string, args ...any) error {
	return &fault{err: fmt.Errorf(format, args...), exit: exitUsage, code: "usage", hint: hint}
}

// finish tells what went wrong, if anything did, and returns the exit code.
func (a *app) finish(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	f := a.classify(cmd, err)
	switch {
	case f.said:
	case wantsJSON(cmd):
		p := &problem{Code: f.code, Message: f.Error(), Hint: f.hint, Range: f.at}
		writeEnvelope(a.out, envelope{Command: commandName(cmd), Summary: f.Error(), Result: f.result, Error: p})
	case f.show != nil:
		f.show()
	default:
		a.err.printf("%s %s\n", a.err.paint(red, "Error:"), f.Error())
		if f.hint != "" {
			a.err.printf("\n%s\n", f.hint)
		}
	}
	return f.exit
}

// classify finds the exit code, and a code for programs, of what has none yet.
func (a *app) classify(cmd *cobra.Command, err error) *fault {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		f = &fault{err: err}
	}
	if f.exit != 0 {
		return f
	}
	switch {
	case !a.dispatched:
		f.exit, f.code = exitUsage, "usage"
		f.hint = fmt.Sprintf("See: %s --help", cmd.CommandPath())
	case errors.Is(err, channel.ErrKey):
		f.exit, f.code = exitUsage, "key"
		if cmd.Flags().Lookup("key") != nil {
			f.hint = a.keyHint()
		}
	case errors.Is(err, admin.ErrExposed):
		f.exit, f.code = exitUsage, "usage"
	case errors.Is(err, agent.ErrEnvironment), errors.Is(err, admin.ErrNoAgent), errors.Is(err, admin.ErrInUse), errors.Is(err, channel.ErrLocked):
		f.exit, f.code = exitEnvironment, "environment"
	case errors.Is(err, admin.ErrSilent):
		f.exit, f.code, f.hint = exitEnvironment, "environment", "Its log says how far it is."
	case errors.Is(err, admin.ErrDenied), errors.Is(err, errUnreadable):
		f.exit, f.code = exitEnvironment, "environment"
		f.hint = "Say it as the user that the agent runs as, or as root."
	case errors.Is(err, channel.ErrCorrupt):
		f.exit, f.code = exitIntegrity, "integrity"
	default:
		f.exit, f.code = exitFailed, "failed"
	}
	return f
}

// commandName is how the envelope calls a command: "channel verify".
func commandName(cmd *cobra.Command) string {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	return name
}

// needs refuses any other number of arguments than names has, and says what they are.
func needs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return fmt.Errorf("%s needs %s; there %s", commandName(cmd), strings.Join(names, " "), arguments(len(args)))
	}
}

func arguments(n int) string {
	switch n {
	case 0:
		return "is no argument"
	case 1:
		return "is one argument"
	}
	return fmt.Sprintf("are %d arguments", n)
}

// pathArg is the PATH that a command was given, or the working directory.
func pathArg(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}
