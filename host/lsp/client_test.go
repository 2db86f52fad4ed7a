// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/config"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testOptions are those of an agent with one plugin.
func testOptions(dir string) config.Options {
	file := abi.Plugin{Kind: abi.Source, Name: "file", Doc: "Reads files.", Arguments: []abi.Argument{
		{Name: "paths", Type: "list(string)", Required: true, Doc: "Which files."},
		{Name: "mode", Type: "string", Enum: []string{"fast", "slow"}},
	}}
	return config.Options{
		Dir:      dir,
		Manifest: func(config.PluginRef) (abi.Manifest, error) { return abi.Manifest{Plugins: []abi.Plugin{file}}, nil },
		Builtin:  func(kind abi.Kind, name string) (string, bool) { return "std", kind == abi.Source && name == "file" },
		Builtins: func(abi.Kind) []string { return []string{"file"} },
		DiskFree: func(string) (uint64, error) { return 1 << 50, nil },
	}
}

// client is an editor in the same process.
type client struct {
	*testing.T
	dir  string
	in   *io.PipeWriter
	got  chan reply // closed when the server has ended
	done chan error
	stop context.CancelFunc
	next int
}

// reply is whatever the server writes.
type reply struct {
	ID     *int            `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *failure        `json:"error"`
}

// newClient starts a server, whose end the test waits for, with close or itself.
func newClient(t *testing.T, files map[string]string) *client {
	t.Helper()
	c := &client{T: t, dir: t.TempDir(), got: make(chan reply, 1024), done: make(chan error, 1)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in, inWriter := io.Pipe()
	out, outWriter := io.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	c.in, c.stop = inWriter, stop
	go func() {
		c.done <- Serve(ctx, in, outWriter, testOptions)
		_ = in.Close() // the reader may be in the middle of a message
		_ = outWriter.Close()
	}()
	go func() {
		defer close(c.got)
		for r := bufio.NewReaderSize(out, maxHeader); ; {
			body, err := readMessage(r)
			if err != nil {
				return
			}
			var m reply
			if err := json.Unmarshal(body, &m); err != nil {
				t.Errorf("the server wrote %q: %v", body, err)
				return
			}
			c.got <- m
		}
	}()
	return c
}

// end waits for the server and says what it answered.
func (c *client) end() error {
	err := <-c.done
	_ = c.in.Close()
	for range c.got {
	}
	c.stop()
	return err
}

func (c *client) close() {
	_ = c.in.Close()
	_ = c.end() // the editor has left without a word
}

// raw sends bytes; the server may have ended before it takes all.
func (c *client) raw(text string) { _, _ = io.WriteString(c.in, text) }

func (c *client) send(m map[string]any) {
	c.Helper()
	m["jsonrpc"] = "2.0"
	if err := writeMessage(c.in, m); err != nil {
		c.Fatal(err)
	}
}

func (c *client) tell(method string, params any) {
	c.Helper()
	c.send(map[string]any{"method": method, "params": params})
}

// await returns the next message that is wanted.
func (c *client) await(wanted func(reply) bool) reply {
	c.Helper()
	for m := range c.got {
		if wanted(m) {
			return m
		}
	}
	c.Fatal("the server ended")
	return reply{}
}

func (c *client) ask(method string, params any) reply {
	c.Helper()
	c.next++
	id := c.next
	c.send(map[string]any{"id": id, "method": method, "params": params})
	return c.await(func(m reply) bool { return m.ID != nil && *m.ID == id })
}

func (c *client) uri(name string) string { return uriOf(filepath.Join(c.dir, name)) }

func (c *client) open(name, text string) {
	c.Helper()
	c.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": c.uri(name), "text": text}})
}

// change is what an editor sends at each key.
func (c *client) change(name, text string) {
	c.Helper()
	c.tell("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": c.uri(name)}, "contentChanges": []any{map[string]any{"text": text}}})
}

// wrong waits for what is said of a file next.
func (c *client) wrong(name string) []diagnostic {
	c.Helper()
	var p published
	c.await(func(m reply) bool {
		p = published{}
		return m.Method == "textDocument/publishDiagnostics" && json.Unmarshal(m.Params, &p) == nil && p.URI == c.uri(name)
	})
	return p.Diagnostics
}

// codes are those of what is wrong, sorted.
func codes(found []diagnostic) (all []string) {
	for _, d := range found {
		all = append(all, d.Code)
	}
	slices.Sort(all)
	return all
}

// cut takes the mark | out of a text, and says where it was.
func cut(t testing.TB, text string) (src []byte, at int) {
	t.Helper()
	at = strings.Index(text, "|")
	if at < 0 {
		t.Fatal("no | in the text")
	}
	return []byte(text[:at] + text[at+1:]), at
}

// documentOf is a text that is open, in a directory that there is not.
func documentOf(src []byte) *document {
	path := "/nowhere/flow.hcl"
	s := &server{out: io.Discard, options: testOptions, roots: config.Blocks(), documents: map[string][]byte{path: src}}
	return &document{server: s, path: path, src: src}
}

func labelsIn(found items) string {
	var all []string
	for _, i := range found.Items {
		all = append(all, fmt.Sprint(i.Label))
	}
	return strings.Join(all, " ")
}
