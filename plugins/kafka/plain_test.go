// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/penstock-io/penstock/sdk/sdktest"
	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

func openPlain(t *testing.T, f *fake, more map[string]any) *sdktest.Sink {
	t.Helper()
	c := map[string]any{"topic": "out"}
	maps.Copy(c, more)
	s := sdktest.OpenSink(t, NewPlainSink, f.config(c))
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// attributed is an event with attributes, each "name=value".
func attributed(body string, attributes ...string) event.Event {
	e := event.Event{Time: 1_700_000_000_123_000_000, Body: []byte(body)}
	for _, a := range attributes {
		name, value, _ := strings.Cut(a, "=")
		e.Attributes = append(e.Attributes, event.Attribute{Key: name, Value: []byte(value)})
	}
	return e
}

func whatARecordOfAnEventIsLike(t *testing.T, newFake maker) {
	for name, c := range map[string]struct {
		config map[string]any
		want   string // key, value, headers
	}{
		"as it is":       {nil, `"" "b" []`},
		"a key":          {map[string]any{"key": "host"}, `"a" "b" []`},
		"a key it lacks": {map[string]any{"key": "none"}, `"" "b" []`},
		"headers":        {map[string]any{"headers": []string{"host", "kafka.header.*"}}, `"" "b" [host=a x=1 x=2]`},
		"all":            {map[string]any{"headers": []string{"*"}}, `"" "b" [host=a kafka.header.x=1 kafka.header.x=2]`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := openPlain(t, f, c.config)
			if err := s.Deliver(0, attributed("b", "host=a", "kafka.header.x=1", "kafka.header.x=2")); err != nil {
				t.Fatal(err)
			}
			r := f.read("out")[0]
			headers := []string{}
			for _, h := range r.Headers {
				headers = append(headers, h.Key+"="+string(h.Value))
			}
			if got := fmt.Sprintf("%q %q %v", r.Key, r.Value, headers); got != c.want || r.Timestamp.UnixMilli() != 1_700_000_000_123 {
				t.Errorf("got %s at %v, want %s", got, r.Timestamp, c.want)
			}
		})
	}
}

func tombstones(t *testing.T, newFake maker) {
	for tombstones, want := range map[bool]int{false: 0, true: 1} {
		f := newFake(t)
		s := openPlain(t, f, map[string]any{"tombstones": tombstones, "key": "kafka.key"})
		if err := s.Deliver(0, attributed("", "kafka.key=k", "kafka.tombstone=true"), attributed("", "kafka.key=k")); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, r := range f.read("out") {
			if r.Value == nil {
				n++
			}
		}
		if n != want {
			t.Errorf("tombstones = %v: %d values are missing", tombstones, n)
		}
	}
}

func TestEventsThatAreTooLarge(t *testing.T) {
	f := newFake(t)
	s := openPlain(t, f, map[string]any{"max_message": 2000})
	if err := s.Send("a", strings.Repeat("x", 2000), "b"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Rejected, []int{1}) || !strings.Contains(s.Reasons[0], "max_message is 2000") || values(f.read("out")) != "a,b" {
		t.Errorf("rejected %v %q, and %s is there", s.Rejected, s.Reasons, values(f.read("out")))
	}
}

func eventsThatTheBrokerRefuses(t *testing.T, newFake maker) {
	f := newFake(t)
	if err := f.createTopic("small", 1, map[string]string{"max.message.bytes": "1000"}); err != nil {
		t.Fatal(err)
	}
	s := openPlain(t, f, map[string]any{"topic": "small", "compression": "none"})
	if err := s.Send("a", strings.Repeat("x", 2000), "b"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Rejected, []int{1}) || !strings.Contains(s.Reasons[0], "MESSAGE_TOO_LARGE") || values(f.read("small")) != "a,b" {
		t.Errorf("rejected %v %q, and %s is there", s.Rejected, s.Reasons, values(f.read("small")))
	}
}

