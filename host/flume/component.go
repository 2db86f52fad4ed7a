// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// component is a part with its properties, each of which must be taken, or explained, or become a note.
type component struct {
	*Part
	prefix string            // of its keys in the file: "a1.sources.r1."
	keys   []string          // without the prefix, in the order of the file
	values map[string]string // by key
	taken  map[string]bool
}

// has says whether the property is set to something.
func (c *component) has(key string) bool { return c.values[key] != "" }

// take returns the property, or usual where it is not set, and remembers that it was looked at.
func (c *component) take(key, usual string) string {
	c.taken[key] = true
	if v, ok := c.values[key]; ok {
		return v
	}
	return usual
}

// words takes a list.
func (c *component) words(key string) []string { return strings.Fields(c.take(key, "")) }

// flag takes a boolean as Java reads it: what is not "true" is false.
func (c *component) flag(key string, usual bool) bool {
	return strings.EqualFold(c.take(key, strconv.FormatBool(usual)), "true")
}

// number takes an integer of 0 to most. What is none, or beyond, gets a note, and ok is false then and where it is not set.
func (c *component) number(key string, most int64) (n int64, ok bool) {
	v := c.take(key, "")
	if v == "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 || n > most {
		what := "this is no number"
		if err == nil {
			what = fmt.Sprintf("this is no number from 0 to %d", most)
		}
		c.note(Missing, key, what+"; write the one that is meant")
		return 0, false
	}
	return n, true
}

// bytes takes a number of bytes, between what a penstock argument bears; beyond it is moved to the bound, with a note.
func (c *component) bytes(key string, least, most int64) (size string, ok bool) {
	n, ok := c.number(key, math.MaxInt64)
	if !ok {
		return "", false
	}
	if bounded := min(max(n, least), most); bounded != n {
		c.note(Differs, key, fmt.Sprintf("%s is the nearest that there is", sizeText(bounded)))
		n = bounded
	}
	return sizeText(n), true
}

// sizeText writes bytes as a pipeline file has them.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for n >= 1024 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// note remembers a remark; key is the property that it is about, or "".
func (c *component) note(s Status, key, text string) {
	n := Note{Text: text, Status: s}
	if key != "" {
		c.taken[key] = true
		n.Property = key
		if v, ok := c.values[key]; ok && hides(key) {
			n.Property += " = (not shown)"
		} else if ok {
			n.Property += " = " + strings.Join(strings.Fields(v), " ")
		}
	}
	c.Notes = append(c.Notes, n)
	if s == Missing || s == Differs && c.Status == Converted {
		c.Status = s
	}
}

// hides says whether a property may hold something that must not stand in a comment.
func hides(key string) bool {
	key = strings.ToLower(key)
	return slices.ContainsFunc([]string{"pass", "jaas", "secret", "token"}, func(word string) bool { return strings.Contains(key, word) })
}

// noteEach gives all properties that begin with prefix one note.
func (c *component) noteEach(s Status, prefix, text string) {
	var found []string
	for _, key := range c.keys {
		if strings.HasPrefix(key, prefix) && !c.taken[key] {
			found = append(found, key)
			c.taken[key] = true
		}
	}
	if len(found) > 0 {
		c.note(s, "", strings.Join(found, ", ")+": "+text)
	}
}

// needless says of properties of which nothing is to be kept why that is.
func (c *component) needless(why map[string]string) {
	for _, key := range c.keys {
		if text, ok := why[key]; ok && !c.taken[key] {
			c.note(Converted, key, text)
		}
	}
}

// rest turns what nobody has looked at into notes. Lookups of Flume are no text of ours.
func (c *component) rest() {
	for _, key := range c.keys {
		switch {
		case !c.taken[key]:
			c.note(Missing, key, "there is no equivalent")
		case strings.Contains(c.values[key], "${"):
			c.note(Missing, key, "Flume put another value in the place of ${…}; write it out, or take a secret block where the argument allows it")
		}
	}
}

// under returns what follows the prefix in keys, each once.
func (c *component) under(prefix string) []string {
	var names []string
	for _, key := range c.keys {
		if rest, ok := strings.CutPrefix(key, prefix); ok && !slices.Contains(names, rest) {
			names = append(names, rest)
		}
	}
	return names
}

// aliases are the classes that Flume's short names stand for, as far as one may write them instead.
var aliases = map[string]string{
	"org.apache.flume.source.AvroSource": "avro", "org.apache.flume.source.ThriftSource": "thrift", "org.apache.flume.source.ExecSource": "exec",
	"org.apache.flume.source.jms.JMSSource": "jms", "org.apache.flume.source.SpoolDirectorySource": "spooldir", "org.apache.flume.source.NetcatSource": "netcat",
	"org.apache.flume.source.NetcatUdpSource": "netcatudp", "org.apache.flume.source.SequenceGeneratorSource": "seq", "org.apache.flume.source.SyslogTcpSource": "syslogtcp",
	"org.apache.flume.source.MultiportSyslogTCPSource": "multiport_syslogtcp", "org.apache.flume.source.SyslogUDPSource": "syslogudp",
	"org.apache.flume.source.http.HTTPSource": "http", "org.apache.flume.source.StressSource": "stress", "org.apache.flume.source.taildir.TaildirSource": "taildir",
	"org.apache.flume.source.kafka.KafkaSource": "kafka", "org.apache.flume.sink.kafka.KafkaSink": "kafka", "org.apache.flume.channel.kafka.KafkaChannel": "kafka",
	"org.apache.flume.channel.MemoryChannel": "memory", "org.apache.flume.channel.file.FileChannel": "file", "org.apache.flume.channel.jdbc.JdbcChannel": "jdbc",
	"org.apache.flume.channel.SpillableMemoryChannel": "spillablememory", "org.apache.flume.channel.PseudoTxnMemoryChannel": "memory",
	"org.apache.flume.sink.NullSink": "null", "org.apache.flume.sink.LoggerSink": "logger", "org.apache.flume.sink.AvroSink": "avro",
	"org.apache.flume.sink.ThriftSink": "thrift", "org.apache.flume.sink.hdfs.HDFSEventSink": "hdfs", "org.apache.flume.sink.hbase.HBaseSink": "hbase",
	"org.apache.flume.sink.hbase2.HBase2Sink": "hbase2", "org.apache.flume.sink.hbase.AsyncHBaseSink": "asynchbase", "org.apache.flume.sink.RollingFileSink": "file_roll",
	"org.apache.flume.sink.elasticsearch.ElasticSearchSink": "elasticsearch", "org.apache.flume.sink.solr.morphline.MorphlineSolrSink": "morphline_solr",
	"org.apache.flume.sink.http.HttpSink": "http", "org.apache.flume.sink.hive.HiveSink": "hive", "org.apache.flume.sink.irc.IRCSink": "irc",
	"org.apache.flume.interceptor.TimestampInterceptor$Builder": "timestamp", "org.apache.flume.interceptor.HostInterceptor$Builder": "host",
	"org.apache.flume.interceptor.StaticInterceptor$Builder": "static", "org.apache.flume.interceptor.RegexFilteringInterceptor$Builder": "regex_filter",
	"org.apache.flume.interceptor.RegexExtractorInterceptor$Builder": "regex_extractor", "org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder": "search_replace",
	"org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder": "remove_header", "org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder": "uuid",
}

// shortType is a type as the tables here have it.
func shortType(t string) string {
	if short, ok := aliases[t]; ok {
		return short
	}
	if strings.Contains(t, ".") {
		return t // a class of one's own: case counts
	}
	return strings.ToLower(t)
}
