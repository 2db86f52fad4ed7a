// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/penstock-io/penstock/sdk/client"
	"github.com/penstock-io/penstock/spec/event"
)

// sendFlags are what send is asked for.
type sendFlags struct {
	to, attributes []string
	cert, key, ca  string
	stream         string
	again, remove  bool
	wait           time.Duration
}

// sendAnswer is what send answers, also when it fails.
type sendAnswer struct {
	File    string  `json:"file"`
	Stream  string  `json:"stream,omitempty"` // "": the receiver remembers nothing
	Address string  `json:"address,omitempty"`
	Lines   uint64  `json:"lines"`         // that the receiver has on disk, of this run
	Bytes   int64   `json:"bytes"`         // that were read of them, or more where it failed
	Before  int64   `json:"already_bytes"` // that the receiver had from an earlier run
	Seconds float64 `json:"seconds"`
	Removed bool    `json:"removed,omitempty"`  // the file
	Done    bool    `json:"finished,omitempty"` // the receiver has forgotten the stream
}

func newSendCommand(a *app) *cobra.Command {
	var f sendFlags
	cmd := withJSON(&cobra.Command{
		Use:   "send FILE|- --to ADDRESS",
		Short: "Send the lines of a file to an agent",
		Long: `Send the lines of a file, or of standard input, to a source "hop" of an agent: an event each. It ends when all of them are on the agent's disk.

ADDRESS is where the source listens: tls://collector:7421, with --cert, --key and --ca; or unix:///run/hop.sock, or tcp://127.0.0.1:7421. --to may be repeated:
further addresses are tried when one fails. While none answers it tries again, for as long as --wait says.

The receiver remembers how far it got with a file, so that each line arrives once, also through kills and cuts: the same command goes on where the last one ended, and adds what was
written to the file meanwhile. A last line without an end is sent as it is, and what is added to it later is a line of its own. A file is known by its host, path, first line and
attributes; with it goes a checksum of what was sent, and a file that was replaced by another is refused.
Such a position is for one receiver; of several that do not share a disk, name one. --stream NAME calls the sequence otherwise, such as "orders-2026-11-27": then also another host may go on
with a copy of the file.

An agent remembers each file for 30 days (forget_after of its channel), and some 14 000 of them. --remove is for whoever has a new file again and again: when all of it is on the
agent's disk, the file is removed, and the agent forgets it. The file must be complete by then, and one run at a time sends it.

Standard input, and a pipe, have no position, unless --stream says that the same will come from its beginning each time. Without one, and with --again, lines may come twice after a cut.

A file that grows all the time is better read by an agent of its own, with a source "file" and a sink "hop".`,
		Example: "  penstock send orders.log --to tls://collector:7421 --cert job.pem --key job.key --ca ca.pem\n" +
			"  zcat old.gz | penstock send - --to unix:///run/penstock/hop.sock --stream old.gz --attribute site=vienna",
		Args: needs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.send(cmd, args[0], f) },
	})
	flags := cmd.Flags()
	flags.StringArrayVar(&f.to, "to", nil, "where the agent listens: tls://HOST:PORT, unix:///PATH or tcp://127.0.0.1:PORT; may be repeated")
	flags.StringVar(&f.cert, "cert", "", "a file with the certificate that says who sends")
	flags.StringVar(&f.key, "key", "", "a file with the key of the certificate")
	flags.StringVar(&f.ca, "ca", "", "a file with the authorities that may sign the agent's certificate (default: those of the system)")
	flags.StringArrayVar(&f.attributes, "attribute", nil, "give each event an attribute: NAME=VALUE; may be repeated")
	flags.StringVar(&f.stream, "stream", "", "how the receiver calls the sequence of lines that it remembers (default: one for each file)")
	flags.BoolVar(&f.again, "again", false, "send the whole file, without a position: lines may come twice")
	flags.BoolVar(&f.remove, "remove", false, "remove the file when all of it is on the agent's disk, and have the agent forget it")
	flags.DurationVar(&f.wait, "wait", time.Minute, "give up when nothing got through for so long; 0 = never")
	_ = cmd.MarkFlagRequired("to") // it fails only for a flag that is not there
	cmd.MarkFlagsMutuallyExclusive("again", "stream")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]cobra.Completion{"tls://", "unix:///", "tcp://127.0.0.1:"}, cobra.ShellCompDirectiveNoSpace|cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"cert", "key", "ca"} {
		_ = cmd.MarkFlagFilename(name, "pem", "crt", "key")
	}
	return cmd
}

