// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// editor speaks with a penstock lsp of its own.
type editor struct {
	*testing.T
	in   io.WriteCloser
	out  *bufio.Reader
	cmd  *exec.Cmd
	dir  string
	next int
}

// finding is a diagnostic.
type finding struct {
	Range           map[string]struct{ Line, Character int }
	Severity        int
	Code            string
	CodeDescription struct{ Href string }
}

func leadsNowhere(f finding) bool { return f.Code == "E1501" }

// answer is what comes back.
type answer struct {
	ID     int    `json:"id"`
	Method string `json:"method"`
	Params struct {
		URI         string    `json:"uri"`
		Diagnostics []finding `json:"diagnostics"`
	} `json:"params"`
	Result json.RawMessage     `json:"result"`
	Error  *struct{ Code int } `json:"error"`
}

func newEditor(t *testing.T, files map[string]string) *editor {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := &editor{T: t, cmd: exec.Command("penstock", "lsp"), dir: dir}
	e.in, err = e.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	e.out = bufio.NewReader(out)
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(2*time.Minute, func() { _ = e.cmd.Process.Kill() }) // rather than hang
	t.Cleanup(func() { kill.Stop(); _ = e.in.Close(); _ = e.cmd.Wait() })
	return e
}

func (e *editor) raw(text string) {
	e.Helper()
	if _, err := fmt.Fprintf(e.in, "Content-Length: %d\r\n\r\n%s", len(text), text); err != nil {
		e.Fatal(err)
	}
}

func (e *editor) send(m map[string]any) {
	e.Helper()
	m["jsonrpc"] = "2.0"
	body, err := json.Marshal(m)
	if err != nil {
		e.Fatal(err)
	}
	e.raw(string(body))
}

func (e *editor) read() (a answer) {
	e.Helper()
	header, err := textproto.NewReader(e.out).ReadMIMEHeader()
	if err != nil {
		e.Fatal(err)
	}
	n, _ := strconv.Atoi(header.Get("Content-Length"))
	body := make([]byte, n)
	if _, err := io.ReadFull(e.out, body); err != nil {
		e.Fatal(err)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		e.Fatalf("%v: %s", err, body)
	}
	return a
}

// ask returns the result of a request; what else comes meanwhile is let go.
func (e *editor) ask(method string, params any) answer {
	e.Helper()
	e.next++
	e.send(map[string]any{"id": e.next, "method": method, "params": params})
	for {
		if a := e.read(); a.Method == "" && a.ID == e.next {
			return a
		}
	}
}

// found waits for what is wrong with a file.
func (e *editor) found(name string) answer {
	e.Helper()
	for {
		if a := e.read(); a.Method == "textDocument/publishDiagnostics" && a.Params.URI == e.uri(name) {
			return a
		}
	}
}

func (e *editor) uri(name string) string { return "file://" + filepath.Join(e.dir, name) }

func (e *editor) open(name, text string) {
	e.Helper()
	e.send(map[string]any{"method": "textDocument/didOpen", "params": map[string]any{"textDocument": map[string]any{"uri": e.uri(name), "text": text}}})
}

// at asks about the place in a file that | marks, which is open as the text without it.
func (e *editor) at(method, name, text string) string {
	e.Helper()
	before, after, ok := strings.Cut(text, "|")
	if !ok {
		e.Fatal("no | in the text")
	}
	e.send(map[string]any{"method": "textDocument/didChange", "params": map[string]any{
		"textDocument": map[string]any{"uri": e.uri(name)}, "contentChanges": []any{map[string]any{"text": before + after}}}})
	last := before[strings.LastIndex(before, "\n")+1:]
	a := e.ask(method, map[string]any{"textDocument": map[string]any{"uri": e.uri(name)},
		"position": map[string]any{"line": strings.Count(before, "\n"), "character": len(last)}})
	return string(a.Result)
}

func (e *editor) leave() {
	e.Helper()
	e.ask("shutdown", nil)
	e.send(map[string]any{"method": "exit"})
	if err := e.cmd.Wait(); err != nil {
		e.Errorf("after shutdown and exit: %v", err)
	}
}

const lspMain = `channel "wal" "main" {}

variable "where" {
  description = "Where the file is."
  default     = "a.log"
}

secret "key" { from = "env:KEY" }

locals {
  out = "b.log"
}
`

const lspSource = `source "file" "in" {
  into = channel.main
  config {
    paths = [var.where]
  }
}
`

func TestTheEditorIsToldWhatIsWrongInTheTextThatIsOpen(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": lspMain, "flow.hcl": lspSource})
	if a := e.ask("textDocument/hover", nil); a.Error == nil || a.Error.Code != -32002 {
		t.Errorf("before initialize: %+v", a)
	}
	if got := string(e.ask("initialize", map[string]any{"capabilities": map[string]any{}}).Result); !strings.Contains(got, "completionProvider") {
		t.Errorf("initialize: %s", got)
	}
	e.send(map[string]any{"method": "initialized", "params": map[string]any{}})
	e.open("flow.hcl", "# é𝄞\nsource \"stdin\" \"in\" { into = /* 𝄞 */ channel.mian }\n")
	a := e.found("flow.hcl")
	i := slices.IndexFunc(a.Params.Diagnostics, leadsNowhere)
	if i < 0 {
		t.Fatalf("no E1501: %+v", a.Params)
	}
	d := a.Params.Diagnostics[i]
	if from, to := d.Range["start"], d.Range["end"]; from.Line != 1 || from.Character != 38 || to.Character != 50 || d.Severity != 1 || !strings.HasSuffix(d.CodeDescription.Href, "#e1501") {
		t.Errorf("%+v", d)
	}
	e.at("textDocument/hover", "flow.hcl", "|") // nothing is wrong in it any more
	if a := e.found("flow.hcl"); slices.ContainsFunc(a.Params.Diagnostics, leadsNowhere) {
		t.Errorf("still there: %+v", a.Params)
	}
	e.leave()
}

