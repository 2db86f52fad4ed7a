// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Reload asks an agent to read its pipeline files again and go over to what they say.
type Reload struct {
	Path   string `json:"path,omitempty"`    // of the files; "" = those that the agent was started with
	Hash   string `json:"plan,omitempty"`    // only if that is the plan; "" = whatever it is
	Plugin string `json:"plugin,omitempty"`  // only if nothing but the code of that plugin is another; its program is looked at too
	DryRun bool   `json:"dry_run,omitempty"` // say what would be done
	// Variables are what the pipeline files are given beside what the agent was given before. After a reload with them they hold until it ends.
	Variables Variables `json:"variables,omitzero"`

	Watch bool   `json:"-"` // nobody has asked but the files: what somebody has to decide is not done
	Why   string `json:"-"` // for the log
	By    Peer   `json:"-"` // as the kernel says
}

// Variables are values of the variables of pipeline files, as on the command line of `penstock run`.
type Variables struct {
	Files []string `json:"files,omitempty"` // absolute paths
	Set   []string `json:"set,omitempty"`   // "NAME=VALUE"
}

// And returns v with more, which goes before it. What a name or a file had before is not kept twice.
func (v Variables) And(more Variables) Variables {
	name := func(set string) string {
		name, _, _ := strings.Cut(set, "=")
		return strings.TrimSpace(name)
	}
	merge := func(a, b []string, key func(string) string) []string {
		a = slices.DeleteFunc(slices.Clone(a), func(old string) bool {
			return slices.ContainsFunc(b, func(s string) bool { return key(s) == key(old) })
		})
		return append(a, b...)
	}
	return Variables{Set: merge(v.Set, more.Set, name), Files: merge(v.Files, more.Files, func(s string) string { return s })}
}

// Reloaded is what a reload did, or would do.
type Reloaded struct {
	Plan     json.RawMessage `json:"plan"`     // as of package plan
	Result   string          `json:"result"`   // one of those below; "" = it was only planned
	Revision string          `json:"revision"` // of the files
}

// The results of reloads, which are also the values of the label "result".
const (
	ReloadApplied  = "applied"  // what the files say runs
	ReloadRefused  = "refused"  // nothing was touched
	ReloadReturned = "returned" // what was new has failed, and what ran before runs again
	ReloadStuck    = "stuck"    // what was new has failed, and there is no way back: it is held
)

var reloadResults = [...]string{ReloadApplied, ReloadRefused, ReloadReturned, ReloadStuck}

// More codes of a [Refusal].
const (
	CodeMistakes = "configuration" // there are mistakes in the files: see Text and Result
	CodeAsks     = "asks"          // somebody has to decide
	CodeReturned = "returned"
)

// Reloads are what became of reloads, in a [Status].
type Reloads struct {
	Last *LastReload `json:"last,omitempty"` // nil: there was none
}

// LastReload is the last one.
type LastReload struct {
	At       time.Time `json:"at"`
	Result   string    `json:"result"`
	Reason   string    `json:"reason,omitempty"` // why it is no other
	Because  string    `json:"because"`          // what asked for it: "SIGHUP", "command", "files"
	Revision string    `json:"revision"`         // that ran afterwards
}

// Reloaded counts a reload. One that is not of the files, such as of a plugin that there is not, leaves it as it is whether what they say runs.
func (m *Metrics) Reloaded(result string, ofFiles bool) {
	m.reloads.WithLabelValues(result).Inc()
	if !ofFiles {
		return
	}
	success := 0.0
	if result == ReloadApplied {
		success = 1
	}
	m.reloadSuccess.Set(success)
}

// reload serves POST /api/v1/reload.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // as of an action
	ask := Reload{}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxAction)).Decode(&ask); err != nil && !errors.Is(err, io.EOF) { // no body is no wish
		writeRefusal(w, &Refusal{Code: CodeUsage, Message: "cannot reload: the request is not one of this version"})
		return
	}
	ask.Why = "command"
	ask.By, _ = r.Context().Value(peerKey{}).(Peer)
	out, err := s.opts.Control.Reload(r.Context(), ask)
	if err != nil {
		writeRefusal(w, refusalOf(err, out))
		return
	}
	writeJSON(w, http.StatusOK, out)
}

// refusalOf makes of an agent that went back something that is passed on as it is.
func refusalOf(err error, out Reloaded) error {
	_, refused := errors.AsType[*Refusal](err)
	if !refused && (out.Result == ReloadReturned || out.Result == ReloadStuck) {
		return &Refusal{Code: CodeReturned, Message: err.Error(), Hint: "See what failed: penstock status, and the log of the agent"}
	}
	return err
}

// AskReload has the agent of that data directory reload. ErrNoAgent when there is none; a [*Refusal] when it would not, or went back.
func AskReload(ctx context.Context, dataDir string, ask Reload) (Reloaded, error) {
	var out Reloaded
	path, err := SocketPath(dataDir)
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	asked, err := json.Marshal(ask)
	if err != nil {
		return out, err
	}
	code, body, err := exchange(ctx, path, http.MethodPost, "/api/v1/reload", asked)
	if err == nil && code != http.StatusOK {
		return out, refusalIn(code, body)
	}
	if err == nil {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		return out, fmt.Errorf("have the agent of %s reload: %w", dataDir, err)
	}
	return out, nil
}

// refusalIn reads a refusal out of an answer.
func refusalIn(code int, body []byte) *Refusal {
	r := &Refusal{}
	if json.Unmarshal(body, r) != nil || r.Message == "" {
		return &Refusal{Code: "failed", Message: fmt.Sprintf("it answered %d: is it of another version?", code)}
	}
	return r
}
