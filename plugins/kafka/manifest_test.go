// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"os"
	"testing"

	"github.com/penstock-io/penstock/host/config"
)

func TestTheManifest(t *testing.T) {
	src, err := os.ReadFile("plugin.hcl")
	if err != nil {
		t.Fatal(err)
	}
	m, _, diags := config.ParseManifest(src, "plugin.hcl")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if len(m.Plugins) != 3 || m.Plugins[0].Replay != "cursor" || m.Plugins[1].Effects != "transactional" || !m.Plugins[1].Concurrent || m.Plugins[2].Effects != "none" {
		t.Errorf("%+v", m.Plugins)
	}
}
