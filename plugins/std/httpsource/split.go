// SPDX-License-Identifier: Apache-2.0

package httpsource

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/penstock-io/penstock/sdk"
)

// Statuses: net/http would bring a megabyte.
const (
	http400 = 400 // malformed
	http404 = 404
	http405 = 405
	http413 = 413 // too large
	http415 = 415 // compressed in a way that is not known
)

// splitter hands each event of a body to add. Its errors are those of add, or a *refusal.
type splitter func(body []byte, add func(event []byte) error) error

var splitters = map[string]splitter{
	"raw":    func(body []byte, add func([]byte) error) error { return add(body) },
	"lines":  lines,
	"ndjson": documents,
	"json":   elements,
}

// lines splits at newlines; empty lines are none.
func lines(body []byte, add func([]byte) error) error {
	for line := range bytes.Lines(body) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			continue
		}
		if err := add(line); err != nil {
			return err
		}
	}
	return nil
}

// documents is lines, each of which is JSON.
func documents(body []byte, add func([]byte) error) error {
	n := 0
	return lines(body, func(line []byte) error {
		n++
		if !json.Valid(line) {
			return &refusal{http400, fmt.Sprintf("line %d, not counting empty ones, is not JSON", n)}
		}
		return add(line)
	})
}

// elements takes an array apart, or takes any other value whole. Each event is one line.
func elements(body []byte, add func([]byte) error) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); !json.Valid(body) {
		return &refusal{http400, notJSON(body)}
	} else if trimmed[0] != '[' {
		return one(trimmed, add)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		return &refusal{http400, err.Error()}
	}
	for d.More() {
		var element json.RawMessage
		if err := d.Decode(&element); err != nil {
			return &refusal{http400, err.Error()}
		}
		if err := one(element, add); err != nil {
			return err
		}
	}
	return nil
}

func one(value []byte, add func([]byte) error) error {
	var line bytes.Buffer
	if err := json.Compact(&line, value); err != nil {
		return &refusal{http400, err.Error()}
	}
	return add(line.Bytes())
}

// notJSON says where it ends to be JSON.
func notJSON(body []byte) string {
	err := json.Unmarshal(body, new(json.RawMessage))
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("the body is not JSON: %s, at byte %d", e.Error(), e.Offset)
	}
	return "the body is not JSON"
}

// unzipper undoes the compression of bodies. It keeps its memory.
type unzipper struct {
	reader gzip.Reader
	plain  bytes.Buffer
}

// body is the request's body, of at most so many bytes, not compressed. It is valid until the next one. Errors are *refusal.
func (u *unzipper) body(r *sdk.Request, most int) ([]byte, error) {
	switch coding := strings.ToLower(r.Header("content-encoding")); coding {
	case "", "identity":
		return r.Body, nil
	case "gzip":
	default:
		return nil, &refusal{http415, fmt.Sprintf("content-encoding %q is not known; send gzip, or none", coding)}
	}
	err := u.reader.Reset(bytes.NewReader(r.Body))
	u.plain.Reset()
	if err == nil {
		_, err = io.Copy(&u.plain, io.LimitReader(&u.reader, int64(most)+1))
	}
	switch {
	case err != nil:
		return nil, &refusal{http400, "the body is not gzip: " + err.Error()}
	case u.plain.Len() > most:
		return nil, &refusal{http413, fmt.Sprintf("the body has more than %d bytes when it is not compressed", most)}
	}
	return u.plain.Bytes(), nil
}
