// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// faults are what a fake can do wrong.
type faults struct {
	repeats, loses, endless, miscounts        bool // source
	badClass, takesBad                        bool // config
	forgets, doubles, breaks, rejectsNonsense bool // sink
	differs, mangles, chokes, grows           bool // processor
	copies, multiplies                        bool // it makes two of some; it says so
}

const total = 20

// fake is a plugin in Go: a source of numbers, a processor to upper case, and a sink that keeps lines and ranges in two files.
type fake struct{ faults }

func (f *fake) Digest() string { return "" }
func (f *fake) Close() error   { return nil }
func (f *fake) Manifest() abi.Manifest {
	return abi.Manifest{Name: "fake", Version: "1.0.0", Plugins: []abi.Plugin{
		{Kind: abi.Source, Name: "numbers", Replay: "cursor"},
		{Kind: abi.Processor, Name: "upper", Multiplies: f.multiplies},
		{Kind: abi.Sink, Name: "lines", Effects: "transactional"},
	}}
}

func (f *fake) Open(_ context.Context, kind abi.Kind, r plugin.Request) (plugin.Instance, error) {
	if string(r.Config) == `"bad"` && !f.takesBad {
		e := &plugin.Error{Class: abi.Config, Code: abi.EINVAL, Message: "bad"}
		if f.badClass {
			e.Class = abi.Retry
		}
		return plugin.Instance{}, e
	}
	if kind == abi.Source {
		at, _ := strconv.Atoi(string(r.Cursor["at"]))
		if f.repeats && at > 0 {
			at--
		}
		if f.loses && at > 0 {
			at++
		}
		return plugin.Instance{Source: &numbers{faults: f.faults, at: at, most: r.Limits.BatchEvents}}, nil
	}
	if kind == abi.Processor {
		return plugin.Instance{Processor: &upper{faults: f.faults, metrics: r.Metrics}}, nil
	}
	s := &lines{faults: f.faults, dir: r.Dirs[0].Path}
	held, err := os.ReadFile(s.dir + "/ranges")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return plugin.Instance{}, err
	}
	in := plugin.Instance{Sink: s}
	for line := range strings.Lines(string(held)) {
		var h plugin.Held
		if _, err := fmt.Sscan(line, &h.Range.First, &h.Range.Next); err != nil {
			return plugin.Instance{}, err
		}
		h.Incarnation = incarnation
		if !f.forgets {
			in.Held = append(in.Held, h)
		}
	}
	return in, nil
}

type numbers struct {
	faults
	at, most int
	seq      uint64
}

func (s *numbers) Close() error                             { return nil }
func (s *numbers) Ack(context.Context, uint64, error) error { return nil }
func (s *numbers) Read(context.Context) (plugin.Emission, error) {
	if s.at >= total && !s.endless {
		return plugin.Emission{}, io.EOF
	}
	var events []event.Event
	for ; s.at < total+100 && (s.at < total || s.endless) && len(events) < s.most; s.at++ {
		events = append(events, event.Event{Body: []byte(strconv.Itoa(s.at))})
	}
	b, err := encode(0, events...)
	s.seq++
	if s.miscounts && s.seq == 2 {
		s.seq++
	}
	return plugin.Emission{Seq: s.seq, Batch: b, Changed: event.Cursor{"at": []byte(strconv.Itoa(s.at))}}, err
}

type upper struct {
	faults
	metrics plugin.Metrics
	batches uint64
}

func (p *upper) Close() error { return nil }
func (p *upper) Process(_ context.Context, b event.Batch) (event.Batch, plugin.Outcome, error) {
	p.batches++
	if p.grows {
		p.metrics.Memory("", p.batches<<20)
	}
	var w event.Builder
	for at, e := range b.All() {
		if p.chokes && len(e.Body) == 0 {
			return event.Batch{}, plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "nothing to chew"}
		}
		e.Body = bytes.ToUpper(e.Body)
		if p.mangles {
			e.Body = append(e.Body, '!')
		}
		if p.differs {
			e.Body = strconv.AppendUint(e.Body, p.batches, 10)
		}
		if err := w.AppendAt(at-b.Base(), &e); err != nil {
			return event.Batch{}, plugin.Outcome{}, err
		}
		if p.copies && at-b.Base() == 7 {
			if err := w.AppendAt(at-b.Base(), &e); err != nil {
				return event.Batch{}, plugin.Outcome{}, err
			}
		}
	}
	out, err := event.Parse(w.Bytes())
	return out, plugin.Outcome{}, err
}

type lines struct {
	faults
	dir string
}

func (s *lines) Close() error { return nil }
func (s *lines) Write(_ context.Context, r event.Range, b event.Batch) (plugin.Outcome, error) {
	var text strings.Builder
	for _, e := range b.All() {
		if s.breaks && len(e.Body) > 1000 {
			return plugin.Outcome{}, &plugin.Error{Class: abi.Fatal, Message: "too long for me"}
		}
		fmt.Fprintf(&text, "%s\n", e.Body)
		if s.doubles {
			fmt.Fprintf(&text, "%s\n", e.Body)
		}
	}
	if s.rejectsNonsense {
		return plugin.Outcome{Rejected: []plugin.Rejection{{Index: b.Len()}}}, plugin.ErrRejected
	}
	return plugin.Outcome{}, errors.Join(
		appendFile(s.dir+"/lines", text.String()), appendFile(s.dir+"/ranges", fmt.Sprintln(uint64(r.First), uint64(r.Next))))
}

func appendFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func cases() []Case {
	return []Case{
		{Kind: abi.Source, Name: "numbers", BadConfig: `"bad"`, Events: total},
		{Kind: abi.Processor, Name: "upper", Input: []string{"a", "b"}, Output: []string{"A", "B"}},
		{
			Kind: abi.Sink, Name: "lines", BadConfig: `"bad"`,
			Setup: func(dir string) (Opening, error) {
				return Opening{Config: "{}", Dirs: []plugin.Dir{{Path: dir, Write: true}}}, nil
			},
			Stored: func(dir string) ([]string, error) {
				b, err := os.ReadFile(filepath.Join(dir, "lines"))
				return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
			},
		},
	}
}

func TestAGoodPluginPasses(t *testing.T) { Run(t, &fake{}, cases()...) }

func TestAProcessorThatSaysThatItMultipliesMay(t *testing.T) {
	Run(t, &fake{faults{copies: true, multiplies: true}}, cases()...)
}

func TestEachFaultIsFound(t *testing.T) {
	for want, f := range map[string]faults{
		"it resumes from its cursor without loss or repeat: resumed after 7 events: event 0 is \"6\"": {repeats: true},
		"it resumes from its cursor without loss or repeat: resumed after 7 events: event 0 is \"8\"": {loses: true},
		"it brings its events, in batches that count up: it brought 21":                               {endless: true},
		"it brings its events, in batches that count up: batch 2 has number 3":                        {miscounts: true},
		"a wrong config is an error of class config: the class is retry":                              {badClass: true},
		"a wrong config is an error of class config: it was opened":                                   {takesBad: true},
		"it reports what it holds, so that nothing is stored twice: [0,1) was written":                {forgets: true},
		"it stores what it was given, in order: event 1 is":                                           {doubles: true},
		"it survives any batch that is well-formed: a body of a MiB: too long for me":                 {breaks: true},
		"it survives any batch that is well-formed: a plain event: it rejects event 1 of 1":           {rejectsNonsense: true},
		"it survives any batch that is well-formed: an event with nothing in it: nothing to chew":     {chokes: true},
		"it makes the same of the same batch, in any instance: the same batch came out otherwise":     {differs: true},
		"it makes of its input what is expected: event 0 is \"A!\", want \"A\"":                       {mangles: true},
		"it needs no more memory after many events than after some: it had 101 MiB after 100000 events, and ": {
			grows: true},
		"it makes one event of one at most, since it does not say that it multiplies: it makes several events of event 7, ": {
			copies: true},
	} {
		var found []string
		for _, c := range cases() {
			for _, check := range Checks(&fake{f}, c) {
				if !strings.HasPrefix(want, check.Says) {
					continue
				}
				if err := check.Run(t.Context(), t.TempDir()); err != nil {
					found = append(found, check.Says+": "+err.Error())
				}
			}
		}
		if !strings.Contains(strings.Join(found, "\n"), want) {
			t.Errorf("%+v: found %q, want %q", f, found, want)
		}
	}
}

func TestWhatIsWrongWithAManifestIsTold(t *testing.T) {
	bad := abi.Manifest{Plugins: []abi.Plugin{
		{Kind: abi.Source, Name: "a", Replay: "maybe"},
		{Kind: abi.Source, Name: "a", Replay: "ack"},
		{Kind: "pump", Name: "b"},
		{Kind: abi.Sink, Name: "c", Arguments: []abi.Argument{
			{Name: "x", Type: "string"}, {Name: "x", Type: "string"}, {Name: "y", Type: "bool", Default: []byte("yes")},
			{Name: "z", Type: "bool", Default: []byte("true"), Required: true},
		}, Needs: []abi.Need{{Handle: "h", Kind: "dir", Access: "execute"}}},
	}}
	errs := errors.Join(Manifest(bad)...).Error()
	for _, want := range []string{
		`name is ""`, `replay is "maybe"`, `source "a" is there twice`, `pump "b": no such kind`, `effects is ""`,
		`argument "x"`, `default of "y" is not JSON`, `"z" is required and has a default`, `access "execute"`,
	} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is not among\n%s", want, errs)
		}
	}
	if errs := Manifest((&fake{}).Manifest()); len(errs) > 0 {
		t.Errorf("a good one: %v", errs)
	}
}

func TestAPluginThatIsNotInTheManifestIsTold(t *testing.T) {
	for _, c := range Checks(&fake{}, Case{Kind: abi.Sink, Name: "numbers"}) {
		if err := c.Run(t.Context(), ""); err == nil || !strings.Contains(err.Error(), `no sink "numbers"`) {
			t.Errorf("%v", err)
		}
	}
}
