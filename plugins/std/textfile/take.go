// SPDX-License-Identifier: Apache-2.0

package textfile

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// The attributes of events.
const (
	Path     = "file.path"
	Position = "file.position" // of the first byte in the file, decimal
	// Partial marks an event whose line goes on in the next event of the same file.
	Partial = "file.partial"
	// Truncated marks an event whose line was longer; the rest is nowhere.
	Truncated = "file.truncated"
)

// otherAttributes is the most room that the attributes beside the path take in an event.
const otherAttributes = 2*event.AttributeSize + len(Position) + len("9223372036854775807") + len(Truncated) + len("true")

var yes = []byte("true")

// ErrLong is what a line, or an event of many, is over the limit that is to have none such.
var ErrLong = errors.New("longer than may be")

// Place is how far a file has been read.
type Place struct {
	Offset int64 // where the next line begins
	Skip   Skip
}

// Taker appends the events of files to batches. It is not safe for concurrent use.
type Taker struct {
	Splitter
	MaxLine   int  // what Limit is, where a batch has room for it
	Refuse    bool // what is longer is no event: ErrLong
	LongLines sdk.Counter

	attrs    [3]event.Attribute
	list     event.AttributeList
	position decimal
}

// Take appends all events that data holds wholly, which begins at the place at of the file, and moves at past them. After
// [sdk.ErrFull] it is to be called again with the next batch, and what of data is left. Limit is set anew.
func (t *Taker) Take(p *sdk.Poll, path string, at *Place, data []byte, end End, now int64) (err error) {
	t.attrs[0].Key, t.attrs[1].Key = Path, Position
	t.attrs[0].Value = append(t.attrs[0].Value[:0], path...)
	t.Limit = max(1, min(t.MaxLine, p.MaxBody(t.attrs[0])-otherAttributes))
	if t.Start == nil && at.Skip == SkipNothing {
		if data, err = t.lines(p, at, data, now); err != nil {
			return err
		}
	}
	for len(data) > 0 {
		c := t.next(data, at.Skip, end)
		if c.size == 0 {
			break
		}
		if err := t.append(p, at, c, now); err != nil {
			return err
		}
		data = data[c.size:]
	}
	return nil
}

// lines is the fast path of Take: whole lines that are not too long. It returns what is left.
func (t *Taker) lines(p *sdk.Poll, at *Place, data []byte, now int64) ([]byte, error) {
	t.list.Reset()
	t.position.set(at.Offset)
	if err := errors.Join(t.list.Add(Path, t.attrs[0].Value), t.list.Add(Position, nil)); err != nil {
		return data, fmt.Errorf("attributes of %s: %w", t.attrs[0].Value, err)
	}
	offset := at.Offset
	for {
		n := bytes.IndexByte(data, '\n')
		if n < 0 {
			break
		}
		body := data[:n]
		if n > 0 && body[n-1] == '\r' {
			body = body[:n-1]
		}
		if len(body) > t.Limit {
			break
		}
		t.list.SetLast(t.position.bytes())
		if err := p.AppendList(now, &t.list, body); err != nil {
			at.Offset = offset
			return data, t.appendError(at, err)
		}
		data, offset = data[n+1:], offset+int64(n+1)
		t.position.add(n + 1)
	}
	at.Offset = offset
	return data, nil
}

// append appends one event, or passes over what is skipped.
func (t *Taker) append(p *sdk.Poll, at *Place, c cut, now int64) error {
	if c.emit {
		attrs := t.attrs[:2]
		if c.mark != "" {
			if t.Refuse {
				return ErrLong
			}
			t.LongLines.Add(1)
			attrs = append(attrs, event.Attribute{Key: c.mark, Value: yes})
		}
		attrs[1].Value = strconv.AppendInt(attrs[1].Value[:0], at.Offset, 10)
		if err := p.Append(event.Event{Time: now, Attributes: attrs, Body: c.body}); err != nil {
			return t.appendError(at, err)
		}
	}
	at.Offset += int64(c.size)
	at.Skip = c.skip
	return nil
}

func (t *Taker) appendError(at *Place, err error) error {
	if errors.Is(err, sdk.ErrFull) {
		return err
	}
	return fmt.Errorf("append event at %d of %s: %w", at.Offset, t.attrs[0].Value, err)
}

// decimal is a number as its digits: in a guest, adding to them costs a fifth of writing them anew.
type decimal struct {
	digits [20]byte // behind from
	from   int
}

func (d *decimal) set(n int64) {
	var text [len(d.digits)]byte
	s := strconv.AppendInt(text[:0], n, 10)
	d.from = len(d.digits) - len(s)
	copy(d.digits[d.from:], s)
}

// add adds n, which is not negative.
func (d *decimal) add(n int) {
	for i := len(d.digits) - 1; n > 0; i-- {
		if i < d.from {
			d.from, d.digits[i] = i, '0'
		}
		n += int(d.digits[i] - '0')
		d.digits[i] = byte('0' + n%10)
		n /= 10
	}
}

func (d *decimal) bytes() []byte { return d.digits[d.from:] }
