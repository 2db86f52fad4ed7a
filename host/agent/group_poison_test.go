// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"
)

func TestAnEventThatBreaksEachMemberOfAGroupIsFoundInSeconds(t *testing.T) {
	text := strings.Replace(picky, "THROUGH", "", 1) + `
sink_group "all" {
  from    = channel.main
  members = [sink.a, sink.b]
}
`
	for _, name := range []string{"a", "b"} {
		text += `
sink "faulty" "` + name + `" {
  config {
    until  = "DIR/until"
    picky  = true
    breaks = "line 500"
  }
}
`
	}
	r := run(t, t.TempDir(), text)
	eventually(t, "all is decided", func() bool {
		a, b := r.component("sink.a"), r.component("sink.b")
		return a.Events+b.Events == 899 && a.Dead+b.Dead == 101
	})
	if paused := strings.Count(r.log.String(), "the others of its group take over"); paused > 3 {
		t.Errorf("members were left alone %d times", paused) // by the attempts before anything is suspected
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
}
