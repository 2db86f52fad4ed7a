// SPDX-License-Identifier: Apache-2.0

package httpsink

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

const (
	// handle is the need in the manifest.
	handle = "url"
	// maxRequests bounds what one delivery may send while it looks for the events that a server will not take: enough to find
	// some in 4096. What it has not found then is rejected together with its neighbours.
	maxRequests = 64
	// maxAnswer is how many bytes of an answer are read, so that its connection can be used again, and maxShown how many are told.
	maxAnswer, maxShown = 64 << 10, 300
)

// sink sends each delivery as a request.
type sink struct {
	open     *sdk.Open
	client   *sdk.HTTPClient
	method   string
	headers  []event.Attribute
	timeout  time.Duration
	encode   encoder
	zip      *gzip.Writer // nil: no compression
	requests sdk.Counter
	rejected sdk.Counter

	// Of the delivery.
	events    []event.Event
	offsets   []event.Offset
	left      int // requests that it may still send
	delivered *sdk.Delivery

	// Reused.
	decoder      event.Decoder
	body, zipped bytes.Buffer
}

// New makes the sink.
func New() sdk.Sink { return new(sink) }

type config struct {
	Method        string            `json:"method"`
	Format        string            `json:"format"`
	Content       string            `json:"content"`
	Compression   string            `json:"compression"`
	Headers       map[string]string `json:"headers"`
	Authorization string            `json:"authorization"`
	Timeout       time.Duration     `json:"timeout"`
}

// Check implements [sdk.Checker].
func (s *sink) Check(o *sdk.Open) error { return s.configure(o) }

// Open implements [sdk.Sink].
func (s *sink) Open(o *sdk.Open) error {
	s.client, s.open = o.HTTPClient(handle), o
	s.requests, s.rejected = o.Counter("http_requests"), o.Counter("http_rejected_events")
	return s.configure(o)
}

func (s *sink) configure(o *sdk.Open) error {
	cfg := config{Method: "POST", Timeout: 30 * time.Second}
	if err := o.Config(&cfg); err != nil {
		return err
	}
	s.method, s.timeout = cfg.Method, cfg.Timeout
	var err error
	if s.encode, err = newEncoder(cfg.Format, cfg.Content); err != nil {
		return err
	}
	s.headers = []event.Attribute{{Key: "content-type", Value: []byte(s.encode.contentType)}}
	switch cfg.Compression {
	case "", "none":
	case "gzip":
		s.zip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // half of the processor time of the default, for a tenth more bytes
		s.headers = append(s.headers, event.Attribute{Key: "content-encoding", Value: []byte("gzip")})
	default:
		return sdk.ConfigError("compression", "is %q, wanted none or gzip", cfg.Compression)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Headers)) {
		if err := s.addHeader("headers", name, cfg.Headers[name]); err != nil {
			return err
		}
	}
	if cfg.Authorization == "" {
		return nil
	}
	return s.addHeader("authorization", "authorization", cfg.Authorization)
}

// ours are headers that follow from other arguments, or are the host's.
var ours = []string{"connection", "content-encoding", "content-length", "host", "idempotency-key", "transfer-encoding", "expect", "te", "trailer", "upgrade", "keep-alive"}

func (s *sink) addHeader(argument, name, value string) error {
	lower := strings.ToLower(name)
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }
	switch {
	case slices.Contains(ours, lower):
		return sdk.ConfigError(argument, "has %q, which is not set here", name)
	case name == "" || strings.ContainsFunc(name, bad):
		return sdk.ConfigError(argument, "has %q, which is not the name of a header", name)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return sdk.ConfigError(argument, "has a value of %q with a character that no header may have, such as a newline", name)
	}
	s.headers = slices.DeleteFunc(s.headers, func(a event.Attribute) bool { return a.Key == lower }) // content-type
	s.headers = append(s.headers, event.Attribute{Key: lower, Value: []byte(value)})
	return nil
}

