// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/plugins/postgres/pgtest"
	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configOf is what leads to the server, with what a test sets.
func configOf(srv *pgtest.Server, more map[string]any) map[string]any {
	c := map[string]any{"host": srv.Dir, "port": srv.Port, "user": pgtest.User, "database": pgtest.User, "password": "", "tls": "verify"}
	maps.Copy(c, more)
	return c
}

// table is the name of a test's own table.
func table(t *testing.T) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
}

// openSink opens a sink into the test's table, with ranges of its own.
func openSink(t *testing.T, srv *pgtest.Server, more map[string]any) *sdktest.Sink {
	t.Helper()
	s := sdktest.OpenSink(t, NewSink, sinkConfigOf(t, srv, more))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func sinkConfigOf(t *testing.T, srv *pgtest.Server, more map[string]any) map[string]any {
	c := map[string]any{"table": table(t), "create": true, "ranges": table(t) + "_ranges"}
	maps.Copy(c, more)
	return configOf(srv, c)
}

// newSinkOf is a sink that was not opened with what a test configures it with.
func newSinkOf(t *testing.T) *sdktest.Sink {
	t.Helper()
	return sdktest.NewSink(t, NewSink)
}

// codeAndText is what an error tells the host.
func codeAndText(err error) (abi.Code, string) {
	if e, ok := errors.AsType[*sdk.Error](err); ok {
		return e.Code, e.Error()
	}
	return 0, fmt.Sprint(err)
}

// numbered are n events whose bodies are their offsets.
func numbered(first, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i].Body = fmt.Appendf(nil, "%d", first+i)
	}
	return events
}

// deliver hands over events from first on.
func deliver(s *sdktest.Sink, first, n int) error {
	return s.Deliver(event.Offset(first), numbered(first, n)...)
}

// read reads a column of the test's table as one text.
func read(t *testing.T, srv *pgtest.Server, what string) string {
	t.Helper()
	return srv.One(fmt.Sprintf(`SELECT coalesce(string_agg(%s, ',' ORDER BY %[1]s), '') FROM "%s"`, what, table(t)))
}
