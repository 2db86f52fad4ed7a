// SPDX-License-Identifier: Apache-2.0

// Command webhook is a source that takes webhooks whose sender signs them, as GitHub does and many after it: the header X-Hub-Signature-256
// holds the HMAC of the body, with a secret that both sides know. What is not signed so is answered with 401, and nothing of it is kept.
//
// The sender is answered with 200 when its event is on disk, and not before: whatever answer it gets instead, it sends again.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/event"
)

func main() {
	sdk.Main(map[string]sdk.Plugin{
		"webhook": {Source: func() sdk.Source { return &source{} }},
	})
}

// most is how many requests one Poll takes: each is a batch of its own, of which the host holds 64.
const most = 64

// Headers of a request, and the attributes that their values become.
const (
	signature              = "x-hub-signature-256"
	kindHeader, kind       = "x-github-event", "webhook.event"
	deliveryHeader, number = "x-github-delivery", "webhook.delivery" // the same when the sender tries again
)

type source struct {
	path    string
	secret  []byte
	refused sdk.Counter
}

// Open reads the config. The secret comes with it; no pipeline file shows it.
func (s *source) Open(o *sdk.Open) error {
	var config struct {
		Path   string `json:"path"`
		Secret string `json:"secret"`
	}
	if err := o.Config(&config); err != nil {
		return err
	}
	if len(config.Secret) < 16 {
		return sdk.ConfigError("secret", "has %d bytes: whoever guesses it can send events; take 16 at least", len(config.Secret))
	}
	s.path, s.secret, s.refused = config.Path, []byte(config.Secret), o.Counter("webhook_refused")
	return nil
}

// Poll waits for the first request, and takes those that have come meanwhile.
func (s *source) Poll(p *sdk.Poll) error {
	wait := p.Timeout
	for range most {
		r, err := p.NextRequest(wait)
		if err != nil || r == nil {
			return err
		}
		if err := s.answer(p, r); err != nil {
			return err
		}
		wait = 0
	}
	return nil
}

func (s *source) answer(p *sdk.Poll, r *sdk.Request) error {
	if status := s.refuses(r); status != 0 {
		s.refused.Add(1)
		return p.Reply(r.ID, sdk.Answer{Status: status}, 0)
	}
	e := event.Event{Time: p.Now().UnixNano(), Body: r.Body}
	for header, attribute := range map[string]string{kindHeader: kind, deliveryHeader: number} {
		if value := r.Header(header); value != "" {
			e.Attributes = append(e.Attributes, event.Attribute{Key: attribute, Value: []byte(value)})
		}
	}
	err := p.Append(e)
	if errors.Is(err, sdk.ErrTooBig) || errors.Is(err, sdk.ErrFull) { // the batch was empty: it will never fit
		s.refused.Add(1)
		return p.Reply(r.ID, sdk.Answer{Status: 413}, 0)
	}
	if err != nil {
		return err
	}
	batch, err := p.Flush()
	if err != nil {
		return err
	}
	return p.Reply(r.ID, sdk.Answer{}, batch)
}

// refuses answers the status for a request that is not taken, or 0.
func (s *source) refuses(r *sdk.Request) int {
	path, _, _ := strings.Cut(r.Path, "?")
	switch {
	case path != s.path:
		return 404
	case r.Method != "POST":
		return 405
	case !s.signed(r):
		return 401
	}
	return 0
}

// signed compares in a time that says nothing of where the first difference is.
func (s *source) signed(r *sdk.Request) bool {
	given, err := hex.DecodeString(strings.TrimPrefix(r.Header(signature), "sha256="))
	sum := hmac.New(sha256.New, s.secret)
	sum.Write(r.Body)
	return err == nil && hmac.Equal(given, sum.Sum(nil))
}
