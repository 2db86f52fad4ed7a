// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"slices"
	"strings"
)

// mostBrokers is how many a plugin for Kafka is told of; they tell of the others.
const mostBrokers = 5

var needlessOfKafka = map[string]string{
	"batchSize": perCommit, "batchDurationMillis": perCommit,
	"kafka.consumer.enable.auto.commit": "not needed: how far was read is kept with the events",
	"kafka.producer.acks":               "not needed: a delivery is done when all replicas that are in sync have it",
	"kafka.producer.linger.ms":          "not needed: the block batch says how long is gathered",
	"kafka.producer.batch.size":         "not needed: the block batch says how much is gathered",
	"kafka.producer.retries":            "not needed: what was not taken comes again, for ever",
}

func (k *conversion) kafkaSource(s *source) {
	b := k.add(s, "kafka", "")
	k.brokers(s.component, b, "kafka.consumer.")
	if topics := commas(s.take("kafka.topics", "")); len(topics) > 0 {
		b.config("topics", topics)
	} else {
		b.config("topics", []string{})
		s.note(Missing, "kafka.topics.regex", "topics are named one by one: write them into topics")
	}
	switch reset := strings.ToLower(s.take("kafka.consumer.auto.offset.reset", "")); reset {
	case "latest":
		b.config("start", "newest")
	case "earliest":
		b.config("start", "oldest")
	}
	if group := s.take("kafka.consumer.group.id", ""); group != "" {
		b.config("group", group)
	}
	s.note(Differs, "kafka.consumer.group.id", "how far was read is kept with the events; a group is told of it, and nothing is read from it. So a topic is read from where start says")
	if level := strings.ToLower(s.take("kafka.consumer.isolation.level", "")); level == "read_uncommitted" {
		b.config("isolation", level)
	}
	k.flumeFormat(s.component)
	rename := map[string]string{"kafka.partition": "partition", "kafka.offset": "offset", "kafka.key": "key"}
	topic := s.take("topicHeader", "topic")
	if s.flag("setTopicHeader", true) {
		rename["kafka.topic"] = topic
	}
	s.through = append(s.through, k.processor(s, "set", "headers").with("rename", rename))
	s.needless(needlessOfKafka)
}

func (k *conversion) kafkaSink(s *sink) {
	b := k.addSink(s, "kafka_plain")
	if n, ok := s.number("flumeBatchSize", 1<<20); ok && n > 0 {
		b.within("batch").set("events", n)
	}
	k.brokers(s.component, b, "kafka.producer.")
	b.config("topic", s.take("kafka.topic", "default-flume-topic"))
	b.config("key", "key")
	b.config("compression", strings.ToLower(s.take("kafka.producer.compression.type", "none")))
	s.note(Differs, "type", "as before, a batch may be written again after a lost answer; a sink \"kafka\" in its place writes each event once, in transactions")
	if s.flag("allowTopicOverride", true) {
		s.note(Differs, "allowTopicOverride", fmt.Sprintf("the attribute %q of an event chooses no other topic", s.take("topicHeader", "topic")))
	}
	s.take("topicHeader", "")
	k.flumeFormat(s.component)
	s.needless(needlessOfKafka)
}

// flumeFormat refuses the envelope of Avro that Flume may put around events.
func (k *conversion) flumeFormat(c *component) {
	if c.flag("useFlumeEventFormat", false) {
		c.note(Missing, "useFlumeEventFormat", "messages are bodies, and headers are attributes; Avro needs a plugin of your own (penstock plugin new --kind processor)")
	}
}

// brokers is whom to ask, and how to log in.
func (k *conversion) brokers(c *component, b *block, prefix string) {
	servers := commas(c.take("kafka.bootstrap.servers", ""))
	if len(servers) > mostBrokers {
		c.note(Converted, "kafka.bootstrap.servers", "the first of them; they tell of the others")
		servers = servers[:mostBrokers]
	}
	if len(servers) == 0 {
		c.note(Missing, "kafka.bootstrap.servers", "write the brokers, as HOST:PORT")
	}
	b.config("brokers", servers)
	protocol := strings.ToUpper(c.take(prefix+"security.protocol", "PLAINTEXT"))
	if !strings.HasSuffix(protocol, "SSL") {
		b.config("tls", "off")
	} else {
		c.noteEach(Differs, prefix+"ssl.", "certificates are PEM files: tls_ca for those who sign the brokers', tls_cert and tls_key for one's own")
	}
	if !strings.HasPrefix(protocol, "SASL") {
		return
	}
	mechanism := strings.ToLower(c.take(prefix+"sasl.mechanism", "gssapi"))
	if !slices.Contains([]string{"plain", "scram-sha-256", "scram-sha-512"}, mechanism) {
		c.note(Missing, prefix+"sasl.mechanism", "there are plain, scram-sha-256 and scram-sha-512")
		return
	}
	b.config("sasl", mechanism)
	c.note(Missing, prefix+"sasl.jaas.config", "write the user into user, and the password into a file: secret \"kafka\" { from = \"file:/etc/penstock/kafka\" }, password = secret.kafka")
}

// commas are the parts of a list with commas.
func commas(list string) (parts []string) {
	for part := range strings.SplitSeq(list, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
