// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"sync"
	"time"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

// dropPause is how long drops of one kind gather in one line of the log: a channel that is full may drop with every
// transaction.
const dropPause = 10 * time.Second

// dropLog says what a channel drops: the first at once, then at most one line in a while.
type dropLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[dropKind]*dropped
}

type dropKind struct {
	loss   channel.Loss
	reader string
}

// dropped is what is not said yet.
type dropped struct {
	said   time.Time // the last line
	span   event.Range
	drops  int
	events uint64
}

// dropped is a func of channel.Observer.
func (l *dropLog) dropped(d channel.Drop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds == nil {
		l.kinds = map[dropKind]*dropped{}
	}
	kind := dropKind{d.Loss, d.Reader}
	k := l.kinds[kind]
	if k == nil {
		k = &dropped{}
		l.kinds[kind] = k
	}
	if k.drops == 0 {
		k.span = d.Range
	}
	k.span = event.Range{First: min(k.span.First, d.Range.First), Next: max(k.span.Next, d.Range.Next)}
	k.drops++
	k.events += d.Events
	if time.Since(k.said) >= dropPause {
		l.say(kind, k)
	}
}

func (l *dropLog) say(kind dropKind, k *dropped) {
	reader := kind.reader
	if reader == "" {
		reader = "all"
	}
	l.log.Warn("events are dropped, as a policy or an operator said", "reason", kind.loss.String(), "reader", reader,
		"first", uint64(k.span.First), "next", uint64(k.span.Next), "events", k.events, "drops", k.drops)
	*k = dropped{said: time.Now()}
}

// Close says what is left.
func (l *dropLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for kind, k := range l.kinds {
		if k.drops > 0 {
			l.say(kind, k)
		}
	}
	return nil
}
