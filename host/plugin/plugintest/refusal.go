// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// attempts bounds how often a delivery is tried beyond what its destination refuses: a plugin may need one more to notice, and one to connect.
	attempts = 4
	// pause is the longest between two attempts, whatever a plugin asks for: nobody is helped by waiting.
	pause = 10 * time.Millisecond
)

// each does something to all destinations.
func (n *network) each(do func(*destination)) {
	for _, d := range n.servers {
		d.mu.Lock()
		do(d)
		d.mu.Unlock()
	}
}

// refusals is how often destinations have refused.
func (n *network) refusals() (sum int) {
	n.each(func(d *destination) { sum += d.refused })
	return sum
}

// insists has each destination refuse for a while, again for each delivery.
func (s subject) insists(ctx context.Context, dir string) error {
	err := s.despite(ctx, dir, func(int) { s.network.each(func(d *destination) { d.fail = d.Fail }) })
	if err == nil && s.network.refusals() == 0 {
		return errors.New("nothing was refused: it came to no server")
	}
	return err
}

// reconnects hangs up after each delivery.
func (s subject) reconnects(ctx context.Context, dir string) error {
	return s.despite(ctx, dir, func(delivery int) {
		if delivery == 0 {
			return
		}
		for _, d := range s.network.servers {
			_, _ = d.bodies(deliveredBefore(delivery), false) // a connection that is closed with something unread in it is lost with that
			d.hangUp()
		}
		time.Sleep(pause) // until the plugin can see it
	})
}

// deliveredBefore is how many events the deliveries before that one have.
func deliveredBefore(delivery int) (n int) {
	for _, d := range deliveries()[:delivery] {
		n += len(d.bodies)
	}
	return n
}

// despite makes all deliveries, each until it is taken, and looks that all has arrived: some of it again, where that was to be expected.
func (s subject) despite(ctx context.Context, dir string, before func(delivery int)) error {
	s.network.each(func(d *destination) { d.keep = true })
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	before(0)
	var in plugin.Instance
	if err := s.persist(ctx, func() (err error) { in, err = s.open(ctx, r); return err }); err != nil {
		return err
	}
	for i, d := range deliveries() {
		if i > 0 {
			before(i)
		}
		if err := s.persist(ctx, func() error { return d.write(ctx, in.Sink) }); err != nil {
			return errors.Join(err, in.Sink.Close())
		}
	}
	if err := in.Sink.Close(); err != nil {
		return err
	}
	got, err := s.arrived()
	if err != nil {
		return err
	}
	return same(first(got), expected())
}

// first leaves out what was there before.
func first(bodies []string) (out []string) {
	seen := map[string]bool{}
	for _, b := range bodies {
		if !seen[b] {
			out = append(out, b)
		}
		seen[b] = true
	}
	return out
}

// persist does it again while the plugin says that it may work later.
func (s subject) persist(ctx context.Context, do func() error) error {
	most := attempts
	s.network.each(func(d *destination) { most += d.Fail })
	for try := 1; ; try++ {
		err := do()
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, errRejectsPlain) || plugin.ClassOf(err) != abi.Retry:
			return fmt.Errorf("it does not try again what may work later (class %s): %w", plugin.ClassOf(err), err)
		case try == most:
			return fmt.Errorf("it does not get through in %d attempts: %w", most, err)
		}
		rest(ctx, pause)
	}
}

// lasting are answers that say that nothing was stored. Those that say "later" must be tried again.
var lasting = []int{
	http.StatusBadRequest, http.StatusUnauthorized, http.StatusFound, http.StatusNotFound, http.StatusRequestEntityTooLarge,
	http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}

// minds has each destination refuse all, and looks that the plugin does not say that it is there.
func (s subject) minds(ctx context.Context, dir string) error {
	r, err := s.world(dir)
	if err != nil {
		return err
	}
	statuses := lasting
	if !s.network.serves() {
		statuses = statuses[:1] // nobody listens, that is all
	}
	for i, status := range statuses {
		s.network.each(func(d *destination) { d.always = status })
		in, err := s.open(ctx, r)
		if err != nil && plugin.ClassOf(err) != abi.Retry {
			return fmt.Errorf("with status %d: %w", status, err)
		} else if err != nil {
			continue // it notices at once
		}
		err = s.mindsStatus(ctx, in.Sink, event.Offset(i), status)
		if err := errors.Join(err, in.Sink.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (s subject) mindsStatus(ctx context.Context, sink plugin.Sink, at event.Offset, status int) error {
	http := s.network.serves()
	with := "where nobody listens"
	if http {
		with = fmt.Sprintf("with status %d", status)
	}
	b, err := encode(at, event.Event{Time: 1, Body: []byte(`"plain"`)})
	if err != nil {
		return err
	}
	out, err := sink.Write(ctx, event.Range{First: at, Next: at + 1}, b)
	later := !http || status == 429 || status >= 500
	switch {
	case err == nil && len(out.Rejected) == 0:
		return fmt.Errorf("%s it says that all is stored", with)
	case err == nil && later, err != nil && later && plugin.ClassOf(err) != abi.Retry:
		return fmt.Errorf("%s it gives up (class %s): %w", with, plugin.ClassOf(err), err)
	}
	return nil
}

// serves says whether a destination speaks HTTP.
func (n *network) serves() bool {
	for _, d := range n.servers {
		if d.http != nil {
			return true
		}
	}
	return false
}
