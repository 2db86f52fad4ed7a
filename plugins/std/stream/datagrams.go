// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"errors"
	"strings"

	"github.com/penstock-io/penstock/sdk"
)

// Packet says whether what an address names takes datagrams.
func Packet(address string) bool {
	return strings.HasPrefix(address, "udp://") || strings.HasPrefix(address, "unixgram://")
}

// maxSender is as long as an address gets: the path of a unix socket.
const maxSender = 128

// maxDatagrams is how many are received in one Poll, be there events in them or not: a flood of empty ones must not use up its processor time.
const maxDatagrams = 16 << 10

// Datagrams takes records, one from each datagram.
type Datagrams struct {
	// Append appends an event to the batch, with attributes of 8 KiB at most. It answers sdk.ErrFull when there is no room.
	Append func(p *sdk.Poll, sender string, r Record, now int64) error

	net    sdk.Network
	ln     *sdk.Listener
	buf    []byte
	from   [maxSender]byte
	sender string // of the last one
	record Record // that did not fit the last batch; Size 0: none
	count  sdk.Counter
}

// Open begins to receive at what was granted as handle. max bounds a datagram: longer ones are cut.
func (d *Datagrams) Open(o *sdk.Open, handle string, max int) (err error) {
	d.net, d.buf, d.count = o.Network(), make([]byte, max+1), o.Counter("datagrams_cut")
	d.ln, err = d.net.Listen(handle)
	return err
}

// Poll fills one batch.
func (d *Datagrams) Poll(p *sdk.Poll) error {
	now, wait := p.Now().UnixNano(), p.Timeout
	for range maxDatagrams {
		if d.record.Size == 0 {
			n, sender, err := d.ln.Receive(d.buf, d.from[:], wait)
			if err != nil {
				return quiet(err)
			}
			if wait != 0 {
				now, wait = p.Now().UnixNano(), 0 // what has come meanwhile, and then no more waiting
			}
			if string(sender) != d.sender {
				d.sender = string(sender)
			}
			d.record = Record{Size: n, Body: d.buf[:n]}
			if n == len(d.buf) {
				d.record.Body, d.record.Partial = d.buf[:n-1], true
				d.count.Add(1)
			}
			d.record.Body = bytes.TrimRight(d.record.Body, "\r\n\x00")
		}
		if n := room(p); len(d.record.Body) > n {
			d.record.Body, d.record.Partial = d.record.Body[:n], true
			d.count.Add(1)
		}
		if len(d.record.Body) > 0 {
			if err := d.Append(p, d.sender, d.record, now); errors.Is(err, sdk.ErrFull) {
				return nil
			} else if err != nil {
				return err
			}
		}
		d.record = Record{}
	}
	return nil
}
