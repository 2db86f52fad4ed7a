// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
	"github.com/penstock-io/penstock/host/channel/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(_ *testing.T, o channeltest.Options) channel.Channel {
	return memory.New(memory.Options{Capacity: o.Capacity, OnFull: o.OnFull, Pool: o.Buffers, Observer: o.Observer, Fault: o.Fault})
}

func TestMemoryKeepsTheLaws(t *testing.T) { channeltest.Run(t, open) }

func TestMemoryKeepsTheLawsWhenACommitFails(t *testing.T) {
	channeltest.RunFaults(t, open, channeltest.StepPut)
}

func TestMemoryDoesWhatTheModelDoes(t *testing.T) {
	channeltest.RunModel(t, func(o channeltest.Options) (channel.Channel, error) {
		return memory.New(memory.Options{Pool: o.Buffers}), nil
	}, false)
}
