// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const index = `penstock

/metrics         figures, for Prometheus
/livez           does the agent make progress
/readyz          does it do all of its work, and if not, why
/api/v1/status   the state of everything
/debug/pprof/    profiles
`

// handler serves the control socket, or TCP, where a browser may be the one that asks.
func (s *Server) handler(control bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Metrics, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /livez", s.livez)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { writeText(w, index) })
	if control {
		s.channels(mux)
		s.components(mux)
		s.logs(mux)
		return mux
	}
	guarded := s.guard(mux)
	if s.opts.Beyond {
		return guarded
	}
	return localOnly(guarded)
}

// guard asks for the token, if there is one. Without it, probes learn yes or no, and nothing else is told.
func (s *Server) guard(next http.Handler) http.Handler {
	if s.opts.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte("Bearer " + s.opts.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("Authorization"))) // of one length, so that comparing tells nothing
		switch {
		case subtle.ConstantTimeCompare(got[:], want[:]) == 1:
			next.ServeHTTP(w, r)
		case r.URL.Path == "/livez" || r.URL.Path == "/readyz":
			next.ServeHTTP(silent{w}, r)
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "show the token of the agent: Authorization: Bearer TOKEN", http.StatusUnauthorized)
		}
	})
}

// silent is an answer of which the status alone is told.
type silent struct{ http.ResponseWriter }

// Write implements [http.ResponseWriter].
func (silent) Write(b []byte) (int, error) { return len(b), nil }

// localOnly refuses what did not come from this machine, or was not meant for it: a web page that a
// browser on this machine shows can make a name of its own resolve to 127.0.0.1, and read what it is answered.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() || !isLocalName(r.Host) {
			http.Error(w, "only for this machine: ask for 127.0.0.1 or localhost", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// health is what /livez and /readyz answer.
type health struct {
	OK      bool     `json:"ok"`
	Reasons []string `json:"reasons"`
}

func (s *Server) livez(w http.ResponseWriter, _ *http.Request) {
	if err := s.opts.Agent.Live(); err != nil {
		writeHealth(w, []string{err.Error()})
		return
	}
	writeHealth(w, nil)
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	writeHealth(w, s.opts.Agent.Ready())
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, s.opts.Agent.Status())
}

func writeHealth(w http.ResponseWriter, reasons []string) {
	if len(reasons) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, health{OK: false, Reasons: reasons})
		return
	}
	writeJSON(w, http.StatusOK, health{OK: true, Reasons: []string{}})
}

// writeJSON answers v. Errors are those of a peer that has gone, who would not hear of them.
func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text))
}
