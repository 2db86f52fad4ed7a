// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	maxMessage = 16 << 20 // several times a whole file of config.MaxFileBytes, escaped as JSON
	maxHeader  = 4 << 10  // of one message; editors send a line or two
)

// Codes of JSON-RPC 2.0 and of the protocol.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeNoMethod       = -32601
	codeParams         = -32602
	codeNotInitialized = -32002
)

// message is a request, a notification or an answer. A notification has no ID.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
}

// failure is the error of an answer.
type failure struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// readMessage reads the body of one message; it blocks. io.EOF: there is none after the last one. After another error nothing further can be read,
// since it is not known where the next message begins.
func readMessage(r *bufio.Reader) ([]byte, error) {
	length, header := -1, 0
	for {
		line, err := r.ReadSlice('\n') // at most as long as the reader's buffer
		if errors.Is(err, io.EOF) && len(line) == 0 && header == 0 {
			return nil, io.EOF
		}
		if err != nil {
			return nil, fmt.Errorf("read the header of a message: %w", err)
		}
		if header += len(line); header > maxHeader {
			return nil, fmt.Errorf("the header of a message is longer than %d bytes", maxHeader)
		}
		text := strings.TrimSpace(string(line))
		if text == "" {
			break
		}
		name, value, _ := strings.Cut(text, ":")
		if !strings.EqualFold(name, "Content-Length") {
			continue
		}
		if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || length < 0 || length > maxMessage {
			return nil, fmt.Errorf("the header %q: a message has 0 … %d bytes", text, maxMessage)
		}
	}
	if length < 0 {
		return nil, errors.New("a message has no Content-Length: what is sent is not the Language Server Protocol")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	return body, nil
}

// writeMessage writes one message.
func writeMessage(w io.Writer, m any) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if _, err := fmt.Fprintf(w, "Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return fmt.Errorf("write a message: %w", err)
	}
	return nil
}
