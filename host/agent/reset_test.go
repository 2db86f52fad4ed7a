// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/spec/event"
)

func TestASourceThatDoesNotReadItsCursorIsHeldAndIsResetOnDemand(t *testing.T) {
	r := run(t, t.TempDir(), counted(100, "a"))
	eventually(t, "it has read all", func() bool { return r.component("source.traps").Events == 100 })
	ask := func(p admin.Pause) admin.Standing {
		t.Helper()
		p.Component = "source.traps"
		s, err := r.Pause(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ask(admin.Pause{})
	c := r.Agent.component("source.traps")
	if _, err := c.channel.Cursor(t.Context(), c.Address()); err != nil {
		t.Fatal(err)
	}
	// As a later version of the plugin would have left it.
	if err := commit(t.Context(), c.channel, channel.Put{Source: c.Address(), Version: 9, Changed: event.Cursor{"x": []byte("y")}}); err != nil {
		t.Fatal(err)
	}
	ask(admin.Pause{Resume: true})
	eventually(t, "it is held", func() bool { return r.component("source.traps").State == admin.Held })
	if reason := r.component("source.traps").Reason; !strings.Contains(reason, "written in form 9, and this plugin reads form 1") || !strings.Contains(reason, "penstock source reset traps") {
		t.Errorf("it says: %s", reason)
	}
	if _, err := r.Pause(t.Context(), admin.Pause{Component: "sink.a", Reset: true}); err == nil {
		t.Error("a sink was reset")
	}
	if s := ask(admin.Pause{Reset: true}); !s.Changed {
		t.Errorf("reset: %+v", s)
	}
	eventually(t, "it has read all again", func() bool { return r.component("source.traps").Events == 200 })
}
