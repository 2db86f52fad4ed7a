// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/event"
)

// leaver is a source that has made three batches when it is asked for the first.
type leaver struct {
	instance
	left bool
	made uint64
}

func (l *leaver) Leave() { l.left = true }

func (l *leaver) Read(ctx context.Context) (plugin.Emission, error) {
	l.t.add("read")
	if l.left && l.made == 3 {
		return plugin.Emission{}, io.EOF
	}
	if !l.left && l.made == 1 {
		<-ctx.Done()
		return plugin.Emission{}, ctx.Err()
	}
	l.made++
	return plugin.Emission{Seq: l.made}, nil
}

func TestWhatASourceHasMadeIsPutBeforeItIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		resumes bool
		full    time.Duration // from when it is asked to end
		puts    int
	}{
		"from its senders":  {puts: 3},
		"it can read again": {resumes: true, puts: 1},
		"no room in time":   {full: time.Hour, puts: 1},
		"room in time":      {full: time.Second, puts: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := &trace{durable: make(chan error, 4)}
				s := newSource(tr)
				s.Resumes, s.Drain = c.resumes, 10*time.Second
				s.Open = func(context.Context, event.Cursor) (plugin.Source, error) {
					return &leaver{instance: instance{tr}}, nil
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- s.Run(ctx) }()
				synctest.Wait()
				tr.full = c.full
				cancel()
				synctest.Wait()
				for range 3 {
					tr.durable <- nil
				}
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				got := tr.String()
				if n := strings.Count(got, "put"); n != c.puts || !strings.HasSuffix(got, "close") {
					t.Errorf("%d were put: %s", n, got)
				}
			})
		})
	}
}
