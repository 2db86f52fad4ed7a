// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// DeadSource begins the name under which a component puts its dead letters: in that channel it is no source with a cursor.
const DeadSource = "dead."

// letterBatch is how large a batch of dead letters gets: what a sink takes.
const letterBatch = 1 << 20

// Reasons of dead letters: a small set, for a label.
const (
	deadRejected = "rejected" // a plugin, or its destination, said that it will never be taken
	deadTooBig   = "too_big"  // the same, because of its size
	deadBroke    = "broke"    // a plugin broke on it
)

// DeadReasons lists the reasons that there are.
func DeadReasons() []string { return []string{deadRejected, deadTooBig, deadBroke} }

// DeadReason is the reason of a letter with that class and code, as they stand in its attributes.
func DeadReason(class, code string) string {
	switch {
	case class == abi.Fatal.String():
		return deadBroke
	case code == abi.ETOOBIG.String():
		return deadTooBig
	}
	return deadRejected
}

// DeadLetters is where the events of one component go that will never be taken. Its methods may be called by many goroutines.
type DeadLetters struct {
	Component string          // whose they are: "sink.archive"
	Address   string          // of the channel: "channel.rejected"
	Channel   channel.Channel // that keeps them
	Backoff   Backoff         // between tries of a channel that refuses because it is full
	// Kept is told of events that are durable there, by reason; first says what the first of them was. Calls must be short.
	Kept func(reason string, events int, first string)
}

// letters are events on their way there, encoded. They belong to one goroutine.
type letters struct {
	component string
	group     string // that it is a member of; "": of none
	timed     bool   // the time of an event tells it from another with the same content
	full      []event.Batch
	last      *event.Builder
	kept      map[string]*tally
}

// tally counts letters of one reason.
type tally struct {
	events int
	first  string
}

func (l *letters) empty() bool { return len(l.kept) == 0 }

// blame is what did not take an event.
type blame struct {
	processor, plugin string
	attempts          int
}

// gaveUp adds the events of b that a processor gives up on their way into a channel, unless they are dropped.
func (l *letters) gaveUp(u *use, b event.Batch, rejected []plugin.Rejection) error {
	if u.OnError == Drop {
		return nil
	}
	by := blame{processor: u.Address, plugin: u.Plugin, attempts: 1}
	return eachRejected(b, rejected, func(_ event.Offset, e event.Event, r plugin.Rejection) error {
		return l.add(e, r, by, event.Attribute{Key: event.DeadDigest, Value: []byte(l.digest(e))})
	})
}

// eachRejected calls f with the events of b that are rejected, which are in order.
func eachRejected(b event.Batch, rejected []plugin.Rejection, f func(event.Offset, event.Event, plugin.Rejection) error) error {
	i := 0
	for o, e := range b.All() {
		if len(rejected) == 0 {
			break
		}
		if rejected[0].Index == i {
			if err := f(o, e, rejected[0]); err != nil {
				return err
			}
			rejected = rejected[1:]
		}
		i++
	}
	return nil
}

// digest tells an event that has no offset from others. Read again, it is the same event; the time may be when it was read.
func (l *letters) digest(e event.Event) string {
	h := sha256.New()
	part := func(b []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	if l.timed {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.Time)))
	}
	for _, a := range e.Attributes {
		part([]byte(a.Key))
		part(a.Value)
	}
	part(e.Body)
	return hex.EncodeToString(h.Sum(nil)[:sha256.Size/2])
}

// add adds one event with its identity.
func (l *letters) add(e event.Event, r plugin.Rejection, by blame, identity ...event.Attribute) error {
	class, code := abi.Reject.String(), r.Code.String()
	if r.Code == abi.OK {
		class, code = abi.Fatal.String(), ""
	}
	reason := DeadReason(class, code)
	text := func(key, value string) event.Attribute { return event.Attribute{Key: key, Value: []byte(value)} }
	said := strings.ToValidUTF8(r.Reason[:min(len(r.Reason), event.MaxDeadReason)], "")
	e.Attributes = slices.Concat(e.Attributes, identity, []event.Attribute{
		text(event.DeadComponent, l.component), text(event.DeadGroup, l.group), text(event.DeadProcessor, by.processor), text(event.DeadPlugin, by.plugin),
		text(event.DeadReason, said), text(event.DeadClass, class), text(event.DeadCode, code),
		text(event.DeadAttempts, strconv.Itoa(by.attempts)), text(event.DeadTime, time.Now().UTC().Format(time.RFC3339Nano)),
	})
	e.Attributes = slices.DeleteFunc(e.Attributes, func(a event.Attribute) bool {
		return len(a.Value) == 0 && strings.HasPrefix(a.Key, event.DeadPrefix)
	})
	if err := l.append(e); err != nil {
		return fmt.Errorf("keep an event as a dead letter, %s: %w: %w", said, err, errHold)
	}
	if l.kept == nil {
		l.kept = map[string]*tally{}
	}
	if l.kept[reason] == nil {
		l.kept[reason] = &tally{first: fmt.Sprintf("%s: %s", identityOf(identity), said)}
	}
	l.kept[reason].events++
	return nil
}

