// SPDX-License-Identifier: Apache-2.0

package admin

import (
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
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := transport.RoundTrip(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNoAgent
	}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return body, nil
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
