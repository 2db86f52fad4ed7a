// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/wal"
	"github.com/penstock-io/penstock/spec/event"
)

// shownEvent is an event as JSON. What is not UTF-8 stands as base64 in the field of that name.
type shownEvent struct {
	Offset     event.Offset      `json:"offset"`
	Time       time.Time         `json:"time"`
	Attributes map[string]string `json:"attributes"`
	Binary     map[string][]byte `json:"attributes_base64,omitempty"`
	Body       *string           `json:"body,omitempty"`
	BinaryBody []byte            `json:"body_base64,omitempty"`
}

func showEvent(o event.Offset, e event.Event) shownEvent {
	s := shownEvent{Offset: o, Time: time.Unix(0, e.Time).UTC(), Attributes: map[string]string{}}
	for i := len(e.Attributes) - 1; i >= 0; i-- { // of equal keys the first counts
		a := e.Attributes[i]
		if utf8.Valid(a.Value) {
			s.Attributes[a.Key] = string(a.Value)
			continue
		}
		if s.Binary == nil {
			s.Binary = map[string][]byte{}
		}
		s.Binary[a.Key] = append([]byte(nil), a.Value...)
	}
	if utf8.Valid(e.Body) {
		body := string(e.Body)
		s.Body = &body
	} else {
		s.BinaryBody = append([]byte(nil), e.Body...)
	}
	return s
}

// peeked is what peek answers.
type peeked struct {
	channelDir
	Reader string       `json:"reader,omitempty"`
	Events []shownEvent `json:"events"`
	Damage []damage     `json:"damage"` // what was passed over
}

// maxPeek bounds what peek holds in memory; export has no bound.
const maxPeek = 100_000

func newChannelPeekCommand(a *app) *cobra.Command {
	var dataDir, reader string
	var limit int
	cmd := &cobra.Command{
		Use:   "peek CHANNEL",
		Short: "Show the next events that wait in a channel",
		Long: `Show the next events that wait for a sink (--reader sink.archive), or the oldest that are still in the log. Nothing is
taken out, and an agent may have the channel open; it logs then who looked.

` + oneChannelHelp,
		Example:           "  penstock channel peek main\n  penstock channel peek main --reader sink.archive --limit 3 --json",
		Args:              needs("CHANNEL"),
		ValidArgsFunction: a.completeChannel(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > maxPeek {
				return wrongUse("To write all of them, see: penstock channel export --help", "--limit %d: it is 1 to %d", limit, maxPeek)
			}
			dir, err := a.oneChannel(args[0], dataDir)
			if err != nil {
				return err
			}
			return a.peek(cmd, dir, asTyped(reader), limit)
		},
	}
	dataDirFlag(cmd, &dataDir)
	keyFlag(cmd)
	cmd.Flags().StringVar(&reader, "reader", "", "only what waits for this reader, such as sink.archive")
	cmd.Flags().IntVar(&limit, "limit", 10, "how many events")
	return withJSON(cmd)
}

func (a *app) peek(cmd *cobra.Command, dir channelDir, reader string, limit int) error {
	keys, err := a.keys(cmd, dir)
	if err != nil {
		return err
	}
	if err := a.looks(cmd, channelTarget{dir, dataDirOf(dir.Path)}, reader); err != nil {
		return err
	}
	p := peeked{channelDir: dir, Reader: reader, Events: []shownEvent{}, Damage: []damage{}}
	passed, err := wal.Browse(dir.Path, reader, nil, func(o event.Offset, e event.Event) bool {
		p.Events = append(p.Events, showEvent(o, e))
		return len(p.Events) < limit
	}, keys...)
	if err != nil {
		return unknownReader(err)
	}
	p.Damage = damages(passed)
	return a.answer(cmd, plural(len(p.Events), "event"), p, func(t *terminal) {
		for _, e := range p.Events {
			body := fmt.Sprintf("%d bytes", len(e.BinaryBody))
			if e.Body != nil {
				body = *e.Body
			}
			t.printf("%s  %s  %s\n", t.paint(bold, fmt.Sprint(e.Offset)), t.paint(dim, e.Time.Local().Format(time.DateTime)), printable(body))
		}
		for _, d := range p.Damage {
			a.err.printf("passed over: %s\n", d.text(a.err, dir.Path))
		}
	})
}

// printable replaces what a terminal would obey.
func printable(s string) string {
	out := []rune(s)
	for i, r := range out {
		if r < ' ' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			out[i] = '·'
		}
	}
	return string(out)
}

func damages(list []wal.Damage) []damage {
	all := []damage{}
	for _, d := range list {
		all = append(all, damage{d.File, d.Offset, d.Length, d.Torn, d.Cause.Error()})
	}
	return all
}