func (a *app) send(cmd *cobra.Command, file string, f sendFlags) error {
	attributes, err := parseAttributes(f.attributes)
	if err != nil {
		return err
	}
	in, total, err := a.openInput(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	s := &sending{
		input: in, attributes: attributes, total: total,
		bar: progressBar{to: a.err, what: "sending", quiet: wantsJSON(cmd)},
	}
	s.answer = sendAnswer{File: file, Stream: f.stream}
	if err := s.find(f); err != nil {
		return err
	}
	begun := time.Now()
	err = s.run(cmd.Context(), f)
	s.bar.clear()
	s.answer.Seconds = time.Since(begun).Seconds()
	if err != nil {
		return s.explain(err, f)
	}
	return a.answer(cmd, s.summary(), s.answer, func(t *terminal) { t.printf("%s\n", s.summary()) })
}

// find looks what file is to be sent, if it is one, and how the receiver calls its lines.
func (s *sending) find(f sendFlags) (err error) {
	regular, ok := s.input.(*os.File)
	switch {
	case ok && s.total >= 0:
	case f.remove:
		return wrongUse("", "--remove is for files, and %s is none", s.answer.File)
	default:
		return nil
	}
	if err := alone(regular, f.remove); err != nil {
		return err
	}
	if f.remove {
		s.file = regular
	}
	if f.stream == "" && !f.again {
		s.answer.Stream, err = streamOf(regular, f.attributes)
	}
	return err
}

// openInput opens what is to be sent; total is how long it is, -1 where nobody knows.
func (a *app) openInput(file string) (in io.ReadCloser, total int64, err error) {
	if file == "-" {
		return io.NopCloser(a.stdin), -1, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, &fault{err: err, exit: exitUsage, code: "usage"}
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, errors.Join(err, f.Close())
	case info.IsDir():
		return nil, 0, errors.Join(wrongUse(`A source "spool" of an agent sends the files of a directory.`, "%s is a directory", file), f.Close())
	case !info.Mode().IsRegular():
		return f, -1, nil
	}
	return f, info.Size(), nil
}

// alone says whether a file is being sent by another run that removes it, or by any, where this one does: what that one makes the agent forget, this one would send once more.
// Where a file system has no locks, it is for whoever starts the command to start one at a time.
func alone(f *os.File, remove bool) error {
	how := unix.LOCK_SH
	if remove {
		how = unix.LOCK_EX
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return &fault{
			err: fmt.Errorf("%s is sent by another run of this command, and removed by one of the two", f.Name()), exit: exitEnvironment, code: "environment",
			hint: "Wait until that has ended. Then the same command sends what is left, if anything is.",
		}
	}
	was, err := f.Stat()
	if err != nil {
		return err
	}
	if is, err := os.Stat(f.Name()); err != nil || !os.SameFile(was, is) { // it has gone since it was opened
		return &fault{err: fmt.Errorf("%s was just removed, or replaced", f.Name()), exit: exitEnvironment, code: "environment", hint: "To try again looks what is there now."}
	}
	return nil
}

func parseAttributes(list []string) (attributes []event.Attribute, err error) {
	for _, one := range list {
		name, value, ok := strings.Cut(one, "=")
		if !ok || name == "" {
			return nil, wrongUse("Such as: --attribute site=vienna", "--attribute %q is not NAME=VALUE", one)
		}
		attributes = append(attributes, event.Attribute{Key: name, Value: []byte(value)})
	}
	if err := new(event.Builder).Append(event.Event{Attributes: attributes}); err != nil {
		return nil, wrongUse("", "--attribute: %w", err)
	}
	return attributes, nil
}

// firstLine is how much of a file's first line tells it from others, in bytes.
const firstLine = 4 << 10

// streamOf is how the receiver calls the lines of a file: two of them that have the same name there are taken for one.
func streamOf(f *os.File, attributes []string) (string, error) {
	head := make([]byte, firstLine)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	path, perr := filepath.Abs(f.Name())
	host, herr := os.Hostname()
	if err := errors.Join(perr, herr); err != nil {
		return "", fmt.Errorf("find a name for the stream: %w", err)
	}
	sum := sha256.New()
	for _, part := range append([]string{host, path, line}, attributes...) {
		_, _ = fmt.Fprintf(sum, "%d %s\n", len(part), part) // a hash takes all
	}
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, filepath.Base(path))
	const longest = 100
	return fmt.Sprintf("send/%s/%x", name[:min(len(name), longest)], sum.Sum(nil)[:12]), nil
}

