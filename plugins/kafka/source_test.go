// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
)

func whatAnEventOfARecordIsLike(t *testing.T, newFake maker) {
	f := newFake(t)
	at := time.UnixMilli(1_700_000_000_123)
	client := f.client()
	f.produce(client, &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte("v"), Timestamp: at,
		Headers: []kgo.RecordHeader{{Key: "host", Value: []byte("a")}, {Key: "b\xff", Value: nil}}})
	f.produce(client, &kgo.Record{Topic: "in", Key: []byte("k"), Timestamp: at})
	f.produce(client, &kgo.Record{Topic: "in", Value: []byte("w"), Timestamp: at})
	s := openSource(t, f, nil)
	until(t, s, 3)
	want := []map[string]string{
		{"kafka.topic": "in", "kafka.partition": "0", "kafka.offset": "0", "kafka.key": "k", "kafka.header.host": "a", "kafka.header.b\uFFFD": ""},
		{"kafka.topic": "in", "kafka.partition": "0", "kafka.offset": "1", "kafka.key": "k", "kafka.tombstone": "true"},
		{"kafka.topic": "in", "kafka.partition": "0", "kafka.offset": "2"},
	}
	for i, e := range s.Events {
		if !maps.Equal(e.Attributes, want[i]) || e.Time != at.UnixNano() {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if s.Events[0].Body != "v" || s.Events[1].Body != "" {
		t.Errorf("bodies %q", sdktest.Bodies(s.Events))
	}
}

func aSourceGoesOnWhereItsCursorSays(t *testing.T, newFake maker) {
	f := newFake(t)
	f.put("in", 0, numbers(0, 5)...)
	s := openSource(t, f, nil)
	if got := until(t, s, 5); got != joined(0, 5) {
		t.Errorf("got %s", got)
	}
	f.put("in", 0, numbers(5, 8)...)
	if events, err := s.Poll(); err != nil { // perhaps some, which are not committed
		t.Fatal(events, err)
	}
	restart(t, s)
	if got := until(t, s, 3); got != joined(5, 8) {
		t.Errorf("after a restart %s", got)
	}
}

func whereASourceStarts(t *testing.T, newFake maker) {
	for start, want := range map[string]string{"oldest": "0,1,2", "newest": "2"} {
		t.Run(start, func(t *testing.T) {
			f := newFake(t)
			f.put("in", 0, "0", "1")
			s := openSource(t, f, map[string]any{"start": start})
			if _, err := s.Poll(); err != nil { // the cursor alone
				t.Fatal(err)
			}
			s.Commit()
			f.put("in", 0, "2")
			restart(t, s) // newest is decided once
			if got := until(t, s, strings.Count(want, ",")+1); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func partitionsThatComeLaterAreReadFromTheirBeginning(t *testing.T, newFake maker) {
	f := newFake(t)
	s := openSource(t, f, map[string]any{"start": "newest", "refresh": 50 * time.Millisecond})
	until(t, s, 0)
	f.grow("in", 3)
	f.put("in", 2, "x")
	if got := until(t, s, 1); got != "x" {
		t.Errorf("got %s", got)
	}
	f.grow("in", 4)
	f.put("in", 3, "y")
	restart(t, s)
	if got := until(t, s, 1); got != "y" {
		t.Errorf("after a restart %s", got)
	}
}

func whatIsNotCommittedIsNotRead(t *testing.T, newFake maker) {
	f := newFake(t)
	client := f.client(kgo.TransactionalID("other"))
	write := func(value string, end kgo.TransactionEndTry) {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		f.produce(client, &kgo.Record{Topic: "in", Value: []byte(value)})
		if err := client.EndTransaction(context.Background(), end); err != nil {
			t.Fatal(err)
		}
	}
	write("a", kgo.TryCommit)
	write("b", kgo.TryAbort)
	write("c", kgo.TryCommit)
	write("d", kgo.TryAbort)
	s := openSource(t, f, nil)
	if got := until(t, s, 2); got != "a,c" {
		t.Errorf("got %s", got)
	}
	// The cursor has passed what was aborted: it may be deleted without anybody missing it.
	if next := f.ends("in")[0]; !strings.Contains(string(s.Cursor["in/0"]), `"next":8,`) || next != 8 {
		t.Errorf("cursor %s, and the partition ends at %d", s.Cursor["in/0"], next)
	}
	all := openSource(t, f, map[string]any{"isolation": "read_uncommitted"})
	if got := until(t, all, 4); got != "a,b,c,d" {
		t.Errorf("uncommitted: %s", got)
	}
}

func recordsThatWereDeletedBeforeTheyWereRead(t *testing.T, newFake maker) {
	for _, running := range []bool{false, true} {
		for policy, atLeast := range map[string]int{"stop": 0, "oldest": 4, "newest": 1} {
			t.Run(policy+map[bool]string{true: " while it runs"}[running], func(t *testing.T) {
				f := newFake(t)
				f.put("in", 0, "0", "1")
				s := openSource(t, f, map[string]any{"on_missing": policy})
				until(t, s, 2)
				if !running {
					_ = s.Close()
				}
				f.put("in", 0, numbers(2, 8)...) // of which a source that runs may get some in time
				if err := f.deleteRecords("in", 0, 5); err != nil {
					t.Fatal(err)
				}
				var err error
				if !running {
					err = s.Restart()
				}
				if policy == "stop" {
					if err == nil {
						err = failsUnless(t, s, 8)
					}
					if len(s.Events) == 8 {
						return // it was fast enough to miss nothing
					}
					expect(t, err, abi.EINVAL, "partition 0", "have deleted the offsets", "to 4", "retention")
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for s.Metrics["kafka_missing_offsets"] == 0 && len(s.Events) < 8 { // where it ends is decided when it is missed
					until(t, s, 0)
				}
				f.put("in", 0, "8")
				until(t, s, 1)
				got := sdktest.Bodies(s.Events[2:])
				if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) || got[len(got)-1] != "8" || len(got) < atLeast {
					t.Errorf("got %s", got)
				}
				if n := s.Metrics["kafka_missing_offsets"]; int(n)+len(got) != 7 {
					t.Errorf("of 7 records %v are counted as missing, and %d came", n, len(got))
				}
			})
		}
	}
}

func aTopicThatIsMadeAnew(t *testing.T, newFake maker) {
	for _, running := range []bool{false, true} {
		for _, policy := range []string{"stop", "oldest"} {
			t.Run(policy+map[bool]string{true: " while it runs"}[running], func(t *testing.T) {
				f := newFake(t)
				f.put("in", 0, "0", "1")
				s := openSource(t, f, map[string]any{"on_missing": policy, "refresh": 100 * time.Millisecond})
				until(t, s, 2)
				if !running {
					_ = s.Close()
				}
				if err := f.deleteTopic("in"); err != nil {
					t.Fatal(err)
				}
				if err := f.createTopic("in", 1, nil); err != nil {
					t.Fatal(err)
				}
				f.put("in", 0, "a", "b", "c", "d") // more than were there
				var err error
				if !running {
					err = s.Restart()
				}
				if policy == "stop" {
					if err == nil {
						err = fails(t, s)
					}
					expect(t, err, abi.EINVAL, `the topic "in" was deleted and made anew`)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				before := len(s.Events)
				for end := time.Now().Add(patience); len(s.Events) < before+4 && time.Now().Before(end); {
					_, _ = s.Poll() // it may say meanwhile that it begins again
					s.Commit()
				}
				if got := strings.Join(sdktest.Bodies(s.Events[before:]), ","); got != "a,b,c,d" {
					t.Errorf("got %s", got)
				}
				if s.Metrics["kafka_remade_topics"] != 1 {
					t.Errorf("%v topics are counted", s.Metrics["kafka_remade_topics"])
				}
			})
		}
	}
}

func aTopicThatIsDeleted(t *testing.T, newFake maker) {
	f := newFake(t)
	f.put("in", 0, "0")
	s := openSource(t, f, map[string]any{"refresh": 50 * time.Millisecond})
	until(t, s, 1)
	if err := f.deleteTopic("in"); err != nil {
		t.Fatal(err)
	}
	expect(t, fails(t, s), abi.EINVAL, `"in"`, "was deleted")
}

func TestGapsThatCompactionLeaves(t *testing.T) {
	f := newFake(t)
	if err := f.createTopic("compact", 1, map[string]string{"cleanup.policy": "compact", "segment.bytes": "1", "min.cleanable.dirty.ratio": "0"}); err != nil {
		t.Fatal(err)
	}
	client := f.client()
	for _, v := range numbers(0, 6) {
		f.produce(client, &kgo.Record{Topic: "compact", Key: []byte("same"), Value: []byte(v)})
	}
	f.Compact()
	s := openSource(t, f, map[string]any{"topics": []string{"compact"}})
	got := until(t, s, 1)
	if !strings.HasSuffix(got, "5") || s.Metrics["kafka_missing_offsets"] != 0 {
		t.Errorf("got %s, missing %v", got, s.Metrics["kafka_missing_offsets"])
	}
}

func aGroupIsToldHowFarTheSourceIs(t *testing.T, newFake maker) {
	f := newFake(t)
	f.put("in", 0, numbers(0, 4)...)
	s := openSource(t, f, map[string]any{"group": "watched"})
	until(t, s, 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = "watched"
	one := kmsg.NewOffsetFetchRequestTopic()
	one.Topic, one.Partitions = "in", []int32{0}
	req.Topics = append(req.Topics, one)
	resp, err := req.RequestWith(context.Background(), f.client())
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].Offset != 4 {
		t.Errorf("%+v", resp)
	}
}

func TestAllPositionsAreSetAgainBeforeAChannelForgetsThem(t *testing.T) {
	f := newFake(t, kfake.SeedTopics(2, "two"))
	f.put("two", 0, "a")
	var under *source
	s := sdktest.OpenSource(t, func() sdk.Source {
		under = new(source)
		return under
	}, f.config(map[string]any{"topics": []string{"two"}}))
	defer s.Close()
	s.Timeout = 50 * time.Millisecond
	until(t, s, 1)
	delete(s.Cursor, "two/1")
	under.renew = time.Now()
	f.put("two", 0, "b")
	until(t, s, 1)
	if keys := slices.Sorted(maps.Keys(s.Cursor)); !slices.Equal(keys, []string{"two/0", "two/1"}) {
		t.Errorf("the cursor has %q", keys)
	}
}
