// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// ErrNoAgent: nobody answers at the control socket.
var ErrNoAgent = errors.New("no agent is running")

// ErrDenied: the control socket, or the data directory in which it would be, is another user's.
var ErrDenied = errors.New("only the user whose data directory it is, and root, may ask")

// ErrSilent: the agent has its control socket, and does not answer there in time.
var ErrSilent = errors.New("it does not answer: it is starting, which may take a minute where plugins are compiled for the first time, or it hangs")

const (
	// askTimeout bounds one question to an agent, which answers from memory.
	askTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer: ten thousand components fit.
	maxAnswer = 16 << 20
)

// Ask asks the agent that runs on that data directory for its status, through its control socket.
// ErrNoAgent when there is none.
func Ask(ctx context.Context, dataDir string) (Status, error) {
	var status Status
	path, err := SocketPath(dataDir)
	if err != nil {
		return status, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := get(ctx, path, "/api/v1/status")
	if err != nil {
		return status, fmt.Errorf("ask the agent of %s: %w", dataDir, err)
	}
	if err := json.Unmarshal(body, &status); err != nil {
		return status, fmt.Errorf("read the agent's answer: %w; is it of another version?", err)
	}
	return status, nil
}

func get(ctx context.Context, socket, url string) ([]byte, error) {
	code, body, err := exchange(ctx, socket, http.MethodGet, url, nil)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("%s answered %d %s", url, code, http.StatusText(code))
	}
	return body, err
}

// exchange sends one request to the control socket and returns the status and the body of its answer.
func exchange(ctx context.Context, socket, method, url string, sent []byte) (int, []byte, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+url, bytes.NewReader(sent))
	if err != nil {
		return 0, nil, err
	}
	resp, err := transport.RoundTrip(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return 0, nil, ErrNoAgent
	}
	if errors.Is(err, fs.ErrPermission) {
		return 0, nil, ErrDenied
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return 0, nil, ErrSilent
	}
	if err != nil {
		return 0, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, body, nil
}

// AskMetrics asks the same agent for its metrics, in Prometheus' text form.
func AskMetrics(ctx context.Context, dataDir string) ([]byte, error) {
	path, err := SocketPath(dataDir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return get(ctx, path, "/metrics")
}