// identityOf names an event for a log: by its offset, or else its digest.
func identityOf(identity []event.Attribute) string {
	for _, key := range []string{event.DeadOffset, event.DeadDigest} {
		for _, a := range identity {
			if a.Key == key {
				return strings.TrimPrefix(key, event.DeadPrefix) + " " + string(a.Value)
			}
		}
	}
	return "an event"
}

// append encodes e, in another batch when this one is full.
func (l *letters) append(e event.Event) error {
	if l.last != nil && l.last.Size() >= letterBatch {
		l.cut()
	}
	for {
		if l.last == nil {
			l.last = &event.Builder{Host: true, Limit: event.MaxBatch}
		}
		err := l.last.Append(e)
		if !errors.Is(err, event.ErrFull) {
			return err
		}
		l.cut()
	}
}

// cut ends the last batch. It keeps the builder's memory.
func (l *letters) cut() {
	if l.last != nil {
		l.full = append(l.full, l.last.Batch())
		l.last = nil
	}
}

// keep makes letters durable, and forgets them. On an error some of them may be kept all the same, and are again when they come again.
func (d *DeadLetters) keep(ctx context.Context, l *letters, fate Lifecycle) error {
	l.cut()
	for _, b := range l.full {
		if err := d.put(ctx, b, fate); err != nil {
			return err
		}
	}
	for _, reason := range DeadReasons() {
		if t := l.kept[reason]; t != nil && d.Kept != nil {
			d.Kept(reason, t.events, t.first)
		}
	}
	l.full, l.kept = nil, nil
	return nil
}

// put makes one batch durable.
func (d *DeadLetters) put(ctx context.Context, b event.Batch, fate Lifecycle) error {
	source := DeadSource + d.Component
	if _, err := d.Channel.Cursor(ctx, source); err != nil { // it ends what an earlier put was refused for
		return fmt.Errorf("keep dead letters in %s: %w", d.Address, err)
	}
	tx, err := d.begin(ctx, fate)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := tx.Put(channel.Put{Source: source, Batch: b}); err != nil {
		return fmt.Errorf("keep dead letters in %s: %w: %w", d.Address, err, errHold)
	}
	if err := tx.Submit()(); err != nil {
		return fmt.Errorf("keep dead letters in %s: %w", d.Address, err)
	}
	return nil
}

// begin waits for room, as long as it takes: nothing is lost for want of a place for dead letters.
func (d *DeadLetters) begin(ctx context.Context, fate Lifecycle) (channel.Tx, error) {
	tx, err := begin(ctx, d.Channel, d.Backoff, fate, fmt.Sprintf("events are to go to the dead letters, and %s is full: it waits for room there", d.Address))
	if err != nil {
		return nil, fmt.Errorf("keep dead letters in %s: begin: %w", d.Address, err)
	}
	return tx, nil
}

// begin waits for room in a channel for as long as ctx lives, and tells fate why when that takes a while. A channel that refuses is asked again.
func begin(ctx context.Context, ch channel.Channel, backoff Backoff, fate Lifecycle, full string) (channel.Tx, error) {
	for n := 1; ; n++ {
		turn, cancel := context.WithTimeout(ctx, blockedTurn)
		tx, err := ch.Begin(turn)
		refused := errors.Is(err, channel.ErrFull)
		if refused {
			sleep(turn, backoff.Delay(n))
		}
		cancel()
		switch {
		case err == nil:
			if n > 1 {
				fate.State(Running, "")
			}
			return tx, nil
		case ctx.Err() != nil:
			return nil, cmp.Or(context.Cause(ctx), err)
		case !refused && !errors.Is(err, context.DeadlineExceeded):
			return nil, err
		case n == 1:
			fate.State(Retrying, full)
		}
	}
}
