// SPDX-License-Identifier: Apache-2.0

package httpsource

import (
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

// maxTaken is how many requests one Poll takes: each may emit a batch, of which the host holds 64.
const maxTaken = 64

// source answers requests.
type source struct {
	path    string
	split   splitter
	headers []string // in lower case: that become attributes
	keys    *keys

	attributes event.AttributeList
	unzip      unzipper
	requests   sdk.Counter
	malformed  sdk.Counter
	repeated   sdk.Counter
}

// New makes the source.
func New() sdk.Source { return new(source) }

type config struct {
	Path    string   `json:"path"`
	Format  string   `json:"format"`
	Headers []string `json:"headers"`
	Keys    int      `json:"idempotency_keys"`
}

// Check implements [sdk.Checker].
func (s *source) Check(o *sdk.Open) error { return s.configure(o) }

// Open implements [sdk.Source].
func (s *source) Open(o *sdk.Open) (err error) {
	if err := s.configure(o); err != nil {
		return err
	}
	s.requests, s.malformed, s.repeated = o.Counter("http_requests"), o.Counter("http_malformed"), o.Counter("http_repeated")
	return s.keys.resume(o.Cursor)
}

func (s *source) configure(o *sdk.Open) error {
	cfg := config{Format: "lines", Keys: defaultKeys}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	split, ok := splitters[cfg.Format]
	switch {
	case !ok:
		return sdk.ConfigError("format", "is %q, wanted raw, lines, ndjson or json", cfg.Format)
	case cfg.Path != "" && !strings.HasPrefix(cfg.Path, "/"):
		return sdk.ConfigError("path", "is %q, wanted one that begins with /", cfg.Path)
	case cfg.Keys < 0 || cfg.Keys > maxKeys:
		return sdk.ConfigError("idempotency_keys", "is %d, wanted 0 (none) to %d", cfg.Keys, maxKeys)
	}
	s.path, s.split, s.keys = cfg.Path, split, newKeys(cfg.Keys)
	for _, name := range cfg.Headers {
		name = strings.ToLower(name)
		if name == "" || strings.HasPrefix(name, event.ReservedPrefix) || strings.ContainsAny(name, " :\r\n") {
			return sdk.ConfigError("headers", "has %q, which cannot become an attribute", name)
		}
		s.headers = append(s.headers, name)
	}
	return nil
}

// Poll implements [sdk.Source]: it waits for the first request, and takes those that have come meanwhile.
func (s *source) Poll(p *sdk.Poll) error {
	wait := p.Timeout
	for n, emitted := 0, 0; n < maxTaken && (n == 0 || emitted+p.MaxBytes <= event.MaxBatch); n++ {
		r, err := p.NextRequest(wait)
		if err != nil || r == nil {
			return err
		}
		wait = 0
		s.requests.Add(1)
		size, err := s.answer(p, r)
		if err != nil {
			return err
		}
		emitted += size
	}
	return nil
}

// answer stores a request and answers it, and says how many bytes it has emitted.
func (s *source) answer(p *sdk.Poll, r *sdk.Request) (size int, err error) {
	if wrong := s.refuse(r); wrong.Status != 0 {
		return 0, s.reject(p, r, wrong)
	}
	key, keyed := s.keys.of(r.Header("idempotency-key"))
	if seq, seen := s.keys.seen(key); keyed && seen {
		s.repeated.Add(1)
		return 0, p.Reply(r.ID, sdk.Answer{}, seq) // after the commit, if that is still to come
	}
	if err := s.take(p, r); err != nil {
		p.Discard()
		wrong, ok := errors.AsType[*refusal](err)
		if !ok {
			return 0, err
		}
		return 0, s.reject(p, r, wrong.answer())
	}
	if p.Len() == 0 {
		return 0, p.Reply(r.ID, sdk.Answer{}, 0) // nothing to store
	}
	if keyed {
		if err := s.keys.remember(p, key); err != nil {
			return 0, err
		}
	}
	size = p.Size()
	seq, err := p.Flush()
	if err != nil {
		return 0, err
	}
	if keyed {
		s.keys.sent(key, seq)
	}
	return size, p.Reply(r.ID, sdk.Answer{}, seq)
}

// refuse looks at everything but the body. Status 0: nothing is wrong.
func (s *source) refuse(r *sdk.Request) sdk.Answer {
	path, _, _ := strings.Cut(r.Path, "?")
	switch {
	case s.path != "" && path != s.path:
		return text(http404, "nothing is taken at this path")
	case r.Method != "POST" && r.Method != "PUT":
		a := text(http405, "events come by POST")
		a.Headers = append(a.Headers, event.Attribute{Key: "allow", Value: []byte("POST, PUT")})
		return a
	}
	return sdk.Answer{}
}

func (s *source) reject(p *sdk.Poll, r *sdk.Request, a sdk.Answer) error {
	s.malformed.Add(1)
	return p.Reply(r.ID, a, 0)
}

// take appends the events of a request. An error is a *refusal where the request is at fault; then something may have been appended.
func (s *source) take(p *sdk.Poll, r *sdk.Request) error {
	body, err := s.unzip.body(r, p.MaxBytes)
	if err != nil {
		return err
	}
	s.attributes.Reset()
	for _, name := range s.headers {
		if value := r.Header(name); value != "" {
			if err := s.attributes.Add(name, []byte(value)); err != nil {
				return &refusal{http400, err.Error()}
			}
		}
	}
	now := p.Now().UnixNano()
	return s.split(body, func(event []byte) error { return s.append(p, now, event) })
}

func (s *source) append(p *sdk.Poll, now int64, body []byte) error {
	err := p.AppendList(now, &s.attributes, body)
	switch {
	case errors.Is(err, sdk.ErrFull) && p.Len() >= p.MaxEvents:
		return &refusal{http413, fmt.Sprintf("one request may have %d events; send fewer at a time", p.MaxEvents)}
	case errors.Is(err, sdk.ErrFull), errors.Is(err, sdk.ErrTooBig):
		return &refusal{http413, fmt.Sprintf("the events of one request may have %d bytes with what describes them; send fewer at a time", p.MaxBytes)}
	}
	return err
}

// refusal is what is wrong with a request.
type refusal struct {
	status int
	why    string
}

// Error says what is wrong.
func (r *refusal) Error() string { return r.why }

func (r *refusal) answer() sdk.Answer { return text(r.status, r.why) }

func text(status int, why string) sdk.Answer {
	return sdk.Answer{
		Status:  status,
		Headers: []event.Attribute{{Key: "content-type", Value: []byte("text/plain; charset=utf-8")}},
		Body:    []byte(why + "\n"),
	}
}
