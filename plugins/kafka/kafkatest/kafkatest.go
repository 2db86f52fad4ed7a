// SPDX-License-Identifier: Apache-2.0

// Package kafkatest runs a broker of Apache Kafka for a test: the real one, alone, in a directory that goes away with the test.
//
// It needs a Java of version 17 or later, and the broker's jars in [Libraries], where
//
//	mvn -f .ci/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=/usr/local/lib/penstock/kafka
//
// puts them. The broker listens on 127.0.0.1. It can be stopped, killed as a machine that fails would kill it, and started again
// over the same data.
package kafkatest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/penstock-io/penstock/host/address/addresstest"
)

const (
	// Libraries is where the broker's jars are, unless the environment variable PENSTOCK_KAFKA names another directory.
	Libraries = "/usr/local/lib/penstock/kafka"
	// User may log in with Password at [Broker.Login], by SCRAM-SHA-512.
	User, Password = "penstock", "secret"
	// startTimeout is how long a broker may take to be there, also after a crash, on a machine that does other things.
	startTimeout = 90 * time.Second
)

// Broker is a running broker.
type Broker struct {
	// Address takes whoever comes, Login whoever logs in.
	Address, Login string

	t         testing.TB
	dir, jars string
	cmd       *exec.Cmd
	ended     chan struct{} // closed when cmd has ended
}

// Start makes a broker and starts it. Without Java or the jars the test is skipped; with CI=true it fails.
func Start(t testing.TB, settings ...string) *Broker {
	t.Helper()
	b := &Broker{t: t, dir: t.TempDir(), jars: libraries(t)}
	at := func() string { return fmt.Sprint("127.0.0.1:", addresstest.FreePort(t)) }
	b.Address, b.Login = at(), at()
	controller := at()
	all := append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.listener.names=CONTROLLER", "controller.quorum.bootstrap.servers=" + controller,
		"listeners=PLAINTEXT://" + b.Address + ",LOGIN://" + b.Login + ",CONTROLLER://" + controller,
		"advertised.listeners=PLAINTEXT://" + b.Address + ",LOGIN://" + b.Login,
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT", "sasl.enabled.mechanisms=SCRAM-SHA-512",
		"listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"log.dirs=" + filepath.Join(b.dir, "data"), "auto.create.topics.enable=false", "default.replication.factor=1", "num.partitions=1",
		"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=1", "transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=2",
		// One that was killed is there again at once, and not when it is noticed that it has gone.
		"broker.heartbeat.interval.ms=500", "broker.session.timeout.ms=3000", "controller.quorum.election.timeout.ms=500", "controller.quorum.fetch.timeout.ms=1000",
	}, settings...)
	if err := os.WriteFile(b.config(), []byte(strings.Join(all, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	format := b.prepare("kafka.tools.StorageTool", "format", "--standalone", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", b.config(),
		"--add-scram", "SCRAM-SHA-512=[name="+User+",password="+Password+"]")
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format the broker's storage: %v\n%s", err, out)
	}
	t.Cleanup(b.Kill)
	b.Start()
	return b
}

func (b *Broker) config() string { return filepath.Join(b.dir, "server.properties") }
func (b *Broker) log() string    { return filepath.Join(b.dir, "log") }

// libraries finds the jars.
func libraries(t testing.TB) string {
	t.Helper()
	dir := Libraries
	if other := os.Getenv("PENSTOCK_KAFKA"); other != "" {
		dir = other
	}
	jars, _ := filepath.Glob(filepath.Join(dir, "kafka_*.jar")) // a pattern of our own is not malformed
	_, err := exec.LookPath("java")
	if len(jars) > 0 && err == nil {
		return dir
	}
	const lacks = "there is no broker of Apache Kafka on this machine: it needs java, and its jars in %s, where\n" +
		"mvn -f .ci/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=%s puts them"
	if os.Getenv("CI") == "true" {
		t.Fatalf(lacks, dir, dir)
	}
	t.Skipf(lacks, dir, dir)
	return ""
}

func (b *Broker) prepare(class string, args ...string) *exec.Cmd {
	// What starts fast, rather than what is fast after a minute.
	java := []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(b.jars, "*"), class}
	cmd := exec.Command("java", append(java, args...)...)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = new(syscall.SysProcAttr)
	return cmd
}

// Start starts the broker again after Stop or Kill, and waits until it answers.
func (b *Broker) Start() {
	b.t.Helper()
	log, err := os.OpenFile(b.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	b.launch(log)
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if b.answers() {
			return
		}
		select {
		case <-b.ended:
			end = time.Now()
		default:
		}
	}
	text, _ := os.ReadFile(b.log())
	b.t.Fatalf("the broker does not start:\n%s", text)
}

// launch starts the process from a thread of its own, with which it ends should the test be killed.
func (b *Broker) launch(log *os.File) {
	cmd := b.prepare("kafka.Kafka", b.config())
	cmd.Stdout, cmd.Stderr = log, log
	endWithParent(cmd.SysProcAttr)
	ended, started := make(chan struct{}), make(chan error, 1)
	go func() { // until the process has ended, which Kill sees to
		runtime.LockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends is the test's doing
		}
	}()
	if err := <-started; err != nil {
		b.t.Fatalf("start the broker: %v", err)
	}
	b.cmd, b.ended = cmd, ended
}

// answers says whether the broker says that it is there.
func (b *Broker) answers() bool {
	conn, err := net.DialTimeout("tcp", b.Address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close() // it was but a knock
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address), kgo.RequestRetries(0), kgo.DisableClientMetrics())
	if err != nil {
		return false
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return client.Ping(ctx) == nil && len(client.DiscoveredBrokers()) > 0
}

// Kill ends the broker as kill -9 does.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Stop ends the broker in order.
func (b *Broker) Stop() { b.end(syscall.SIGTERM) }

func (b *Broker) end(how syscall.Signal) {
	if b.cmd != nil {
		_ = b.cmd.Process.Signal(how) // it may have ended by itself
		<-b.ended
		b.cmd = nil
	}
}
