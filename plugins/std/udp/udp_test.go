// SPDX-License-Identifier: Apache-2.0

package udp

import (
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/sdk/sdktest"
)

func TestADatagramIsAnEvent(t *testing.T) {
	s := sdktest.OpenSource(t, New, map[string]any{"max_datagram": 10, "peer": true})
	s.MaxEvents = 3
	for _, text := range []string{"one\n", "two\nlines\n", "", "\n", "0123456789", "0123456789a", "last"} {
		s.Net.Datagram("listen", "192.0.2.1:"+strings.Repeat("5", 1+len(s.Events)), text)
	}
	if got := sdktest.Bodies(s.Drain()); !slices.Equal(got, []string{"one", "two\nlines", "0123456789", "0123456789", "last"}) {
		t.Errorf("%q", got)
	}
	for i, e := range s.Events {
		if e.Attributes["udp.peer"] != "192.0.2.1:5" || (e.Attributes["udp.truncated"] == "true") != (i == 3) {
			t.Errorf("event %d: %v", i, e.Attributes)
		}
	}
	if s.Metrics["datagrams_cut"] != 1 {
		t.Errorf("metrics %v", s.Metrics)
	}
}
