// SPDX-License-Identifier: Apache-2.0

// Package lsp serves editors of pipeline files, in the Language Server Protocol over a pair of streams.
//
// What is wrong comes from [config.Load] and nothing else, over the text that is open; what can be completed and what the docs say comes from the
// language's table ([config.Blocks]) and from the manifests of plugins. No code of a plugin runs, and no secret is read.
//
// A directory is one configuration, as it is for the agent. Where a position is in a file is found by its words, not by its grammar, so that a file
// that is half typed has completion too (place.go).
//
// One goroutine answers, in the order of the messages, and loads in between, when nothing was typed for a moment; another one reads.
// The framing is our own, fifty lines, so that a message is bounded before there is memory for it; so are the few types of the protocol that are needed.
package lsp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/penstock/host/config"
)

const (
	quiet        = 150 * time.Millisecond // without a change, before it is loaded: about the pause between two words
	maxDocuments = 256                    // open at a time; no editor shows as many
	maxQueue     = 16                     // messages read ahead; then the editor waits
)

type server struct {
	out       io.Writer
	options   func(dir string) config.Options
	roots     []config.Block
	documents map[string][]byte // by absolute path
	published map[string]string // which directory's load found mistakes in a file, by its path
	dirty     map[string]bool   // directories to load again

	initialized, shutdown bool
}

// Serve answers what comes over in until the editor says exit, in ends, or ctx does. options says what loading the configuration of a directory
// needs. An error tells of streams that broke, or of an editor that left without saying shutdown. When it returns
// before in ends, the goroutine that reads is left in its read, which nothing but the end of in can end.
func Serve(ctx context.Context, in io.Reader, out io.Writer, options func(dir string) config.Options) error {
	s := &server{
		out: out, options: options, roots: config.Blocks(),
		documents: make(map[string][]byte), published: make(map[string]string), dirty: make(map[string]bool),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bodies, failed := make(chan []byte, maxQueue), make(chan error, 1)
	go func() {
		r := bufio.NewReaderSize(in, maxHeader)
		for {
			body, err := readMessage(r)
			if err != nil {
				failed <- err
				close(bodies)
				return
			}
			select {
			case bodies <- body:
			case <-ctx.Done():
				return
			}
		}
	}()
	return s.loop(ctx, bodies, failed)
}

func (s *server) loop(ctx context.Context, bodies <-chan []byte, failed <-chan error) error {
	for {
		var typed <-chan time.Time
		if len(s.dirty) > 0 {
			typed = time.After(quiet) // anew with each message
		}
		select {
		case <-ctx.Done():
			return nil
		case <-typed:
			if err := s.check(); err != nil {
				return err
			}
		case body, more := <-bodies:
			if !more {
				err := <-failed
				if errors.Is(err, io.EOF) && s.shutdown {
					return nil
				}
				return fmt.Errorf("the editor's side ended: %w", err)
			}
			exit, err := s.message(body)
			if exit && err == nil && !s.shutdown {
				return errors.New("the editor said exit without shutdown")
			}
			if exit || err != nil {
				return err
			}
		}
	}
}

// message answers one message; exit is set when it was the last one.
func (s *server) message(body []byte) (exit bool, err error) {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return false, s.fail(json.RawMessage("null"), codeParse, "not a message in JSON: "+err.Error())
	}
	request := len(m.ID) > 0
	switch {
	case m.Method == "exit":
		return true, nil
	case m.Method == "":
		return false, nil // an answer: nothing is asked of the editor
	case request && m.Method != "initialize" && !s.initialized:
		return false, s.fail(m.ID, codeNotInitialized, "initialize comes first")
	case request && s.shutdown:
		return false, s.fail(m.ID, codeInvalidRequest, "it was shut down")
	}
	var p params
	if len(m.Params) > 0 && m.Method != "initialize" {
		if err := json.Unmarshal(m.Params, &p); err != nil && request {
			return false, s.fail(m.ID, codeParams, m.Method+": "+err.Error())
		} else if err != nil {
			return false, nil // nobody waits for an answer
		}
	}
	if !request {
		return false, s.notice(m.Method, p)
	}
	result, known := s.request(m.Method, p)
	if !known {
		return false, s.fail(m.ID, codeNoMethod, "this server does not know "+m.Method)
	}
	return false, writeMessage(s.out, map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result})
}

func (s *server) fail(id json.RawMessage, code int, text string) error {
	return writeMessage(s.out, map[string]any{"jsonrpc": "2.0", "id": id, "error": failure{code, text}})
}

// capabilities: whole texts come with each change, since a pipeline file is small.
var capabilities = map[string]any{
	"textDocumentSync":           map[string]any{"openClose": true, "change": 1, "save": true},
	"completionProvider":         map[string]any{"triggerCharacters": []string{".", "\"", "="}},
	"hoverProvider":              true,
	"definitionProvider":         true,
	"documentFormattingProvider": true,
}

func (s *server) request(method string, p params) (result any, known bool) {
	path, _ := pathOf(p.TextDocument.URI)
	src, open := s.documents[path]
	native := open && strings.HasSuffix(path, ".hcl")
	switch method {
	case "initialize":
		s.initialized = true
		return map[string]any{"capabilities": capabilities, "serverInfo": map[string]string{"name": "penstock"}}, true
	case "shutdown":
		s.shutdown = true
		return nil, true
	case "textDocument/completion", "textDocument/hover", "textDocument/definition", "textDocument/formatting":
		if !native {
			return nil, true
		}
	default:
		return nil, false
	}
	d := &document{server: s, path: path, src: src}
	switch at := offsetAt(src, p.Position); method {
	case "textDocument/completion":
		return d.complete(at), true
	case "textDocument/hover":
		return d.hover(at), true
	case "textDocument/definition":
		return d.definition(at), true
	}
	laid := config.Format(src)
	if _, diags := config.Parse(src, path); diags.HasErrors() || bytes.Equal(src, laid) {
		return []textEdit{}, true
	}
	return []textEdit{{Range: span{End: positionAt(src, len(src))}, NewText: string(laid)}}, true
}

// notice takes up what the editor tells.
func (s *server) notice(method string, p params) error {
	path, ok := pathOf(p.TextDocument.URI)
	if !ok {
		return nil
	}
	_, open := s.documents[path]
	switch method {
	case "textDocument/didOpen":
		if !open && len(s.documents) >= maxDocuments {
			return s.say(fmt.Sprintf("%d files are open, which are the most: %s is not looked at. Close others, then open it again.", maxDocuments, path))
		}
		s.documents[path] = []byte(p.TextDocument.Text)
	case "textDocument/didChange":
		if n := len(p.ContentChanges); open && n > 0 {
			s.documents[path] = []byte(p.ContentChanges[n-1].Text)
		}
	case "textDocument/didClose":
		delete(s.documents, path)
	case "textDocument/didSave":
	default:
		return nil
	}
	s.dirty[filepath.Dir(path)] = true
	return nil
}

// say shows a warning.
func (s *server) say(text string) error {
	return writeMessage(s.out, map[string]any{"jsonrpc": "2.0", "method": "window/showMessage", "params": map[string]any{"type": 2, "message": text}})
}

// check loads what has changed, and publishes what is wrong with it.
func (s *server) check() error {
	for _, dir := range slices.Sorted(maps.Keys(s.dirty)) {
		delete(s.dirty, dir)
		if err := s.publish(dir); err != nil {
			return err
		}
	}
	return nil
}
