// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/penstock-io/penstock/host/reliability"
	"github.com/penstock-io/penstock/plugins/kafka/kafkatest"
)

// kafkaText carries records from one topic into another.
const kafkaText = `
agent "crash" {
  data_dir = "DIR/data"
}

source "kafka" "in" {
  into = channel.main
  config {
    brokers = ["BROKER"]
    tls     = "off"
    topics  = ["in"]
    refresh = "1s"
  }
}

channel "wal" "main" {
  capacity = "256MiB"
}

sink "kafka" "out" {
  from        = channel.main
  order       = "none"
  connections = 3
  batch {
    events = 500
    wait   = "20ms"
  }
  retry { max = "1s" }
  config {
    brokers = ["BROKER"]
    tls     = "off"
    topic   = "out"
    key     = "kafka.key"
    create  = true
    timeout = "10s"
  }
}
`

const (
	mostFakeRounds, mostRealRounds = 60, 20 // a real broker takes some seconds to start again
	partitions                     = 4
	recordsARound                  = 2500
)

// brokers are what can go wrong beside the agent.
type brokers interface {
	addresses() []string
	// harm has one thing go wrong, and says what.
	harm(rng *rand.Rand) string
}

// fakeBrokers run in the test's process.
type fakeBrokers struct{ *kfake.Cluster }

func (b fakeBrokers) addresses() []string { return b.ListenAddrs() }

func (b fakeBrokers) harm(rng *rand.Rand) string {
	switch rng.IntN(3) {
	case 0:
		b.ShufflePartitionLeaders()
		b.RehashCoordinators()
		return "leaders moved"
	case 1: // done, and not answered
		b.fault([]kmsg.Key{kmsg.EndTxn, kmsg.Produce, kmsg.InitProducerID}[rng.IntN(3)], kerr.RequestTimedOut, 1+rng.IntN(3))
		return "answer lost"
	}
	keys := []kmsg.Key{kmsg.EndTxn, kmsg.Produce, kmsg.InitProducerID, kmsg.Fetch, kmsg.Metadata, kmsg.ListOffsets}
	errors := []*kerr.Error{kerr.UnknownServerError, kerr.NotLeaderForPartition, kerr.CoordinatorNotAvailable, kerr.NotEnoughReplicasAfterAppend}
	b.fault(keys[rng.IntN(len(keys))], errors[rng.IntN(len(errors))], 1+rng.IntN(5))
	return "request failed"
}

// fault has requests fail, but not those of whoever fills the topic.
func (b fakeBrokers) fault(key kmsg.Key, err *kerr.Error, count int) {
	f := kfake.Fault{Keys: []kmsg.Key{key}, Err: err, Count: count}
	if key == kmsg.Produce {
		f.Topic = "out"
	}
	b.Fault(f)
}

// realBroker is one of Apache Kafka.
type realBroker struct{ *kafkatest.Broker }

func (b realBroker) addresses() []string { return []string{b.Address} }

func (b realBroker) harm(rng *rand.Rand) string {
	b.Kill()
	time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
	b.Start()
	return "broker killed"
}

// carrier is a rig around an agent that carries records.
type carrier struct {
	*rig
	brokers brokers
	agent   *exec.Cmd
	count   int
}

