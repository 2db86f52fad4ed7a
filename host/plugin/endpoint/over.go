// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"log/slog"
	"net"
	"sync"
	"time"
)

// The blocks within limits { } of a pipeline file that have the limits of this package, and their names there.
const (
	listenBlock = "listen"
	serveBlock  = "serve"

	limitConnections   = "connections"
	limitPerPeer       = "per_peer"
	limitIdle          = "idle_timeout"
	limitHandshake     = "handshake_timeout"
	limitPassed        = "passed" // not to be set
	limitRequests      = "requests"
	limitBody          = "body"
	limitHeld          = "held"
	limitHeader        = "header"
	limitHeaderTimeout = "header_timeout"
	limitBodyTimeout   = "body_timeout"
	limitQueueTimeout  = "queue_timeout"
	limitAnswerTimeout = "answer_timeout"
)

// sayOver is how often it is logged that one limit is reached: whoever goes over it does so all the time.
const sayOver = time.Minute

// overs counts what goes over limits, and logs it now and then.
type overs struct {
	block string       // that the limits are of
	told  func(string) // nil: nobody
	log   *slog.Logger

	mu   sync.Mutex
	said map[string]time.Time
	left map[string]int // untold since then
}

// name is how a pipeline file calls a limit of the block.
func (o *overs) name(limit string) string { return "limits." + o.block + "." + limit }

// count counts what is over the limit.
func (o *overs) count(limit string) {
	if o.told != nil {
		o.told(o.block + "." + limit)
	}
}

// tell counts it, and logs who did it.
func (o *overs) tell(limit string, peer net.Addr, attributes ...any) {
	o.count(limit)
	o.mu.Lock()
	defer o.mu.Unlock()
	if last, ok := o.said[limit]; ok && time.Since(last) < sayOver {
		o.left[limit]++
		return
	}
	if o.said == nil {
		o.said, o.left = map[string]time.Time{}, map[string]int{}
	}
	o.log.Warn("somebody is refused, at a limit", append([]any{"limit", o.name(limit), "peer", addrText(peer), "others_since", o.left[limit]}, attributes...)...)
	o.said[limit], o.left[limit] = time.Now(), 0
}

// addrText is where somebody is, "" if that is not known.
func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