func TestErrorsHaveTheirClass(t *testing.T) {
	for name, c := range map[string]struct {
		err   *kerr.Error
		keys  []kmsg.Key
		code  abi.Code
		parts []string
	}{
		"a right is missing":     {kerr.TopicAuthorizationFailed, []kmsg.Key{kmsg.Produce}, abi.EINVAL, []string{"TOPIC_AUTHORIZATION_FAILED", "grant the user"}},
		"a policy":               {kerr.PolicyViolation, []kmsg.Key{kmsg.Produce}, abi.EINVAL, []string{"policy"}},
		"replicas are missing":   {kerr.NotEnoughReplicas, []kmsg.Key{kmsg.Produce}, abi.ETIMEOUT, []string{"took longer than 1s"}},
		"something else is up":   {kerr.UnknownServerError, []kmsg.Key{kmsg.Produce}, abi.EAGAIN, []string{"UNKNOWN_SERVER_ERROR"}},
		"a transaction is in it": {kerr.InvalidTxnState, []kmsg.Key{kmsg.Produce}, abi.EAGAIN, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			s := openPlain(t, f, map[string]any{"timeout": time.Second})
			h := f.Fault(kfake.Fault{Keys: c.keys, Err: c.err, Count: -1})
			expect(t, s.Send("a"), c.code, c.parts...)
			h.Remove()
			if err := s.Send("a"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func aTopicThatIsNotThere(t *testing.T, newFake maker) {
	f := newFake(t)
	s := sdktest.NewSink(t, NewPlainSink)
	s.Configure(f.config(map[string]any{"topic": "none"}))
	expect(t, s.Restart(), abi.EINVAL, "UNKNOWN_TOPIC_OR_PARTITION", "create the topic")
}

func TestBrokersThatAreNotThere(t *testing.T) {
	s := sdktest.NewSink(t, NewPlainSink)
	s.Configure(map[string]any{"brokers": []string{"127.0.0.1:1"}, "tls": "off", "topic": "out", "timeout": time.Second})
	expect(t, s.Restart(), abi.EIO, "connection refused", "127.0.0.1:1", "advertised.listeners")
}

func TestBrokersThatGoAndComeBack(t *testing.T) {
	f := newFake(t)
	s := openPlain(t, f, map[string]any{"timeout": time.Second})
	if err := s.Send("a"); err != nil {
		t.Fatal(err)
	}
	h := f.Fault(kfake.Fault{Err: kerr.BrokerNotAvailable, Count: -1})
	if err := s.Send("b"); err == nil {
		t.Fatal("it was taken by nobody")
	}
	h.Remove()
	if err := s.Send("b"); err != nil {
		t.Fatal(err)
	}
	if got := values(f.read("out")); got != "a,b" {
		t.Errorf("got %s", got)
	}
}

// certificate is a server's, for 127.0.0.1, and a file with who has signed it.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: server.TLS.Certificates}, file
}

func TestLogins(t *testing.T) {
	server, ca := certificate(t)
	for name, c := range map[string]struct {
		mechanism string
		more      map[string]any
		code      abi.Code // 0: it is let in
		parts     []string
	}{
		"scram":            {"SCRAM-SHA-512", map[string]any{"sasl": "scram-sha-512"}, 0, nil},
		"scram 256":        {"SCRAM-SHA-256", map[string]any{"sasl": "scram-sha-256"}, 0, nil},
		"plain":            {"PLAIN", map[string]any{"sasl": "plain"}, 0, nil},
		"a wrong password": {"SCRAM-SHA-512", map[string]any{"sasl": "scram-sha-512", "password": "wrong"}, abi.EIO, []string{"hangs up", "password"}},
		"another way":      {"SCRAM-SHA-512", map[string]any{"sasl": "plain"}, abi.EIO, []string{"hangs up", "sasl"}},
		"nobody knows who": {"PLAIN", map[string]any{"sasl": "plain", "tls_ca": ""}, abi.EINVAL, []string{"tls_ca"}},
		"no TLS":           {"PLAIN", map[string]any{"sasl": "scram-sha-512", "tls": "off"}, abi.EIO, []string{"hangs up", "TLS"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t, kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser(c.mechanism, "me", "secret"))
			config := map[string]any{"topic": "out", "brokers": f.ListenAddrs(), "tls": "verify", "tls_ca": ca, "user": "me", "password": "secret", "timeout": 2 * time.Second}
			maps.Copy(config, c.more)
			s := sdktest.NewSink(t, NewPlainSink)
			s.Configure(config)
			err := s.Restart()
			if c.code != 0 {
				expect(t, err, c.code, c.parts...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Send("a"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestWrongConfigs(t *testing.T) {
	for text, more := range map[string]map[string]any{
		"brokers": {"brokers": []string{"nobody"}},
		"headers": {"headers": []string{"a*b"}},
		"topic":   {"topic": "a b"},
		"sasl":    {"sasl": "plain", "user": "me", "tls": "off"},
		"user":    {"sasl": "plain"},
	} {
		c := map[string]any{"brokers": []string{"a:1"}, "topic": "out"}
		maps.Copy(c, more)
		s := sdktest.NewSink(t, NewPlainSink)
		s.Configure(c)
		expect(t, s.Restart(), abi.EINVAL)
		_ = text
	}
}
