// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
	"github.com/penstock-io/penstock/host/channel/memory"
	"github.com/penstock-io/penstock/spec/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(_ *testing.T, o channeltest.Options) channel.Channel {
	return memory.New(memory.Options{Capacity: o.Capacity, OnFull: o.OnFull, Pool: o.Buffers, Observer: o.Observer, Fault: o.Fault, ForgetAfter: o.ForgetAfter})
}

func TestMemoryKeepsTheLaws(t *testing.T) { channeltest.Run(t, open) }

func TestMemoryKeepsTheLawsWhenACommitFails(t *testing.T) {
	channeltest.RunFaults(t, open, channeltest.StepPut)
}

func TestABatchThatFitsIsHandedOutAsItCame(t *testing.T) {
	c := memory.New(memory.Options{})
	defer c.Close()
	r, err := c.Reader(channel.ReaderSpec{Name: "sink.a"})
	if err != nil {
		t.Fatal(err)
	}
	var w event.Builder
	if err := w.Append(event.Event{Body: []byte("body")}); err != nil {
		t.Fatal(err)
	}
	tx, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Put(channel.Put{Source: "source.a", Batch: w.Batch()}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Submit()(); err != nil {
		t.Fatal(err)
	}
	l, err := r.Take(t.Context(), channel.Want{Events: 10})
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Delivery().Batch.Bytes(); &got[0] != &w.Bytes()[0] {
		t.Error("it was copied")
	}
	if err := l.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryDoesWhatTheModelDoes(t *testing.T) {
	channeltest.RunModel(t, func(o channeltest.Options) (channel.Channel, error) {
		return memory.New(memory.Options{Capacity: o.Capacity, OnFull: o.OnFull, Pool: o.Buffers, Observer: o.Observer, ForgetAfter: o.ForgetAfter}), nil
	}, false)
}