// fill writes numbered records into the topic, at a rate, until all are there. It is somebody else's producer, who writes each once. done gets how it
// went, and is closed.
func (c *carrier) fill(ctx context.Context, rate int, done chan<- error) {
	defer close(done)
	client := kafkatest.Client(c.t, c.brokers.addresses(), kgo.DefaultProduceTopic("in"), kgo.MaxBufferedRecords(c.count))
	defer client.Close()
	var failed atomic.Pointer[error]
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for n := 0; n < c.count && ctx.Err() == nil; <-tick.C {
		for ; n < c.count && n < int(time.Since(begun).Seconds()*float64(rate)); n++ {
			number := strconv.Itoa(n)
			client.Produce(ctx, &kgo.Record{Key: []byte(number), Value: []byte(number)}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
	}
	err := client.Flush(ctx)
	if first := failed.Load(); first != nil {
		err = *first
	}
	done <- err
}

// kill ends the agent or one of its plugins, or has the brokers do something.
func (c *carrier) kill() string {
	c.t.Helper()
	switch c.rng.IntN(3) { // a plugin that breaks five times in a minute is held, unless the agent is started again
	case 0:
		if err := c.agent.Process.Kill(); err != nil {
			c.t.Fatal(err)
		}
		c.agent.Wait() //nolint:errcheck // it was killed
		time.Sleep(time.Duration(c.rng.IntN(150)) * time.Millisecond)
		c.agent = c.start()
		return "agent"
	case 1:
		return c.brokers.harm(c.rng)
	}
	children := served(c.agent.Process.Pid)
	for end := time.Now().Add(time.Minute); len(children) == 0; children = served(c.agent.Process.Pid) { // it has just been started
		if time.Now().After(end) {
			c.t.Fatalf("the agent has no child processes\n%s", &c.said)
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(children[c.rng.IntN(len(children))], syscall.SIGKILL) // it may have ended by itself
	return "plugin"
}

// arrived waits until so many records are committed in the topic, and returns them.
func (c *carrier) arrived() (all []*kgo.Record) {
	c.t.Helper()
	client := kafkatest.Client(c.t, c.brokers.addresses(), kgo.ConsumeTopics("out"), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	for n := 0; n < c.count; {
		n += client.PollFetches(ctx).NumRecords()
		if ctx.Err() != nil {
			c.t.Errorf("of %d records %d came (seed %d)\n%s\n%s", c.count, n, *seed, c.state(), &c.said)
			break
		}
	}
	time.Sleep(300 * time.Millisecond) // for what should not come
	c.terminate(c.agent, 0)
	return kafkatest.Read(c.t, c.brokers.addresses(), "out")
}

// carry kills at random while records are carried, and looks whether each is there once.
func carry(t *testing.T, what string, b brokers, rounds int) {
	begun := time.Now()
	c := &carrier{rig: newRig(t), brokers: b, count: recordsARound * rounds}
	kafkatest.CreateTopic(t, b.addresses(), "in", partitions)
	kafkatest.CreateTopic(t, b.addresses(), "out", partitions)
	text := strings.NewReplacer("DIR", c.dir, "BROKER", strings.Join(b.addresses(), `", "`)).Replace(kafkaText)
	if err := os.WriteFile(c.cfg, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	filled := make(chan error, 1)
	defer func() {
		cancel()
		<-filled
	}()
	go c.fill(ctx, recordsARound, filled)
	c.agent = c.start()
	harmed := map[string]int{}
	for range rounds {
		time.Sleep(200*time.Millisecond + time.Duration(c.rng.IntN(800))*time.Millisecond)
		harmed[c.kill()]++
	}
	if err := <-filled; err != nil {
		t.Fatalf("fill the topic: %v", err)
	}
	c.compare(c.arrived())
	t.Logf("%d records, %d rounds: %v", c.count, rounds, harmed)
	reliability.Report(t, reliability.Row{Part: reliability.Kill, What: what, Tried: rounds, Checked: c.count, Seed: *seed,
		Seconds: time.Since(begun).Seconds(), Note: "each record once in the topic; killed: " + strings.Trim(fmt.Sprint(harmed), "map[]")})
}

// compare looks whether each number is there once.
func (c *carrier) compare(all []*kgo.Record) {
	c.t.Helper()
	times := make([]int, c.count)
	for _, r := range all {
		n, err := strconv.Atoi(string(r.Value))
		if err != nil || n < 0 || n >= c.count || string(r.Key) != string(r.Value) {
			c.t.Fatalf("the record %q=%q was never written", r.Key, r.Value)
		}
		times[n]++
	}
	var lost, again []int
	for number, n := range times {
		switch {
		case n == 0:
			lost = append(lost, number)
		case n > 1:
			again = append(again, number)
		}
	}
	if len(lost)+len(again) > 0 {
		c.t.Errorf("of %d records %d are lost: %s; %d are there again: %s (seed %d)\n%s", c.count, len(lost), ranges(lost, 10), len(again), ranges(again, 10), *seed, &c.said)
	}
}

// TestKafkaHoldsEveryRecordOnce carries records from topic to topic over three connections, while the agent, its plugins and requests are killed.
func TestKafkaHoldsEveryRecordOnce(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	carry(t, "an agent and its plugins, with fake brokers of Kafka that fail", fakeBrokers{cluster}, min(*kills/2+1, mostFakeRounds))
}

// TestARealKafkaHoldsEveryRecordOnce does so with a broker of Apache Kafka, which is killed too.
func TestARealKafkaHoldsEveryRecordOnce(t *testing.T) {
	carry(t, "an agent, its plugins and a broker of Apache Kafka", realBroker{kafkatest.Start(t)}, min(*kills/2+1, mostRealRounds))
}
