// SPDX-License-Identifier: Apache-2.0

package subprocess

import (
	"os"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/plugintest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestAGoPluginKeepsTheContract(t *testing.T) {
	plugintest.Run(t, load(t, both),
		plugintest.Case{
			Kind: abi.Source, Name: "both", Events: 40, BadConfig: `{"count":"many"}`,
			Setup: func(string) (plugintest.Opening, error) { return plugintest.Opening{Config: `{"count":40}`}, nil },
		},
		plugintest.Case{
			Kind: abi.Sink, Name: "both", BadConfig: `{"file":1}`,
			Setup: func(dir string) (plugintest.Opening, error) {
				return plugintest.Opening{Config: `{"file":"` + dir + `/out"}`, Dirs: []plugin.Dir{{Path: dir, Write: true}}}, nil
			},
			Stored: func(dir string) ([]string, error) {
				b, err := os.ReadFile(dir + "/out")
				return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), err
			},
		},
		plugintest.Case{Kind: abi.Processor, Name: "both", Input: []string{"a", "b"}, Output: []string{"A", "B"}})
}
