// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/penstock-io/penstock/host/dead"
	"github.com/penstock-io/penstock/spec/event"
)

// Control is the side of an agent that someone acts on, through the control socket.
type Control interface {
	// Act does what is asked, and logs who asked. It may wait until a component has stopped, as long as ctx lives; what has
	// begun to change is finished all the same. The error is a [*Refusal], where what was asked is at fault.
	Act(ctx context.Context, a Action) (Outcome, error)
	// Reload has the agent go over to what its pipeline files say, or says what that would take. The same holds for its error.
	Reload(ctx context.Context, r Reload) (Reloaded, error)
}

// Verb is what an [Action] does.
type Verb string

// The verbs. All are for one channel.
const (
	Forget Verb = "forget" // drop a reader that no sink uses
	Purge  Verb = "purge"  // give up all that waits for a reader, or for all of them
	Replay Verb = "replay" // set a reader to another offset, as a new stream
	Drain  Verb = "drain"  // pause the sources
	Resume Verb = "resume" // let them go on
	Look   Verb = "look"   // nothing, but that somebody reads events past the agent

	DeadReplay Verb = "dead-replay" // deliver dead letters again
	DeadDrop   Verb = "dead-drop"   // give dead letters up
)

var verbs = []Verb{Forget, Purge, Replay, Drain, Resume, Look, DeadReplay, DeadDrop}

// Action is one thing to do to a channel.
type Action struct {
	Verb    Verb       `json:"-"`
	Channel string     `json:"-"`                // its address, "channel.main"
	By      Peer       `json:"-"`                // as the kernel says
	Reader  string     `json:"reader,omitempty"` // of a purge, "" = all of the channel
	From    *Place     `json:"from,omitempty"`   // of a replay
	DryRun  bool       `json:"dry_run,omitempty"`
	With    string     `json:"with,omitempty"` // of a look, the command
	Dead    dead.Order `json:"dead,omitzero"`  // of what is done to dead letters
}

// Place is where a replay starts: at an offset, or with the first event that was committed at a time or later. Neither is the oldest there is.
type Place struct {
	Offset *event.Offset `json:"offset,omitempty"`
	Since  time.Time     `json:"since,omitzero"`
	Stay   bool          `json:"stay,omitempty"` // where the reader stands: nothing comes again, but as a new stream
}

// Outcome is what an [Action] did; with DryRun, what it would do now.
type Outcome struct {
	Readers []Moved       `json:"readers"`
	Sources []string      `json:"sources"`        // that are paused, or go on
	Dead    *dead.Outcome `json:"dead,omitempty"` // of what is done to dead letters
}

// Moved is what became of one reader.
type Moved struct {
	Name    string       `json:"reader"`
	Waiting uint64       `json:"waiting"` // before
	From    event.Offset `json:"from"`    // where it begins then
	Again   uint64       `json:"again"`   // events that it had committed, and gets again
	GivenUp uint64       `json:"given_up"`
	Effects string       `json:"effects,omitempty"` // what its sink says of repeated events: "transactional", "idempotent", "none"
}

// Refusal is an error that whoever asked can do something about.
type Refusal struct {
	Code    string `json:"code"` // as below; "failed" where it is no refusal
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Of mistakes in pipeline files: all of them, for people, and as JSON.
	Text   string          `json:"text,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

// The codes of a [Refusal].
const (
	CodeAbsent  = "absent"  // the agent has no such channel; its directory may be there
	CodeUsage   = "usage"   // there is no such reader or offset
	CodeRefused = "refused" // not as things stand
)

// Error says why.
func (r *Refusal) Error() string { return r.Message }

// Peer is who is at the other end of the control socket. -1 is not known.
type Peer struct{ UID, PID int }

type peerKey struct{}

// withPeer notes who has made a connection, for the requests that come by it.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	p, err := peerOf(conn)
	if err != nil {
		p = Peer{-1, -1}
	}
	return context.WithValue(ctx, peerKey{}, p)
}

const (
	// actTimeout is longer than any drain_timeout that makes sense: so long a component may take to stop.
	actTimeout = 10 * time.Minute
	// maxAction bounds the request of an action: names, and as many offsets as a filter may have.
	maxAction = 64 << 10
)

// channels serves what the agent's channels hold, and what may be done to them.
func (s *Server) channels(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/channels", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.opts.Agent.Status().Channels)
	})
	mux.HandleFunc("GET /api/v1/channels/{channel}", func(w http.ResponseWriter, r *http.Request) {
		for _, c := range s.opts.Agent.Status().Channels {
			if c.Address == r.PathValue("channel") {
				writeJSON(w, http.StatusOK, c)
				return
			}
		}
		writeRefusal(w, &Refusal{Code: CodeAbsent, Message: "there is no channel " + r.PathValue("channel")})
	})
	mux.HandleFunc("POST /api/v1/channels/{channel}/{verb}", s.act)
	mux.HandleFunc("POST /api/v1/reload", s.reload)
}

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a component may take its time; a writer without deadlines has none to set
	a := Action{}
	err := json.NewDecoder(io.LimitReader(r.Body, maxAction)).Decode(&a)
	a.Verb, a.Channel = Verb(r.PathValue("verb")), r.PathValue("channel")
	a.By, _ = r.Context().Value(peerKey{}).(Peer)
	if err != nil || !slices.Contains(verbs, a.Verb) {
		writeRefusal(w, &Refusal{Code: CodeUsage, Message: fmt.Sprintf("cannot %s: the request is not one of this version", a.Verb)})
		return
	}
	out, err := s.opts.Control.Act(r.Context(), a)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

func writeRefusal(w http.ResponseWriter, err error) {
	r, ok := errors.AsType[*Refusal](err)
	switch {
	case !ok:
		writeJSON(w, http.StatusInternalServerError, &Refusal{Code: "failed", Message: err.Error()})
	case r.Code == CodeUsage, r.Code == CodeAbsent:
		writeJSON(w, http.StatusNotFound, r)
	default:
		writeJSON(w, http.StatusConflict, r)
	}
}

// Act has the agent of that data directory do something. ErrNoAgent when there is none; a [*Refusal] when it would not, or could not.
func Act(ctx context.Context, dataDir string, a Action) (Outcome, error) {
	var out Outcome
	path, err := SocketPath(dataDir)
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	asked, err := json.Marshal(a)
	if err != nil {
		return out, err
	}
	code, body, err := exchange(ctx, path, http.MethodPost, fmt.Sprintf("/api/v1/channels/%s/%s", a.Channel, a.Verb), asked)
	if err == nil && code != http.StatusOK {
		return out, refusalIn(code, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		return out, fmt.Errorf("have the agent of %s %s %s: %w", dataDir, a.Verb, cmp.Or(a.Reader, a.Channel), err)
	}
	return out, nil
}