func unknownReader(err error) error {
	if errors.Is(err, channel.ErrNoReader) {
		return &fault{err: err, exit: exitUsage, code: "usage", hint: "A reader is the address of a sink, such as sink.archive."}
	}
	return err
}

// exported is what export answers, where events are written to a file.
type exported struct {
	channelDir
	Reader string   `json:"reader,omitempty"`
	File   string   `json:"file"`
	Events uint64   `json:"events"`
	Damage []damage `json:"damage"` // what was passed over
}

// exportFlags are what export is asked for.
type exportFlags struct {
	dataDir, reader, format, file string
	keys                          []wal.Key
}

func newChannelExportCommand(a *app) *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export CHANNEL",
		Short: "Write the events of a channel to a file or to standard output",
		Long: `Write all events that are still in a channel's log, or those that wait for a sink (--reader sink.archive). Nothing is
taken out, and an agent may have the channel open; it logs then who looked. In the format raw an event is its body and a newline; in json
it is one object on a line, with offset, time, attributes and body.

What is damaged is passed over and said; the exit code is 5 then, and all the rest is written.

` + oneChannelHelp,
		Example:           "  penstock channel export main --format json -o events.jsonl\n  penstock channel export main --reader sink.archive | less",
		Args:              needs("CHANNEL"),
		ValidArgsFunction: a.completeChannel(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.format != "raw" && f.format != "json" {
				return wrongUse("", `--format %q: it is "raw" or "json"`, f.format)
			}
			if wantsJSON(cmd) && f.file == "" {
				return wrongUse("Events as JSON lines: --format json", "--json needs --output: events go to standard output")
			}
			dir, err := a.oneChannel(args[0], f.dataDir)
			if err != nil {
				return err
			}
			f.reader = asTyped(f.reader)
			return a.export(cmd, dir, f)
		},
	}
	dataDirFlag(cmd, &f.dataDir)
	keyFlag(cmd)
	cmd.Flags().StringVar(&f.reader, "reader", "", "only what waits for this reader, such as sink.archive")
	cmd.Flags().StringVar(&f.format, "format", "raw", `"raw" or "json"`)
	cmd.Flags().StringVarP(&f.file, "output", "o", "", "write to this file, which must not be there")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"raw", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return withJSON(cmd)
}

func (a *app) export(cmd *cobra.Command, dir channelDir, f exportFlags) error {
	keys, err := a.keys(cmd, dir)
	if err != nil {
		return err
	}
	if err := a.looks(cmd, channelTarget{dir, dataDirOf(dir.Path)}, f.reader); err != nil {
		return err
	}
	to, end := io.Writer(a.out), func() error { return nil }
	if f.file != "" {
		file, err := os.OpenFile(f.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("write the events: %w", err)
		}
		to, end = file, func() error { return errors.Join(file.Sync(), file.Close()) }
	}
	f.keys = keys
	r := exported{channelDir: dir, Reader: f.reader, File: f.file}
	passed, err := a.writeEvents(dir, f, bufio.NewWriterSize(to, 256<<10), &r.Events, wantsJSON(cmd) || f.file == "")
	if err = errors.Join(err, end()); err != nil {
		return unknownReader(err)
	}
	r.Damage = damages(passed)
	show := func(*terminal) {
		a.err.printf("%s exported from %s\n", plural(r.Events, "event"), dir.Name)
		for _, d := range r.Damage {
			a.err.printf("  passed over: %s\n", d.text(a.err, dir.Path))
		}
	}
	if len(r.Damage) == 0 {
		return a.answer(cmd, plural(r.Events, "event"), r, show)
	}
	return &fault{
		err:  fmt.Errorf("damaged: %s; %s exported all the same", filepath.Join(dir.Path, r.Damage[0].File), plural(r.Events, "event")),
		exit: exitIntegrity, code: "integrity", hint: "Mend it with: penstock channel repair " + dir.Path, result: r, show: func() { show(a.out) },
	}
}

// writeEvents writes what is asked for, and counts it.
func (a *app) writeEvents(dir channelDir, f exportFlags, w *bufio.Writer, n *uint64, quiet bool) ([]wal.Damage, error) {
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	bar := progressBar{to: a.err, what: "exporting " + dir.Name, quiet: quiet}
	var failed error
	passed, err := wal.Browse(dir.Path, f.reader, bar.draw, func(o event.Offset, e event.Event) bool {
		if f.format == "json" {
			failed = lines.Encode(showEvent(o, e))
		} else if _, failed = w.Write(e.Body); failed == nil {
			failed = w.WriteByte('\n')
		}
		*n++
		return failed == nil
	}, f.keys...)
	bar.clear()
	if failed == nil {
		failed = w.Flush()
	}
	if failed != nil {
		failed = fmt.Errorf("write the events: %w", failed)
	}
	return passed, errors.Join(err, failed)
}
