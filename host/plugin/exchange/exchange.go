// SPDX-License-Identifier: Apache-2.0

// Package exchange keeps the HTTP requests of one instance behind numbers: those that it sends ([Client]), and those that come in for it to
// answer ([Server]), whatever it runs in. A request and a response cross as a batch of one event (spec/abi.md §2).
//
// Invariants:
//   - The methods of both are called by whoever has the instance's turn.
//   - Nothing waits but in [Caller.AwaitRequest]: so every wait ends as soon as the host wants the plugin back.
//   - Each request that came in is answered once: by the plugin, after a commit, or by the host with 503.
//   - Close waits for every goroutine.
package exchange

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// Caller is the plugin whose requests these are.
type Caller interface {
	// AwaitRequest waits until ready has something or a request comes, for d at most (less than 0: for as long as it takes), or until the host
	// wants the plugin back: OK, ETIMEOUT (EAGAIN where d is 0) or EINTR. Both channels may be nil.
	AwaitRequest(d time.Duration, ready <-chan struct{}, requests <-chan *plugin.Exchange) (*plugin.Exchange, abi.Code)
	// Promise has f called, by any goroutine, once the batch that the plugin emitted as after is durable or refused.
	Promise(after int64, f func(durable bool)) abi.Code
	// Denied counts what the plugin tried and was not granted.
	Denied(capability, what string)
	// Lost keeps what happened for the error of the running call.
	Lost(err error)
}

// refused logs what is wrong with what a plugin wants to send: it learns only the code.
func refused(log *report.Log, what string, err error) {
	if log.Allow() {
		log.To.Error("plugin wants to send what is not an HTTP "+what, "error", err)
	}
}

// oneEvent copies a batch of one event. Of no bytes it makes an event without anything.
func oneEvent(view []byte) (e event.Event, err error) {
	if len(view) == 0 {
		return e, nil
	}
	b, err := event.Copy(event.Heap{}, view, event.MaxBatch)
	if err != nil {
		return e, err
	}
	if b.Len() != 1 {
		return e, fmt.Errorf("a batch of %d events, wanted one", b.Len())
	}
	for _, e = range b.All() {
	}
	return e, nil
}

// hostHeaders are those that follow from what the host does: with another value they would tell lies about it, or lead elsewhere.
var hostHeaders = map[string]bool{
	"Connection": true, "Content-Length": true, "Expect": true, "Host": true, "Keep-Alive": true, "Proxy-Authorization": true,
	"Proxy-Connection": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

// headersOf makes headers of a plugin's attributes, and refuses those that are the host's. Names with a colon before them are not looked at.
func headersOf(attributes []event.Attribute) (http.Header, error) {
	h := make(http.Header, len(attributes))
	for _, a := range attributes {
		if strings.HasPrefix(a.Key, ":") {
			continue
		}
		if name := http.CanonicalHeaderKey(a.Key); hostHeaders[name] {
			return nil, fmt.Errorf("header %q is set by the host", a.Key)
		}
		h.Add(a.Key, string(a.Value))
	}
	return h, nil
}

// headerAttributes are headers as attributes: names in lower case and in order, and each value one.
func headerAttributes(h http.Header) (list []event.Attribute) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, event.ReservedPrefix) {
			continue // no plugin may emit it, and nobody could tell it from the host's
		}
		for _, value := range h[name] {
			list = append(list, event.Attribute{Key: lower, Value: []byte(value)})
		}
	}
	return list
}

var errLongResponse = errors.New("the response is too long")
