// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"testing"

	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/host/plugin/report"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestASecretIsGivenToWhomItWasGranted(t *testing.T) {
	s := &setup{}
	in := &instance{metrics: &s.meter, log: report.NewLog(slogOf(&s.logs)), grants: plugin.Grants{Secrets: map[string]string{"token": "hunter2"}}}
	for _, c := range []struct {
		name      string
		at, room  uint64
		want      int64
		delivered string
	}{
		{"token", 100, 7, 7, "hunter2"},
		{"token", 100, 50, 7, "hunter2"},
		{"token", 100, 6, 7, "\x00\x00\x00\x00\x00\x00\x00"}, // nothing is written: the guest asks again
		{"token", 250, 7, int64(abi.EINVAL), ""},
		{"other", 100, 7, int64(abi.EACCES), "\x00"},
		{"", 100, 7, int64(abi.EACCES), "\x00"},
	} {
		mem := &fakeMemory{}
		copy(mem.b[:], c.name)
		stack := []uint64{0, uint64(len(c.name)), c.at, c.room}
		secret(in, mem, stack)
		if got := int64(stack[0]); got != c.want {
			t.Errorf("%q with room for %d answers %d, want %d", c.name, c.room, got, c.want)
		}
		if got := string(mem.b[100 : 100+len(c.delivered)]); got != c.delivered {
			t.Errorf("%q with room for %d: got %q", c.name, c.room, got)
		}
	}
	if s.meter.denied("secret") != 2 || s.logs.count("hunter2") != 0 {
		t.Errorf("denied: %v, logs: %s", s.meter.denies, &s.logs)
	}
}
