// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/endpoint"
)

// store reads until there are n events, and has them stored: a connection of which something is not is not passed on.
func store(t *testing.T, s plugin.Source, n int) (bodies []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(bodies) < n {
		e, err := s.Read(ctx)
		if err != nil {
			t.Fatalf("after %q: %v", bodies, err)
		}
		for _, ev := range e.Batch.All() {
			bodies = append(bodies, string(ev.Body))
		}
		e.Batch.Release()
		if err := s.Ack(ctx, e.Seq, nil); err != nil {
			t.Fatal(err)
		}
	}
	return bodies
}

// end ends an instance as a source of a pipeline does.
func end(t *testing.T, s plugin.Source) {
	t.Helper()
	if l, ok := s.(plugin.Leaver); ok {
		l.Leave()
		for {
			e, err := s.Read(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.Batch.Len() > 0 {
				t.Errorf("%d events more", e.Batch.Len())
			}
			e.Batch.Release()
			if err := s.Ack(t.Context(), e.Seq, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionOutlivesTheInstance(t *testing.T) {
	inBoth(t, func(t *testing.T, p plugin.Plugin) {
		for _, c := range []struct{ name, config string }{
			{"tcp", tcpConfig},
			{"syslog", `{"listen":"tcp://x","max_message":1000,"body":"message","zone":"UTC"}`},
		} {
			t.Run(c.name, func(t *testing.T) {
				grants, addr := listening(t, "tcp://127.0.0.1:0", endpoint.ListenOptions{})
				conn := connect(t, addr)
				for i := range 5 {
					s := openSource(t, p, c.name, c.config, grants)
					// The line that this instance sees the end of was begun while the last one was there.
					if _, err := fmt.Fprintf(conn, "end of %d\nwhole %d\nbegin ", i, i); err != nil {
						t.Fatal(err)
					}
					want := []string{fmt.Sprintf("begin end of %d", i), fmt.Sprintf("whole %d", i)}
					if i == 0 {
						want[0] = "end of 0"
					}
					if got := store(t, s, 2); !slices.Equal(got, want) {
						t.Errorf("%q, wanted %q", got, want)
					}
					end(t, s)
				}
				s := openSource(t, p, c.name, c.config, grants)
				if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got := store(t, s, 1); strings.TrimSpace(got[0]) != "begin" {
					t.Errorf("at the end: %q", got)
				}
				if _, err := io.Copy(io.Discard, conn); err != nil {
					t.Errorf("it was reset: %v", err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}
