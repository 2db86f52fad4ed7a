// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"strconv"
	"strings"
)

// sink is one of Flume's.
type sink struct {
	*component
	channel string // as Flume names it
	blocks  []*block
}

// sinkKinds make the block of a sink; none is made where there is no equivalent.
var sinkKinds = map[string]func(*conversion, *sink){
	"logger": (*conversion).logger, "file_roll": (*conversion).fileRoll, "null": (*conversion).null, "http": (*conversion).httpSink,
	"kafka": (*conversion).kafkaSink,
}

const toConverted = "The agent that it sends to, once converted too, takes a hop, each event once: sink \"hop\" with config { address = \"tls://HOST:PORT\" } and a tls block here, " +
	"source \"hop\" there (examples/hop). An agent of Flume does not."

// sinkAdvice is what to do about those that have none.
var sinkAdvice = map[string]string{
	"avro":   toConverted,
	"thrift": toConverted,
	"hdfs": "Write files with a sink \"file\" (rotate_size, rotate_every), and have them copied to HDFS when they are finished; or send to the WebHDFS or HttpFS gateway with a plugin of your own " +
		"(penstock plugin new --kind sink).",
	"hive":           "A sink \"http\" to a gateway, or a plugin of your own (penstock plugin new --kind sink).",
	"hbase":          "A plugin of your own to the REST gateway of HBase (penstock plugin new --kind sink).",
	"hbase2":         "A plugin of your own to the REST gateway of HBase (penstock plugin new --kind sink).",
	"asynchbase":     "A plugin of your own to the REST gateway of HBase (penstock plugin new --kind sink).",
	"elasticsearch":  "A sink \"http\" to something that takes NDJSON, such as an ingest service, or a plugin of your own for the _bulk API, which has a line before each event.",
	"morphline_solr": "A processor and a sink of your own (penstock plugin new).",
	"irc":            "A plugin of your own (penstock plugin new --kind sink).",
}

var needlessOfSinks = map[string]string{
	"maxBytesToLog": "not needed: all of a body is printed", "defaultRollback": "not needed: what was not taken comes again",
	"defaultBackoff":          "not needed: the pause grows from retry { min } to retry { max }",
	"defaultIncrementMetrics": "not needed: penstock_sink_events_total counts by result",
}

func (k *conversion) sink(c *component) *sink {
	s := &sink{component: c, channel: c.take("channel", "")}
	if convert, ok := sinkKinds[c.Type]; ok {
		convert(k, s)
		c.needless(needlessOfSinks)
		c.rest()
	} else {
		missing(c, or(sinkAdvice[c.Type], ownPlugin))
	}
	return s
}

// add begins the block. The channel is set when it is known which stands for Flume's.
func (k *conversion) addSink(s *sink, plugin string) *block {
	b := k.block(s.component, "sink", plugin, s.Name)
	s.blocks = append(s.blocks, b)
	for _, key := range []string{"batchSize", "sink.batchSize", "batch-size"} {
		if n, ok := s.number(key, 1<<20); ok && n > 0 {
			b.within("batch").set("events", n)
		}
	}
	return b
}

func (k *conversion) logger(s *sink) {
	k.addSink(s, "stdout").config("format", "json")
	s.note(Differs, "type", "events are printed to the standard output of the agent, whole, with their attributes, as lines of JSON")
}

func (k *conversion) null(s *sink) { k.addSink(s, "discard") }

func (k *conversion) fileRoll(s *sink) {
	b := k.addSink(s, "file")
	name := s.Name
	if prefix := s.take("sink.pathManager.prefix", ""); prefix != "" {
		name = strings.TrimRight(prefix, "-_.")
	}
	extension := s.take("sink.pathManager.extension", "log")
	s.take("sink.pathManager", "")
	path := strings.TrimRight(s.take("sink.directory", ""), "/") + "/" + name + "." + extension
	b.config("path", path)
	if seconds, ok := s.number("sink.rollInterval", 1<<31); !ok {
		b.config("rotate_every", "30s") // Flume's default
	} else if seconds > 0 {
		b.config("rotate_every", strconv.FormatInt(seconds, 10)+"s")
	}
	s.note(Differs, "sink.directory", fmt.Sprintf("what is being written is %s, and finished files are %s.1, %s.2, …, empty ones never", path, path, path))
	switch serializer := strings.ToLower(s.take("sink.serializer", "text")); serializer {
	case "text":
		if !s.flag("sink.serializer.appendNewline", true) {
			s.note(Missing, "sink.serializer.appendNewline", "a newline is written after each body")
		}
	case "header_and_text":
		b.config("format", "json")
		s.note(Differs, "sink.serializer", "the line is an object of JSON with time, attributes and body")
		s.take("sink.serializer.appendNewline", "")
	default:
		s.note(Missing, "sink.serializer", "there is format = \"raw\", the body and a newline, and \"json\"")
		s.noteEach(Converted, "sink.serializer.", "of that serializer")
	}
}

func (k *conversion) httpSink(s *sink) {
	b := k.addSink(s, "http")
	if batch := b.within("batch"); len(batch.args) == 0 {
		batch.set("events", int64(1))
	}
	b.config("url", s.take("endpoint", ""))
	b.config("format", "raw")
	s.note(Differs, "type", "one event is one request, as it was; batch { events } and format = \"ndjson\" put many into one, which is much faster. A newline follows the body")
	headers := map[string]string{}
	if v := s.take("contentTypeHeader", ""); v != "" {
		headers["content-type"] = v
	}
	if v := s.take("acceptHeader", ""); v != "" {
		headers["accept"] = v
	}
	if len(headers) > 0 {
		b.config("headers", headers)
	}
	connect, _ := s.number("connectTimeout", 300_000)
	request, _ := s.number("requestTimeout", 300_000)
	if ms := connect + request; ms > 0 {
		b.config("timeout", strconv.FormatInt(max(ms, 100), 10)+"ms")
	}
	for _, prefix := range []string{"backoff.", "rollback.", "incrementMetrics."} {
		s.noteEach(Differs, prefix, "the status says what becomes of events: 2xx they are taken; 408, 425, 429 and 5xx they come again; other 4xx they are rejected, and go to the dead_letter channel")
	}
}
