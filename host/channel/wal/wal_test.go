// SPDX-License-Identifier: Apache-2.0

package wal

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/host/channel"
	"github.com/penstock-io/penstock/host/channel/channeltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openForSuite(t *testing.T, o channeltest.Options) channel.Channel {
	t.Helper()
	c, err := Open(Options{Dir: o.Dir, Capacity: o.Capacity, OnFull: o.OnFull, Pool: o.Buffers, Observer: o.Observer})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestItKeepsTheLaws(t *testing.T) { channeltest.Run(t, openForSuite) }

func TestItKeepsTheLawsOverReopening(t *testing.T) { channeltest.RunDurable(t, openForSuite) }
