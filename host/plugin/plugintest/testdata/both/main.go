// SPDX-License-Identifier: Apache-2.0

// Command both is a plugin for tests of the host, of which one source builds for WebAssembly and as a child process. As a source it
// counts, as a sink it appends lines to a file, as a processor it makes upper case. Its config may ask for trouble.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

func main() {
	sdk.Main(map[string]sdk.Plugin{"both": {
		Source:    func() sdk.Source { return new(source) },
		Sink:      func() sdk.Sink { return new(sink) },
		Processor: func() sdk.Processor { return new(processor) },
	}})
}

// config is of all three.
type config struct {
	Count   int    `json:"count"`   // source: of events
	Each    int    `json:"each"`    // source: events of a batch; 0: 7
	Size    int    `json:"size"`    // source: bytes of a body; 0: short ones
	File    string `json:"file"`    // sink
	Trouble string `json:"trouble"` // see trouble
	Refuse  string `json:"refuse"`  // a word of which bodies are rejected
}

func (c *config) read(o *sdk.Open) error {
	if err := o.Config(c); err != nil {
		return err
	}
	o.Log.Info("opened", "trouble", c.Trouble)
	o.Counter("opened").Add(1)
	return trouble(c.Trouble, "open")
}

// trouble does what is asked for at that moment: "panic in write".
func trouble(asked, at string) error {
	what, when, _ := strings.Cut(asked, " in ")
	if when != at {
		return nil
	}
	switch what {
	case "panic":
		panic("as asked")
	case "exit":
		fmt.Fprintln(os.Stderr, "this is the end")
		os.Exit(3)
	case "hang":
		select {}
	case "print":
		fmt.Println("said to standard output")
		fmt.Fprintln(os.Stderr, "said to standard error")
	case "environment":
		return errors.New("environment: " + strings.Join(os.Environ(), " "))
	case "spawn": // something that would outlive this
		c := exec.Command("sleep", "1000")
		if err := c.Start(); err != nil {
			return err
		}
		return fmt.Errorf("spawned %d of %d", c.Process.Pid, os.Getpid())
	case "hog": // all the memory that there is
		for all := [][]byte{}; ; {
			all = append(all, bytes.Repeat([]byte("x"), 1<<20))
		}
	case "fill": // more than it may have, and less than it may map
		all := bytes.Repeat([]byte("x"), 256<<20)
		time.Sleep(time.Hour)
		os.Exit(int(all[0]))
	case "bomb": // all the processes
		for n := 0; ; n++ {
			if err := exec.Command("sleep", "1001").Start(); err != nil {
				return fmt.Errorf("after %d processes: %w", n, err)
			}
		}
	case "flood": // all the files
		for n := 0; ; n++ {
			f, err := os.Open(os.DevNull)
			if err != nil {
				return fmt.Errorf("after %d files: %w", n, err)
			}
			defer f.Close()
		}
	case "retry":
		return sdk.Retry(errors.New("not now\ncome again"), 5*time.Second)
	}
	return nil
}

type source struct {
	config
	next  int
	acked uint64
	sent  func(float64)
	body  []byte
}

func (s *source) Open(o *sdk.Open) (err error) {
	if at, ok := o.Cursor["next"]; ok {
		if s.next, err = strconv.Atoi(string(at)); err != nil {
			return err
		}
	}
	s.Each = 7
	s.sent = o.Counter("sent").Add
	if err := s.read(o); err != nil {
		return err
	}
	s.body = make([]byte, s.Size)
	return nil
}

func (s *source) Poll(p *sdk.Poll) error {
	if err := trouble(s.Trouble, "poll"); err != nil {
		return err
	}
	if s.Trouble == "sleep in poll" {
		if err := p.Sleep(time.Hour); err != nil {
			return err
		}
	}
	if s.next >= s.Count {
		return sdk.Done
	}
	for p.Len() < s.Each && s.next < s.Count {
		body := s.body
		if s.Size == 0 {
			body = fmt.Appendf(nil, "event %d", s.next)
		}
		err := p.Append(event.Event{Time: int64(s.next), Body: body})
		if errors.Is(err, sdk.ErrFull) {
			break
		}
		if err != nil {
			return err
		}
		s.next++
	}
	s.sent(float64(p.Len()))
	return p.SetCursor("next", strconv.AppendInt(nil, int64(s.next), 10))
}

func (s *source) Ack(seq uint64, _ error) { s.acked = seq }

type sink struct {
	config
	file    *os.File
	decoder event.Decoder
	bytes   int
}

func (s *sink) Open(o *sdk.Open) (err error) {
	if err := s.read(o); err != nil || s.File == "" {
		return err
	}
	s.file, err = os.OpenFile(s.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

func (s *sink) Write(_ event.Range, b event.Batch, d *sdk.Delivery) error {
	if err := trouble(s.Trouble, "write"); err != nil {
		return err
	}
	if s.Trouble == "sleep in write" {
		if err := d.Sleep(time.Hour); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	i := 0
	for _, e := range s.decoder.All(b) {
		if s.bytes += len(e.Body); s.Refuse != "" && strings.Contains(string(e.Body), s.Refuse) {
			if err := d.Reject(i, errors.New("is refused")); err != nil {
				return err
			}
		} else if s.file != nil {
			out.Write(e.Body)
			out.WriteByte('\n')
		}
		i++
	}
	if s.file == nil {
		return nil
	}
	_, err := s.file.Write(out.Bytes())
	return err
}

func (s *sink) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

type processor struct {
	config
	decoder event.Decoder
}

func (p *processor) Open(o *sdk.Open) error { return p.read(o) }

func (p *processor) Process(b event.Batch, out *sdk.Output) error {
	if err := trouble(p.Trouble, "process"); err != nil {
		return err
	}
	i := 0
	for at, e := range p.decoder.All(b) {
		if p.Refuse != "" && strings.Contains(string(e.Body), p.Refuse) {
			if err := out.Reject(i, errors.New("is refused")); err != nil {
				return err
			}
		} else {
			e.Body = bytes.ToUpper(e.Body)
			if err := out.Append(at, e); err != nil {
				return err
			}
		}
		i++
	}
	return nil
}
