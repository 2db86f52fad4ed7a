// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// noWriteDeadline lets an answer take as long as it takes.
func noWriteDeadline(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a writer without deadlines has none to set
}

// demand sends one request to the control socket and reads the answer. ErrNoAgent when nobody answers; a [*Refusal] when the agent would not.
func demand(ctx context.Context, dataDir, method, url string, asked, answer any) error {
	path, err := SocketPath(dataDir)
	if err != nil {
		return err
	}
	sent, err := json.Marshal(asked)
	if err != nil {
		return err
	}
	code, body, err := exchange(ctx, path, method, url, sent)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		r := &Refusal{}
		if json.Unmarshal(body, r) != nil || r.Message == "" {
			r = &Refusal{Code: "failed", Message: fmt.Sprintf("it answered %d: is it of another version?", code)}
		}
		return r
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("read the agent's answer: %w; is it of another version?", err)
	}
	return nil
}
