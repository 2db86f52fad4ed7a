// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// maxLogWait is how long a question for lines may wait, well below writeTimeout.
	maxLogWait = 30 * time.Second
	// MaxRaise is how long more may be logged: what was meant for a night must not fill a disk.
	MaxRaise = 24 * time.Hour
	// maxRaise bounds the request.
	maxRaise = 4 << 10
)

// LogLevel is what someone asks of the log.
type LogLevel struct {
	Component string     `json:"component,omitempty"` // "" = all of the agent
	Level     slog.Level `json:"level"`
	Seconds   float64    `json:"seconds"`
}

// logs serves the log, where the agent keeps one.
func (s *Server) logs(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/logs", func(w http.ResponseWriter, r *http.Request) {
		q, err := queryOf(r.URL.Query())
		switch {
		case s.opts.Logs == nil:
			writeRefusal(w, &Refusal{Code: CodeRefused, Message: "this agent keeps no log"})
		case err != nil:
			writeRefusal(w, &Refusal{Code: CodeUsage, Message: err.Error()})
		default:
			writeJSON(w, http.StatusOK, s.opts.Logs.Lines(r.Context(), q))
		}
	})
	mux.HandleFunc("POST /api/v1/logs/level", s.raise)
}

func (s *Server) raise(w http.ResponseWriter, r *http.Request) {
	l := LogLevel{}
	err := json.NewDecoder(io.LimitReader(r.Body, maxRaise)).Decode(&l)
	d := time.Duration(l.Seconds * float64(time.Second))
	by, _ := r.Context().Value(peerKey{}).(Peer)
	switch {
	case s.opts.Logs == nil:
		writeRefusal(w, &Refusal{Code: CodeRefused, Message: "this agent keeps no log"})
	case err != nil || d <= 0 || d > MaxRaise:
		writeRefusal(w, &Refusal{Code: CodeUsage, Message: fmt.Sprintf("a level is set for at most %v", MaxRaise)})
	case !s.opts.Logs.Raise(l.Component, l.Level, d):
		writeRefusal(w, &Refusal{Code: CodeRefused, Message: fmt.Sprintf("%d levels are set for a time already", maxRaised)})
	default:
		s.opts.Log.Info("asked through the control socket", "do", "log more", "of", l.Component, "from", l.Level, "for", d, "uid", by.UID, "pid", by.PID)
		writeJSON(w, http.StatusOK, l)
	}
}

func queryOf(v url.Values) (q LogQuery, err error) {
	q.Component = v.Get("component")
	if err := q.Level.UnmarshalText([]byte(v.Get("level"))); err != nil {
		return q, err
	}
	wait := 0.0
	for _, n := range []struct {
		name string
		to   any
	}{{"after", &q.After}, {"last", &q.Last}, {"wait", &wait}} {
		switch to := n.to.(type) {
		case *uint64:
			*to, err = strconv.ParseUint(v.Get(n.name), 10, 64)
		case *int:
			*to, err = strconv.Atoi(v.Get(n.name))
		case *float64:
			*to, err = strconv.ParseFloat(v.Get(n.name), 64)
		}
		if err != nil {
			return q, fmt.Errorf("%s: %w", n.name, err)
		}
	}
	q.Wait = min(max(0, time.Duration(wait*float64(time.Second))), maxLogWait)
	return q, nil
}

func (q LogQuery) values() string {
	return url.Values{
		"component": {q.Component}, "level": {q.Level.String()}, "after": {fmt.Sprint(q.After)}, "last": {fmt.Sprint(q.Last)},
		"wait": {fmt.Sprint(min(q.Wait, maxLogWait).Seconds())},
	}.Encode()
}

// AskLog asks the agent of that data directory for lines of its log. ErrNoAgent when there is none; a [*Refusal] when it keeps none.
func AskLog(ctx context.Context, dataDir string, q LogQuery) (LogLines, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout+q.Wait)
	defer cancel()
	var out LogLines
	err := demand(ctx, dataDir, http.MethodGet, "/api/v1/logs?"+q.values(), nil, &out)
	if err != nil {
		return out, fmt.Errorf("ask the agent of %s for its log: %w", dataDir, err)
	}
	for i := range out.Lines { // a line each, as it was logged: answers are laid out
		var line bytes.Buffer
		if err := json.Compact(&line, out.Lines[i].Record); err != nil {
			return out, fmt.Errorf("read the agent's log: %w", err)
		}
		out.Lines[i].Record = line.Bytes()
	}
	return out, nil
}

// RaiseLog has that agent log more for a time.
func RaiseLog(ctx context.Context, dataDir string, l LogLevel) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := demand(ctx, dataDir, http.MethodPost, "/api/v1/logs/level", l, &LogLevel{}); err != nil {
		return fmt.Errorf("have the agent of %s log more: %w", dataDir, err)
	}
	return nil
}