func TestTheEditorCompletesWhatIsHalfTyped(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": lspMain})
	e.ask("initialize", map[string]any{})
	e.open("flow.hcl", "")
	for _, c := range []struct{ text, want, not string }{
		{"|", `"source"`, `"into"`},
		{"sou|\n" + lspSource, `"source"`, `"into"`},
		{"source \"|", `"file"`, `"source"`},
		{"channel |", `"\"wal\""`, ""},
		{"source \"file\" \"in\" {\n  |\n" + lspSource, `"into"`, `"paths"`},
		{"source \"file\" \"in\" {\n  into = channel.main\n  |\n}", `"through"`, `"into"`},
		{"source \"file\" \"in\" {\n  into = |", `"channel.main"`, `"var.where"`},
		{"source \"file\" \"in\" {\n  into = channel.|\n" + lspSource, `"main"`, ""},
		{"source \"file\" \"in\" {\n  into = channel.ma|", `"main"`, ""},
		{"sink \"file\" \"out\" {\n  config {\n    |\n", `"path"`, `"from"`},
		{"sink \"file\" \"out\" {\n  config {\n    path = |", `"local.out"`, `"channel.main"`},
		{"sink \"file\" \"out\" {\n  config {\n    path = \"x/${var.|", `"where"`, ""},
		{"agent \"a\" {\n  http {\n    token = secret.|", `"key"`, ""},
		{"channel \"wal\" \"b\" {\n  on_full = \"|", `"drop_oldest"`, ""},
		{"processor \"filter\" \"f\" {\n  when = event.|", `"attributes"`, ""},
		{"source \"file\" \"open\" {\n  into = [\nchannel \"wal\" \"b\" {\n  |", `"capacity"`, `"into"`},
	} {
		got := e.at("textDocument/completion", "flow.hcl", c.text)
		if label := `"label":`; !strings.Contains(got, c.want) || c.not != "" && strings.Contains(got, label+c.not) {
			t.Errorf("%q: want %s, not %s: %s", c.text, c.want, c.not, got)
		}
	}
	e.leave()
}

func TestTheEditorShowsDocsAndDeclarationsAndLaysOut(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": lspMain})
	e.ask("initialize", map[string]any{})
	e.open("flow.hcl", "")
	for _, c := range []struct{ method, text, want string }{
		{"hover", strings.Replace(lspSource, "into", "in|to", 1), "The channel that it fills."},
		{"hover", strings.Replace(lspSource, "source", "sou|rce", 1), "one instance of a plugin"},
		{"hover", strings.Replace(lspSource, `"file"`, `"fi|le"`, 1), "`source "},
		{"hover", strings.Replace(lspSource, "paths", "pa|ths", 1), "list(string)"},
		{"hover", strings.Replace(lspSource, "where", "whe|re", 1), "Where the file is."},
		{"hover", strings.Replace(lspSource, "[var", "[ |", 1), "null"},
		{"definition", strings.Replace(lspSource, "channel.main", "channel.ma|in", 1), `main.hcl","range":{"start":{"line":0,"character":0}`},
		{"definition", strings.Replace(lspSource, "channel.main", "cha|nnel.main", 1), `main.hcl","range":{"start":{"line":0,"character":0}`},
		{"definition", strings.Replace(lspSource, "where", "whe|re", 1), `main.hcl","range":{"start":{"line":2,`},
		{"definition", "sink \"file\" \"o\" {\n config {\n path = local.ou|t", `main.hcl","range":{"start":{"line":10,"character":2}`},
		{"formatting", "channel   \"wal\"  \"b\" {\ncapacity=\"1GiB\"|\n}\n", `"newText":"channel \"wal\" \"b\" {\n  capacity = \"1GiB\"\n}\n"`},
		{"formatting", lspSource + "|", "[]"},
		{"formatting", "channel   \"wal\"  \"b\" {\n|", "[]"}, // half written
	} {
		if got := e.at("textDocument/"+c.method, "flow.hcl", c.text); !strings.Contains(got, c.want) {
			t.Errorf("%s of %q: want %s: %s", c.method, c.text, c.want, got)
		}
	}
	e.leave()
}

func TestTheEditorMayBeWrong(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": lspMain})
	e.raw("{")
	if a := e.read(); a.Error == nil || a.Error.Code != -32700 {
		t.Errorf("half a message: %+v", a)
	}
	e.ask("initialize", map[string]any{})
	if a := e.ask("textDocument/rename", map[string]any{}); a.Error == nil || a.Error.Code != -32601 {
		t.Errorf("a method that there is not: %+v", a)
	}
	if a := e.ask("textDocument/hover", []int{1}); a.Error == nil || a.Error.Code != -32602 {
		t.Errorf("params that are none: %+v", a)
	}
	e.send(map[string]any{"method": "textDocument/didOpen", "params": 7})
	e.open("flow.hcl", lspSource)
	far := map[string]any{"textDocument": map[string]any{"uri": e.uri("flow.hcl")}, "position": map[string]any{"line": -5, "character": 1 << 40}}
	for _, method := range []string{"completion", "hover", "definition"} {
		if a := e.ask("textDocument/"+method, far); a.Error != nil {
			t.Errorf("%s far out: %+v", method, a)
		}
	}
	if _, err := io.WriteString(e.in, "Content-Length: 99999999999\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Wait(); err == nil {
		t.Error("a message that is too long was taken")
	}
}
