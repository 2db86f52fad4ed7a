// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
)

func TestGeneratedLinesAreNumberedAndSized(t *testing.T) {
	for _, size := range []int{minSize, 100, 256, 5000} {
		s := sdktest.OpenSource(t, newGenerate, map[string]any{"count": 1000, "size": size})
		s.MaxEvents = 37
		seen := map[string]bool{}
		for i, e := range s.Drain() {
			if len(e.Body) != size || !strings.HasSuffix(e.Body, fmt.Sprintf(" seq=%016d", i)) {
				t.Fatalf("size %d: line %d is %q", size, i, e.Body)
			}
			seen[strings.TrimRight(e.Body, "0123456789")] = true
		}
		if len(s.Events) != 1000 || size > 100 && len(seen) != templates {
			t.Fatalf("size %d: %d events of %d kinds", size, len(s.Events), len(seen))
		}
	}
}

func TestGenerateResumesExactly(t *testing.T) {
	config := map[string]any{"count": 100, "size": 64}
	whole := sdktest.Bodies(sdktest.OpenSource(t, newGenerate, config).Drain())
	s := sdktest.OpenSource(t, newGenerate, config)
	s.MaxEvents = 7
	for n := 0; len(s.Events) < 100; n++ {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		if n%3 == 0 {
			s.Commit()
		}
		if n%3 == 1 {
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, body := range sdktest.Bodies(s.Events) {
		if body != whole[i] {
			t.Fatalf("line %d is %q, and %q without restarts", i, body, whole[i])
		}
	}
	if _, err := s.Poll(); !errors.Is(err, sdk.Done) {
		t.Errorf("after the last: %v", err)
	}
}

func TestGenerateKeepsItsRate(t *testing.T) {
	for _, rate := range []int{3, 250, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			s := sdktest.OpenSource(t, newGenerate, map[string]any{"rate": rate, "size": 64})
			s.Timeout = 250 * time.Millisecond
			for began := time.Now(); time.Since(began) < 20*time.Second; {
				if _, err := s.Poll(); err != nil {
					t.Fatal(err)
				}
				s.Commit()
			}
			if n, want := len(s.Events), 20*rate; n < want*98/100-1 || n > want*102/100 {
				t.Errorf("rate %d: %d events in 20 s", rate, n)
			}
		})
	}
}

func TestGenerateRefusesWrongArguments(t *testing.T) {
	for name, value := range map[string]any{"rate": -1, "count": -1, "size": 1} {
		s := sdktest.OpenSource(t, newGenerate, nil)
		s.Configure(map[string]any{name: value})
		e, ok := errors.AsType[*sdk.Error](s.Restart())
		if !ok || e.Path != name {
			t.Errorf("%s = %v: %v", name, value, e)
		}
	}
}

func TestStdoutPrintsABatchAtATime(t *testing.T) {
	var out strings.Builder
	for _, c := range []struct{ format, want string }{
		{"raw", "a\nb\n"},
		{"json", `{"time":"1970-01-01T00:00:00Z","attributes":{},"body":"a"}` + "\n" + `{"time":"1970-01-01T00:00:00Z","attributes":{},"body":"b"}` + "\n"},
	} {
		out.Reset()
		s := sdktest.OpenSink(t, func() sdk.Sink { return &stdout{to: &out} }, map[string]any{"format": c.format})
		if err := s.Send("a", "b"); err != nil || out.String() != c.want {
			t.Errorf("%s: printed %q, %v", c.format, &out, err)
		}
	}
	s := sdktest.OpenSink(t, func() sdk.Sink { return &stdout{to: broken{}} }, nil)
	if err := s.Send("a"); err == nil {
		t.Error("no error from a broken pipe")
	}
}

type broken struct{ io.Writer }

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestDiscardTakesAnything(t *testing.T) {
	if err := sdktest.OpenSink(t, newDiscard, nil).Send("a", ""); err != nil {
		t.Error(err)
	}
}
