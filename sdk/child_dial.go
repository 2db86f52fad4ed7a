// SPDX-License-Identifier: Apache-2.0

//go:build !wasip1

package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/pluginpb"
)

// DialContext makes a function like [net.Dialer.DialContext] for a client library that wants one: it connects to the address that was granted under
// the handle, whatever address it is called with, so that the plugin needs no network of its own. Unlike [Network] it may be used at any time, by
// any goroutine. What it answers is a stream of bytes between this process and the agent, which keeps the other end and does its TLS.
//
// There is none of it in WebAssembly. Where no agent has offered it, as in a test or to a plugin that was granted the network as a whole, it connects to the
// address that it is called with.
func (o *Open) DialContext(handle string) func(ctx context.Context, network, address string) (net.Conn, error) {
	path := os.Getenv(pluginpb.DialKey)
	if path == "" {
		return new(net.Dialer).DialContext
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("ask the agent for %s: %w", handle, err)
		}
		if err := askFor(ctx, conn, handle); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	}
}

// askFor has the agent connect conn to what the handle stands for.
func askFor(ctx context.Context, conn net.Conn, handle string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	answer := []byte{0}
	_, err := io.WriteString(conn, handle+"\n")
	if err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	switch {
	case !stop(): // it is over, or about to be
		return fmt.Errorf("dial %s: %w", handle, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("ask the agent for %s: %w", handle, err)
	case answer[0] == pluginpb.DialConnected:
		return nil
	}
	why, err := io.ReadAll(io.LimitReader(conn, 2*abi.MaxText))
	if err != nil {
		return fmt.Errorf("ask the agent for %s: %w", handle, err)
	}
	number, text, _ := strings.Cut(string(answer)+string(why), " ")
	code, err := strconv.Atoi(number)
	if err != nil || code >= 0 {
		code = int(abi.EIO)
	}
	return &Error{Code: abi.Code(code), Err: fmt.Errorf("dial %s: %s", handle, text)}
}
