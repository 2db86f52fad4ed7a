// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"math"
	"net"
	"strings"
)

// needlessOfListeners are those that no other kind of source has.
var needlessOfListeners = map[string]string{
	"threads": "not needed", "keep-alive": "not needed", "connectionTimeout": "not needed",
}

// listen is the address of a source: its host under the first of the keys that is set.
func (s *source) listen(scheme, port string, hosts ...string) string {
	host := "0.0.0.0"
	for _, key := range hosts {
		if v := s.take(key, ""); v != "" {
			host = v
		}
	}
	if port == "" {
		s.note(Missing, "port", "write the port to listen on into listen")
		port = "0"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// overTLS adds a block of certificates where Flume had a key store.
func (k *conversion) overTLS(s *source, keys ...string) (scheme string) {
	on := false
	for _, key := range keys {
		on = s.flag(key, false) || on
	}
	if !on {
		return "tcp"
	}
	name := k.name("tls", s.Name)
	b := &block{kind: "tls", labels: []string{name}}
	b.set("cert", "/etc/penstock/tls/"+name+".pem")
	b.set("key", "/etc/penstock/tls/"+name+".key")
	k.shared = append(k.shared, b)
	s.note(Differs, "", fmt.Sprintf("the certificate comes from the PEM files of tls.%s. Out of the key store they are got with: keytool -importkeystore -srckeystore STORE "+
		"-destkeystore s.p12 -deststoretype PKCS12; openssl pkcs12 -in s.p12 -nodes", name))
	for _, prefix := range []string{"keystore", "ssl", "exclude-", "excl", "include", "SSL"} {
		s.noteEach(Converted, prefix, "not needed: the tls block says it")
	}
	return "tls"
}

func (s *source) secured(b *block, scheme string, k *conversion) {
	if scheme == "tls" {
		b.refer("tls", "tls."+k.name("tls", s.Name))
	}
}

func (k *conversion) netcat(s *source) {
	scheme, plugin := k.overTLS(s, "ssl"), "tcp"
	if s.Type == "netcatudp" {
		scheme, plugin = "udp", "udp"
	}
	b := k.add(s, plugin, "")
	s.secured(b, scheme, k)
	b.config("listen", s.listen(scheme, s.take("port", ""), "bind"))
	if size, ok := s.bytes("max-line-length", 16, 4<<20); ok && plugin == "tcp" {
		b.config("max_line", size)
	}
	if plugin == "tcp" && s.flag("ack-every-event", true) {
		s.note(Differs, "ack-every-event", "lines are not answered with OK. Senders that wait for an answer use a source \"http\"")
	}
	if enc := s.take("encoding", "utf-8"); !strings.EqualFold(enc, "utf-8") {
		s.note(Differs, "encoding", "bodies are the bytes that came")
	}
	k.peerHeader(s, plugin+".peer")
	s.needless(needlessOfListeners)
}

// peerHeader gives the attribute of the sender Flume's name.
func (k *conversion) peerHeader(s *source, ours string) {
	for _, key := range []string{"remoteAddressHeader", "clientIPHeader"} {
		if to := s.take(key, ""); to != "" {
			s.through = append(s.through, k.processor(s, "set", "peer").with("rename", map[string]string{ours: to}))
			s.note(Differs, key, "the attribute has the port too")
		}
	}
	if s.has("clientHostnameHeader") {
		s.note(Missing, "clientHostnameHeader", "names of senders are not looked up; "+ours+" has the address")
	}
}

func (k *conversion) syslog(s *source) {
	scheme := k.overTLS(s, "ssl")
	ports := []string{s.take("port", "")}
	switch s.Type {
	case "syslogudp":
		scheme = "udp"
	case "multiport_syslogtcp":
		ports = s.words("ports")
	}
	size, sized := s.bytes("eventSize", 480, 1<<20)
	whole := false
	switch keep := strings.ToLower(s.take("keepFields", "none")); keep {
	case "all", "true":
		whole = true
	case "none", "false":
	default:
		s.note(Missing, "keepFields", "the body is the text after the header, or with body = \"message\" all of it; the fields are attributes in any case")
	}
	for _, port := range ports {
		suffix := port
		if len(ports) == 1 {
			suffix = ""
		}
		b := k.add(s, "syslog", suffix)
		s.secured(b, scheme, k)
		b.config("listen", s.listen(scheme, port, "host", "bind"))
		if sized {
			b.config("max_message", size)
		}
		if whole {
			b.config("body", "message")
		}
	}
	s.note(Differs, "", "facility, severity and host are the attributes syslog.facility and syslog.severity, by name, and syslog.host. The time is that of the event")
	for _, key := range []string{"charset.default"} {
		if cs := s.take(key, "UTF-8"); !strings.EqualFold(cs, "UTF-8") {
			s.note(Differs, key, "bodies are the bytes that came")
		}
	}
	s.noteEach(Converted, "charset.port.", "not needed: bodies are the bytes that came")
	if s.has("portHeader") {
		s.note(Missing, "portHeader", "a processor \"set\" for each source, with add = { … }, says which it was")
	}
	k.peerHeader(s, "syslog.peer")
	s.needless(needlessOfListeners)
}

func (k *conversion) http(s *source) {
	scheme := k.overTLS(s, "enableSSL", "ssl")
	b := k.add(s, "http", "")
	s.secured(b, scheme, k)
	b.config("listen", s.listen(scheme, s.take("port", ""), "bind"))
	handler := s.take("handler", "org.apache.flume.source.http.JSONHandler")
	switch handler[strings.LastIndexByte(handler, '.')+1:] {
	case "JSONHandler":
		b.config("format", "json")
		s.note(Differs, "handler", "each element of the array is an event, and its body is that JSON as it came, with \"headers\" and \"body\" in it. "+
			"A processor \"json\" makes attributes of some: fields = { host = \"headers.host\" }")
	case "BlobHandler":
		b.config("format", "raw")
		s.note(Differs, "handler", "parameters of the URL are not attributes; the argument headers names headers that are")
	default:
		s.note(Missing, "handler", "see the argument format for what bodies may be; another form needs a plugin of your own (penstock plugin new)")
	}
	s.noteEach(Converted, "handler.", "not needed: bodies have 1MiB at most, and limits { serve { body } } of a plugin block says otherwise")
	s.needless(needlessOfListeners)
}

// generate stands for the sources that make events for tests.
func (k *conversion) generate(s *source) {
	b := k.add(s, "generate", "")
	for _, key := range []string{"totalEvents", "maxTotalEvents", "maxEventsPerSecond"} {
		to := map[string]string{"totalEvents": "count", "maxTotalEvents": "count", "maxEventsPerSecond": "rate"}[key]
		if s.values[key] == "-1" { // no bound
			s.taken[key] = true
		} else if n, ok := s.number(key, math.MaxInt64); ok && n > 0 && n != math.MaxInt64 {
			b.config(to, n)
		}
	}
	if size, ok := s.bytes("size", 32, 1<<20); ok && s.Type == "stress" {
		b.config("size", size)
	}
	s.note(Differs, "", "a body is a log line with the number at its end")
}