// Write implements [sdk.Sink].
func (s *sink) Write(_ event.Range, b event.Batch, d *sdk.Delivery) error {
	s.events, s.offsets, s.left, s.delivered = s.events[:0], s.offsets[:0], maxRequests, d
	for s.decoder.Reset(b); s.decoder.Next(); {
		e := *s.decoder.Event()
		e.Attributes = slices.Clone(e.Attributes) // the decoder uses its own again
		s.events, s.offsets = append(s.events, e), append(s.offsets, s.decoder.Offset())
	}
	if len(s.events) == 0 {
		return nil
	}
	return s.send(0, len(s.events))
}

// send sends events [from, to), in halves where the server does not take them together, and rejects those that it will never take.
func (s *sink) send(from, to int) error {
	resp, err := s.post(from, to)
	if err != nil {
		return err
	}
	kind := fate(resp.Status)
	if kind == unwanted && to-from > 1 && s.left > 0 {
		middle := (from + to) / 2
		if err := s.send(from, middle); err != nil {
			return err
		}
		return s.send(middle, to)
	}
	told := s.told(resp)
	switch kind {
	case taken:
		return nil
	case later:
		return sdk.Retry(told, retryAfter(resp.Header("retry-after"), s.delivered.Now()))
	case wrong:
		return &sdk.Error{Code: abi.EINVAL, Err: told}
	}
	s.rejected.Add(float64(to - from))
	for i := from; i < to; i++ {
		if err := s.delivered.Reject(i, told); err != nil {
			return err
		}
	}
	return nil
}

// post sends events [from, to) as one request.
func (s *sink) post(from, to int) (*sdk.HTTPResponse, error) {
	s.left--
	s.body.Reset()
	if err := s.encode.batch(&s.body, s.events[from:to]); err != nil {
		return nil, err
	}
	body := s.body.Bytes()
	if s.zip != nil {
		s.zipped.Reset()
		s.zip.Reset(&s.zipped)
		_, err := s.zip.Write(body)
		if err := errors.Join(err, s.zip.Close()); err != nil {
			return nil, fmt.Errorf("compress: %w", err)
		}
		body = s.zipped.Bytes()
	}
	s.requests.Add(1)
	key := event.Attribute{Key: "idempotency-key", Value: []byte(s.key(from, to))}
	return s.client.Do(sdk.HTTPRequest{
		Method: s.method, Headers: append(slices.Clip(s.headers), key), Body: body, Timeout: s.timeout, MaxBody: maxAnswer,
	})
}

// key names the events of a request, the same each time and unlike any other's.
func (s *sink) key(from, to int) string {
	first, last := s.offsets[from], s.offsets[to-1]
	inc, _ := s.open.Incarnation(first)
	return fmt.Sprintf("%s/%x/%d-%d", s.open.Stream, inc.ID, first, last)
}

// told is what the server said, in one line.
func (s *sink) told(resp *sdk.HTTPResponse) error {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(resp.Body[:min(len(resp.Body), maxShown)]), "\uFFFD")), " ")
	where := ""
	if to := resp.Header("location"); to != "" && resp.Status < 400 {
		where = fmt.Sprintf(", and sends to %q, where a sink does not follow: write the right url", to)
	}
	if text != "" {
		text = ": " + text
	}
	return fmt.Errorf("the server answers %d%s%s", resp.Status, where, text)
}

// What a status says of the events.
const (
	taken    = iota
	later    // they may be taken when they come again
	unwanted // they, or some of them, will never be taken
	wrong    // it is not about them: as the sink is configured nothing is taken
)

func fate(status int) int {
	switch status {
	case 408, 425, 429:
		return later
	case 401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426, 431, 451, 501, 505:
		return wrong
	}
	switch {
	case status >= 500:
		return later
	case status >= 400:
		return unwanted
	case status >= 300:
		return wrong
	}
	return taken
}

// maxRetryAfter bounds what a server may bid us wait: the host waits no longer either, and more milliseconds than have room in its call would be none.
const maxRetryAfter = time.Hour

// retryAfter reads the header of that name: seconds, or a date. 0: nothing, or nothing that can be read.
func retryAfter(text string, now time.Time) time.Duration {
	const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(n, 0), int(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := time.Parse(httpDate, text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
