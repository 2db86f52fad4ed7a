// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestAGoGuestKeepsTheContract(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and compiles a Go guest")
	}
	code, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	plugintest.Run(t, load(t, code),
		plugintest.Case{
			Kind: abi.Source, Name: "test", Events: 40, BadConfig: `{"count":"many"}`,
			Setup: func(string) (plugintest.Opening, error) { return plugintest.Opening{Config: `{"count":40}`}, nil },
		},
		plugintest.Case{
			Kind: abi.Sink, Name: "test", BadConfig: `{"file":1}`,
			Setup: func(dir string) (plugintest.Opening, error) {
				return plugintest.Opening{Config: `{"file":"` + dir + `/out"}`, Dirs: []plugin.Dir{{Path: dir, Write: true}}}, nil
			},
			Stored: func(dir string) ([]string, error) {
				b, err := os.ReadFile(dir + "/out")
				return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
			},
		},
		plugintest.Case{Kind: abi.Processor, Name: "test"})
}

func TestInstancesOfOnePluginRunSideBySide(t *testing.T) {
	p := load(t, pack(t, emitter(batch("a", "b", "c")), abi.Source))
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			for range 20 {
				s := &setup{}
				in, err := p.Open(t.Context(), abi.Source, s.request(abi.Source))
				if err != nil {
					return err
				}
				e, err := in.Source.Read(t.Context())
				if err != nil {
					return err
				}
				e.Batch.Release()
				if _, err := in.Source.Read(t.Context()); !errors.Is(err, io.EOF) {
					return err
				}
				if err := in.Source.Close(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func TestClosingAPluginLeavesAnotherOfTheSameBytesAtWork(t *testing.T) {
	code := pack(t, emitter(batch("a")), abi.Source)
	first, second := load(t, code), load(t, code)
	for range 3 {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC() // unmaps code that nobody has any more
	s := &setup{}
	in, err := second.Open(t.Context(), abi.Source, s.request(abi.Source))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Source.Read(t.Context()); err != nil {
		t.Error(err)
	}
	if err := in.Source.Close(); err != nil {
		t.Error(err)
	}
}