func (s *sending) summary() string {
	text := s.outcome()
	if r := s.answer; r.Removed && !r.Done && r.Stream != "" {
		text += " The agent has not forgotten it yet: another file of that name, with that first line, takes --stream NAME."
	}
	return text
}

func (s *sending) outcome() string {
	switch r := s.answer; {
	case r.Removed && r.Lines == 0 && r.Before > 0:
		return fmt.Sprintf("Nothing to send: %s has all of %s already, which is removed.", r.Address, r.File)
	case r.Lines == 0 && r.Before > 0:
		return fmt.Sprintf("Nothing to send: %s has all of %s already. --again sends it once more.", r.Address, r.File)
	case r.Before > 0:
		return fmt.Sprintf("%s sent to %s in %.1f s, behind %s that it had from before.", plural(r.Lines, "line"), r.Address, r.Seconds, size(uint64(r.Before)))
	default:
		return fmt.Sprintf("%s sent to %s in %.1f s.", plural(r.Lines, "line"), r.Address, r.Seconds)
	}
}

// explain says what can be done about an error.
func (s *sending) explain(err error, f sendFlags) error {
	out := &fault{err: err, exit: exitFailed, code: "failed", result: s.answer}
	on := "To try again sends everything again: lines may come twice."
	if s.answer.Stream != "" {
		on = "The same command goes on behind the last line that arrived."
	}
	refused, _ := errors.AsType[*client.RefusedError](err)
	switch {
	case errors.Is(err, client.ErrConfig):
		return &fault{err: err, exit: exitUsage, code: "usage"}
	case errors.Is(err, errReplaced):
		out.hint = "To send it as another one, give it a name of its own: --stream NAME. Or send it whole, without a position: --again."
		if f.remove {
			out.hint += "\nThe agent may still have the file that an earlier run removed in mind: that run was killed, or lost its link, before it was forgotten."
		}
	case errors.Is(err, errGaveUp):
		out.exit, out.code = exitEnvironment, "environment"
		out.hint = fmt.Sprintf("Nothing got through for %v (--wait). %s\nShould the address be right, the log of the agent says whether it refuses the certificate.", f.wait, on)
	case refused != nil && refused.Diverged():
		out.hint = "The receiver knows this stream otherwise than from this command: choose another with --stream."
	case errors.Is(err, errGrown):
		out.hint = "The same command sends the rest. --remove is for files that are complete."
	case errors.Is(err, errLine):
		out.hint = "The lines before it were sent. Split it, or take it out. " + on
	default:
		out.hint = on
	}
	out.err = fmt.Errorf("%s of %s arrived: %w", plural(s.answer.Lines, "line"), s.answer.File, err)
	return out
}
