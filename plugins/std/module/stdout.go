// SPDX-License-Identifier: Apache-2.0

package module

import (
	"fmt"
	"io"
	"os"

	"github.com/penstock-io/penstock/plugins/std/filesink/line"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// stdout prints events. What was printed when the agent died may be printed again.
type stdout struct {
	to    io.Writer
	lines *line.Encoder
	buf   []byte // reused
}

func newStdout() sdk.Sink { return &stdout{to: os.Stdout} }

func (s *stdout) Open(o *sdk.Open) error {
	var cfg struct {
		Format string `json:"format"`
	}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	format, err := line.Parse(cfg.Format)
	s.lines = line.New(format)
	return err
}

func (s *stdout) Write(_ event.Range, b event.Batch, _ *sdk.Delivery) error {
	s.buf = s.lines.AppendBatch(s.buf[:0], b, nil)
	if _, err := s.to.Write(s.buf); err != nil {
		return fmt.Errorf("print %d events: %w", b.Len(), err)
	}
	return nil
}
