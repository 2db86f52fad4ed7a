// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// Bytes that a record takes beside what is in it, at most: of the batch that it is alone in, of itself, and of each header.
const (
	batchOverhead  = 61
	recordOverhead = 32
	headerOverhead = 10
)

// recordWriter makes records of events.
type recordWriter struct {
	topic      string
	key        string // an attribute, or ""
	headers    []headers
	maxMessage int
	tombstones bool

	// Of the delivery, reused. Records refer to the memory of its batch.
	records []kgo.Record
	offsets []event.Offset
	places  []int // in the batch
	pool    []kgo.RecordHeader
	decoder event.Decoder
}

// headers says which attributes become headers: one by its name, or all that begin with a prefix, which is left out of the header's name.
type headers struct {
	name   string
	prefix bool
}

func parseHeaders(list []string) (all []headers, err error) {
	for _, text := range list {
		name, prefix := strings.CutSuffix(text, "*")
		if strings.Contains(name, "*") || name == "" && !prefix {
			return nil, sdk.ConfigError("headers", `has %q, wanted the name of an attribute, or the beginning of names and a *, such as "kafka.header.*"`, text)
		}
		all = append(all, headers{name, prefix})
	}
	return all, nil
}

// reset makes room for the records of a batch.
func (w *recordWriter) reset(n int) {
	w.records, w.offsets, w.places, w.pool = slices.Grow(w.records[:0], n), w.offsets[:0], w.places[:0], w.pool[:0]
}

// encode makes the records of a batch, and rejects events that are too large.
func (w *recordWriter) encode(b event.Batch, d *sdk.Delivery) (bad int, err error) {
	w.reset(b.Len())
	place := 0
	for w.decoder.Reset(b); w.decoder.Next(); place++ {
		r, size := w.record(w.decoder.Event())
		if size > w.maxMessage {
			if err := d.Reject(place, fmt.Errorf("the event makes a message of %d bytes, and max_message is %d", size, w.maxMessage)); err != nil {
				return bad, err
			}
			bad++
			continue
		}
		w.records, w.offsets, w.places = append(w.records, r), append(w.offsets, w.decoder.Offset()), append(w.places, place)
	}
	return bad, nil
}

// record makes one, and says how large it is.
func (w *recordWriter) record(e *event.Event) (kgo.Record, int) {
	r := kgo.Record{Topic: w.topic, Value: e.Body, Timestamp: time.Unix(0, e.Time)}
	size := batchOverhead + recordOverhead + len(e.Body)
	from := len(w.pool)
	for i := range e.Attributes {
		a := &e.Attributes[i]
		if w.key != "" && a.Key == w.key && r.Key == nil {
			r.Key = a.Value
			size += len(a.Value)
		}
		if w.tombstones && a.Key == attributeTombstone && len(e.Body) == 0 {
			r.Value = nil
		}
		for _, h := range w.headers {
			name, ok := strings.CutPrefix(a.Key, h.name)
			if ok && (h.prefix || name == "") {
				if !h.prefix {
					name = a.Key
				}
				w.pool = append(w.pool, kgo.RecordHeader{Key: name, Value: a.Value})
				size += headerOverhead + len(name) + len(a.Value)
				break
			}
		}
	}
	if len(w.pool) > from {
		r.Headers = w.pool[from:len(w.pool):len(w.pool)]
	}
	if r.Value == nil && !w.tombstones {
		r.Value = []byte{}
	}
	return r, size
}
