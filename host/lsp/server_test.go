// SPDX-License-Identifier: Apache-2.0

package lsp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const flow = `source "file" "in" {
  into = channel.main
  config {
    paths = ["a.log"]
  }
}
`

const mainFile = "channel \"wal\" \"main\" {}\n"

// leadsNowhere says whether a reference is wrong; what else there may be is about a pipeline that has no end.
func leadsNowhere(found []diagnostic) bool { return slices.Contains(codes(found), "E1501") }

func TestWhatIsOpenCountsAndNotTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := strings.ReplaceAll(flow, "channel.main", "channel.mian")
		c := newClient(t, map[string]string{"main.hcl": mainFile, "flow.hcl": broken})
		defer c.close()
		c.ask("initialize", map[string]any{})
		c.open("flow.hcl", flow)
		if found := c.wrong("flow.hcl"); leadsNowhere(found) {
			t.Errorf("it is right in the editor: %+v", found)
		}
		c.change("flow.hcl", broken)
		if found := c.wrong("flow.hcl"); !leadsNowhere(found) {
			t.Errorf("it is wrong in the editor: %+v", found)
		}
		c.change("flow.hcl", flow)
		c.wrong("flow.hcl")
		c.tell("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": c.uri("flow.hcl")}})
		c.open("main.hcl", mainFile) // so that the directory is looked at
		if found := c.wrong("flow.hcl"); !leadsNowhere(found) {
			t.Errorf("it is closed, and wrong on the disk: %+v", found)
		}
	})
}

func TestAMistakeAtTheBeginningIsShownThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, map[string]string{"main.hcl": mainFile})
		defer c.close()
		c.ask("initialize", map[string]any{})
		c.open("flow.hcl", flow)
		c.wrong("flow.hcl")
		for _, text := range []string{"sourse \"file\" \"in\" {}\n", "sourse \"file\" \"in\" {}", "sourse \"file\" \"in\" {}\r\n"} {
			c.change("flow.hcl", text)
			found := c.wrong("flow.hcl")
			if !slices.ContainsFunc(found, func(d diagnostic) bool { return d.Range.Start == position{} && d.Severity == 1 && d.Code != "" }) {
				t.Errorf("%q: %+v", text, found)
			}
		}
	})
}

func TestAFileThatWasNeverSavedIsOneOfItsDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, map[string]string{"flow.hcl": flow})
		defer c.close()
		c.ask("initialize", map[string]any{})
		c.open("flow.hcl", flow)
		if found := c.wrong("flow.hcl"); !leadsNowhere(found) {
			t.Errorf("there is no channel yet: %+v", found)
		}
		c.open("main.hcl", mainFile)
		if found := c.wrong("flow.hcl"); leadsNowhere(found) {
			t.Errorf("the channel is in the other file that is open: %+v", found)
		}
	})
}

func TestWhileSomebodyTypesNothingIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, nil)
		defer c.close()
		c.ask("initialize", map[string]any{})
		c.open("flow.hcl", flow)
		for range 20 {
			time.Sleep(quiet * 2 / 3)
			c.change("flow.hcl", flow)
		}
		synctest.Wait()
		if n := len(c.got); n != 0 {
			t.Errorf("%d messages came meanwhile", n)
		}
		time.Sleep(quiet)
		synctest.Wait()
		if n := len(c.got); n != 1 {
			t.Errorf("%d messages came after it, wanted 1: the file that is open", n)
		}
	})
}

func TestNoMoreDocumentsAreTakenThanTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, nil)
		defer c.close()
		c.ask("initialize", map[string]any{})
		for i := range maxDocuments {
			c.open(fmt.Sprintf("x%d.txt", i), "")
		}
		c.open("flow.hcl", flow)
		m := c.await(func(m reply) bool { return m.Method == "window/showMessage" })
		if text := string(m.Params); !strings.Contains(text, "256 files are open") || !strings.Contains(text, "flow.hcl") {
			t.Errorf("%s", text)
		}
		ask := func() string {
			at := map[string]any{"textDocument": map[string]any{"uri": c.uri("flow.hcl")}, "position": position{}}
			return string(c.ask("textDocument/hover", at).Result)
		}
		if got := ask(); got != "null" {
			t.Errorf("it is looked at all the same: %s", got)
		}
		c.open("x0.txt", "again") // which is open: it takes no place
		c.tell("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": c.uri("x0.txt")}})
		c.open("flow.hcl", flow)
		if got := ask(); got == "null" {
			t.Error("it is not looked at, though one was closed")
		}
	})
}

func TestHowAServerEnds(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(c *client)
		want  string // part of the error; "" = none
	}{
		"shutdown and exit":    {func(c *client) { c.ask("shutdown", nil); c.tell("exit", nil) }, ""},
		"shutdown and the end": {func(c *client) { c.ask("shutdown", nil); _ = c.in.Close() }, ""},
		"exit alone":           {func(c *client) { c.tell("exit", nil) }, "exit without shutdown"},
		"the end alone":        {func(c *client) { _ = c.in.Close() }, "the editor's side ended: EOF"},
		"in a message":         {func(c *client) { c.raw("Content-Length: 9\r\n\r\n{"); _ = c.in.Close() }, "unexpected EOF"},
		"cancelled":            {func(c *client) { c.stop() }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newClient(t, nil)
				e.ask("initialize", map[string]any{})
				c.leave(e)
				if err := e.end(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%v, wanted %q", err, c.want)
				}
			})
		})
	}
}

func TestAfterShutdownNothingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, nil)
		defer c.close()
		if m := c.ask("shutdown", nil); m.Error == nil || m.Error.Code != codeNotInitialized {
			t.Errorf("before initialize: %+v", m)
		}
		c.ask("initialize", map[string]any{})
		c.ask("shutdown", nil)
		if m := c.ask("textDocument/hover", nil); m.Error == nil || m.Error.Code != codeInvalidRequest {
			t.Errorf("after shutdown: %+v", m)
		}
	})
}

func TestMessagesThatAreNoneAreAnsweredAndTheNextIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, nil)
		defer c.close()
		c.ask("initialize", map[string]any{})
		for _, body := range []string{"{", "[]", "7", "\x00\xff\xfe", "", `{"id":{}`, `{"method":7}`} {
			c.raw(fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body))
			if m := c.await(func(reply) bool { return true }); m.Error == nil || m.Error.Code != codeParse {
				t.Errorf("%q: %+v", body, m)
			}
		}
		for _, body := range []string{"null", "{}", `{"id":1,"result":{}}`, `{"method":"$/cancelRequest","params":{"id":1}}`, `{"method":"textDocument/didOpen","params":"x"}`} {
			c.raw(fmt.Sprintf("content-length:%d\r\nContent-Type: x\r\n\r\n%s", len(body), body)) // nothing is to be answered
		}
		if m := c.ask("textDocument/rename", map[string]any{}); m.Error == nil || m.Error.Code != codeNoMethod {
			t.Errorf("a method that there is not: %+v", m)
		}
		if m := c.ask("textDocument/hover", []int{1}); m.Error == nil || m.Error.Code != codeParams {
			t.Errorf("params that are none: %+v", m)
		}
	})
}
