// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Components is the side of an agent on which someone acts on one source or sink, or asks for its plugin, through the control socket.
type Components interface {
	// Pause has a component stand still, or go on, and logs who asked. It waits until the component has stopped, as long as ctx lives. The error is a
	// [*Refusal], where what was asked is at fault.
	Pause(ctx context.Context, p Pause) (Standing, error)
	// Resolve ends the doubt over what a member of a sink group may hold, and logs who said so. The same holds for its error.
	Resolve(ctx context.Context, r Resolve) (Resolved, error)
	// Plugins lists the modules that are loaded, with what uses each.
	Plugins() []Plugin
}

// Pause is what someone asks of one source or sink. The agent remembers it until it is asked to resume, or ends.
type Pause struct {
	Component string `json:"-"`                // its address, "source.shop"
	By        Peer   `json:"-"`                // as the kernel says
	Resume    bool   `json:"resume,omitempty"` // let it go on
	Reset     bool   `json:"reset,omitempty"`  // of a source: neither, but forget where it stands, so that it begins anew
}

// Standing is how a component stands after a [Pause].
type Standing struct {
	Component string `json:"component"`
	State     State  `json:"state"`
	Reason    string `json:"reason,omitempty"`
	Changed   bool   `json:"changed"` // else it was so before
}

// maxPause bounds the request.
const maxPause = 4 << 10

// components serves what may be done to sources and sinks.
func (s *Server) components(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/v1/components/{component}/pause", s.pause)
	mux.HandleFunc("POST /api/v1/groups/{group}/resolve", s.resolve)
	mux.HandleFunc("GET /api/v1/plugins", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, s.opts.Components.Plugins())
	})
}

func (s *Server) pause(w http.ResponseWriter, r *http.Request) {
	p := Pause{}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxPause)).Decode(&p); err != nil {
		writeRefusal(w, &Refusal{Code: CodeUsage, Message: "cannot pause: the request is not one of this version"})
		return
	}
	noWriteDeadline(w) // a component may take its time
	p.Component = r.PathValue("component")
	p.By, _ = r.Context().Value(peerKey{}).(Peer)
	out, err := s.opts.Components.Pause(r.Context(), p)
	if err != nil {
		writeRefusal(w, err)
		return
	}
	writeJSON(w, http.StatusOK, out)
}

// SetPaused has the agent of that data directory pause a component, or let it go on. ErrNoAgent when there is none; a [*Refusal] when it would not.
func SetPaused(ctx context.Context, dataDir string, p Pause) (Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	var out Standing
	if err := demand(ctx, dataDir, http.MethodPost, "/api/v1/components/"+p.Component+"/pause", p, &out); err != nil {
		return out, fmt.Errorf("have the agent of %s pause %s: %w", dataDir, p.Component, err)
	}
	return out, nil
}
