// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what happens in milliseconds.
const patience = 30 * time.Second

// fake is a cluster in this process.
type fake struct {
	*kfake.Cluster
	t testing.TB
}

// newFake starts brokers with topics of one partition each, unless the options say otherwise.
func newFake(t testing.TB, options ...kfake.Opt) *fake {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out")}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &fake{c, t}
}

// config is what leads to the cluster, with what a test sets.
func (f *fake) config(more map[string]any) map[string]any {
	c := map[string]any{"brokers": f.ListenAddrs(), "tls": "off"}
	maps.Copy(c, more)
	return c
}

// client is one that is not ours.
func (f *fake) client(options ...kgo.Opt) *kgo.Client {
	f.t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(f.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	return client
}

// put writes values into a partition.
func (f *fake) put(topic string, index int32, values ...string) {
	f.t.Helper()
	client := f.client()
	defer client.Close()
	for _, v := range values {
		f.produce(client, &kgo.Record{Topic: topic, Partition: index, Value: []byte(v)})
	}
}

func (f *fake) produce(client *kgo.Client, r *kgo.Record) {
	f.t.Helper()
	if err := client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// read reads a topic from its beginning to its end, as somebody who reads what is committed.
func (f *fake) read(topic string) []*kgo.Record {
	f.t.Helper()
	client := f.client(kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeTopics(topic), kgo.KeepControlRecords())
	defer client.Close()
	var all []*kgo.Record
	left := map[int32]int64{}
	for _, p := range f.PartitionInfos(topic) {
		if p.LastStableOffset > p.LogStartOffset {
			left[p.Partition] = p.LastStableOffset
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return all
}

// values are those of records.
func values(records []*kgo.Record) string {
	var all []string
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return strings.Join(all, ",")
}

func openSource(t *testing.T, f *fake, more map[string]any) *sdktest.Source {
	t.Helper()
	c := map[string]any{"topics": []string{"in"}}
	maps.Copy(c, more)
	s := sdktest.OpenSource(t, New, f.config(c))
	s.Timeout = 50 * time.Millisecond
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// restart kills the source and opens it again where its cursor says.
func restart(t *testing.T, s *sdktest.Source) {
	t.Helper()
	_ = s.Close() // its client has goroutines, which a kill would end
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

// until polls and commits until there are so many events, and a moment longer.
func until(t *testing.T, s *sdktest.Source, n int) string {
	t.Helper()
	before := len(s.Events)
	for end := time.Now().Add(patience); len(s.Events)-before < n; {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.Commit()
		if time.Now().After(end) {
			t.Fatalf("of %d events %d came", n, len(s.Events)-before)
		}
	}
	for range 3 {
		if _, err := s.Poll(); err != nil {
			t.Fatal(err)
		}
		s.Commit()
	}
	return strings.Join(sdktest.Bodies(s.Events[before:]), ",")
}

// fails polls until there is an error.
func fails(t *testing.T, s *sdktest.Source) error {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, err := s.Poll()
		s.Commit()
		if err != nil {
			return err
		}
	}
	t.Fatal("no error")
	return nil
}

// expect looks at an error's code and text.
func expect(t *testing.T, err error, code abi.Code, parts ...string) {
	t.Helper()
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok || e.Code != code {
		t.Fatalf("%v (%T), wanted code %s", err, err, code)
	}
	for _, p := range parts {
		if !strings.Contains(e.Error(), p) {
			t.Errorf("%q does not say %q", e.Error(), p)
		}
	}
}

// numbers are "0,1,…".
func numbers(from, to int) []string {
	all := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func joined(from, to int) string { return strings.Join(numbers(from, to), ",") }
