// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// TestABatchThatIsNotAllOfItsMemoryIsCopied: around it there is no room for a record.
func TestABatchThatIsNotAllOfItsMemoryIsCopied(t *testing.T) {
	data := batch("event").Bytes()
	memory := func(n int) *event.Buffer { return event.NewBuffer(make([]byte, event.Headroom+n+4096), n, nil) }
	part, other := memory(len(data)+100), memory(len(data))
	copy(part.Bytes(), data)
	for name, given := range map[string]event.Batch{
		"a part":       event.Trusted(part.Bytes()[:len(data)], 0, part),
		"other memory": event.Trusted(bytes.Clone(data), 0, other),
	} {
		b := newBench(t, Options{})
		r := b.reader("sink.a")
		tx, err := b.c.Begin(t.Context())
		b.must(err)
		b.must(tx.Put(channel.Put{Source: "source.a", Batch: given, Changed: event.Cursor{"at": []byte("1")}}))
		b.must(tx.Submit()())
		if got, err := drain(r); err != nil || len(got) != 1 || got[0] != "event" {
			t.Errorf("%s: from memory came %q, %v", name, got, err)
		}
		b.close()
		if report, err := Verify(b.o.Dir, nil); err != nil || len(report.Damage) > 0 {
			t.Errorf("%s: the log has %+v, %v", name, report.Damage, err)
		}
	}
}

// TestATrailerThatCouldNotBeReadIsNotWritten: entries that are removed count for no cursor, and take room all the same.
func TestATrailerThatCouldNotBeReadIsNotWritten(t *testing.T) {
	b := newBench(t, Options{})
	removed := make(event.Cursor)
	for i := range maxTrailer/abi.MaxKey + 1 {
		removed[fmt.Sprint(i, strings.Repeat(".", abi.MaxKey-10))] = nil
	}
	tx, err := b.c.Begin(t.Context())
	b.must(err)
	b.must(tx.Put(channel.Put{Source: "source.a", Changed: removed}))
	if err := tx.Submit()(); !errors.Is(err, channel.ErrLimit) {
		t.Errorf("it answered %v", err)
	}
	b.cursor("source.a", "")
	b.put("source.a", "1", "event")
}
