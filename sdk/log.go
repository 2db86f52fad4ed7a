// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"bytes"
	"context"
	"log/slog"

	"github.com/penstock-io/penstock/spec/abi"
)

// handler gives log records to the host as one line, "message key=value …". The host knows time
// and component better, so they are left out.
type handler struct {
	host *Host
	line *bytes.Buffer // shared by all that With made: calls into a plugin never overlap
	text slog.Handler  // writes the attributes onto line
}

func newLogger(host *Host) *slog.Logger {
	line := new(bytes.Buffer)
	text := slog.NewTextHandler(line, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: onlyOwn})
	return slog.New(&handler{host, line, text})
}

// onlyOwn drops what slog adds to the attributes of the caller.
func onlyOwn(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelDebug }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	h.line.Reset()
	h.line.WriteString(r.Message)
	h.line.WriteByte(' ')
	if err := h.text.Handle(ctx, r); err != nil {
		return err
	}
	line := bytes.TrimRight(h.line.Bytes(), " \n")
	h.host.Log(int(r.Level), line[:min(len(line), abi.MaxText)])
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.host, h.line, h.text.WithAttrs(attrs)}
}

func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.host, h.line, h.text.WithGroup(name)}
}
