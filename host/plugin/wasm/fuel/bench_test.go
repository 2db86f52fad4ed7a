// SPDX-License-Identifier: Apache-2.0

package fuel_test

import (
	"os"
	"testing"

	"github.com/penstock-io/penstock/host/plugin/wasm/fuel"
)

// BenchmarkRewrite is rewriting the module of the standard plugins, which a Go compiler made.
func BenchmarkRewrite(b *testing.B) {
	code, err := os.ReadFile("../../../../plugins/bundle/modules/std.wasm")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(code)))
	b.ReportAllocs()
	for b.Loop() {
		out, err := fuel.Rewrite(code, fuel.Options{Depth: 1})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(out))/float64(len(code)), "size")
	}
}
