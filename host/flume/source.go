// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"slices"
	"strings"
)

// source is one of Flume's, the blocks that stand for it, and where its events go.
type source struct {
	*component
	blocks       []*block
	first        map[*block][]string // processors of one block alone, before the others
	interceptors []unit
	through      []string // what all its blocks go through
	into         []string // channels, as Flume names them; optional ones too
	optional     []string
	choice       *choice    // it puts an event into some channels only
	route        *block     // that deals them, or nil
	whole        []*channel // of a choice that a route makes: those that became one
	again        bool       // what it reads may be read twice, by two sources
}

// sourceKinds make the blocks of a source; none is made where there is no equivalent.
var sourceKinds = map[string]func(*conversion, *source){
	"exec": (*conversion).exec, "spooldir": (*conversion).spooldir, "taildir": (*conversion).taildir,
	"syslogtcp": (*conversion).syslog, "syslogudp": (*conversion).syslog, "multiport_syslogtcp": (*conversion).syslog,
	"netcat": (*conversion).netcat, "netcatudp": (*conversion).netcat, "http": (*conversion).http,
	"kafka": (*conversion).kafkaSource, "seq": (*conversion).generate, "stress": (*conversion).generate,
}

const fromConverted = "An agent, once converted too, sends with a sink \"hop\" to a source \"hop\" here, each event once (examples/hop). " +
	"An application sends HTTP to a source \"http\", which answers when the events are on disk, or lines to a source \"tcp\"."

// sourceAdvice is what to do about those that have none.
var sourceAdvice = map[string]string{
	"avro":   "Who sends Avro RPC cannot send here. " + fromConverted,
	"thrift": "Who sends Thrift RPC cannot send here. " + fromConverted,
	"jms":    "A plugin of your own can be one (penstock plugin new), or a small program that reads the queue and sends HTTP to a source \"http\".",
	"scribe": "Have the senders send HTTP to a source \"http\", or lines to a source \"tcp\".",
}

const ownPlugin = "A plugin of your own can take its place: penstock plugin new."

// perCommit says so of what bounds the transactions of a source.
const perCommit = "not needed: what is read at a time is one transaction"

var needlessOfSources = map[string]string{
	"batchSize": perCommit, "batchsize": perCommit, "batchTimeout": perCommit, "maxBatchCount": perCommit,
	"maxBackoffSleep": "not needed", "backoffSleepIncrement": "not needed", "maxBackoff": "not needed: a source waits until there is room",
	"idleTimeout": "not needed", "writePosInterval": "not needed: the position is in the record of the events", "cachePatternMatching": "not needed",
	"trackerDir": "not needed: what was read is kept with the events", "trackingPolicy": "not needed: what was read is kept with the events",
	"restart": "not needed: the file is read by the agent itself", "restartThrottle": "not needed: the file is read by the agent itself",
	"logStdErr": "not needed: the file is read by the agent itself", "shell": "not needed: the file is read by the agent itself",
	"readBufferSize": "not needed", "numProcessors": "not needed", "decodeErrorPolicy": "not needed: bodies are bytes, and stay as they are",
}

func (k *conversion) source(c *component) *source {
	s := &source{component: c, first: map[*block][]string{}}
	s.into = c.words("channels")
	k.selector(s)
	if convert, ok := sourceKinds[c.Type]; ok {
		convert(k, s)
	} else {
		missing(c, or(sourceAdvice[c.Type], ownPlugin))
	}
	if len(s.blocks) > 0 {
		c.needless(needlessOfSources)
		c.rest()
	}
	k.interceptors(s)
	return s
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// add begins a source block; suffix tells several of one source apart.
func (k *conversion) add(s *source, plugin, suffix string) *block {
	name := s.Name
	if suffix != "" {
		name += "_" + suffix
	}
	b := k.block(s.component, "source", plugin, name)
	s.blocks = append(s.blocks, b)
	return b
}

// exec is a file that tail follows, or else a command.
func (k *conversion) exec(s *source) {
	files := tailed(s.take("command", ""))
	if files == nil {
		k.command(s)
		return
	}
	s.again = true
	b := k.add(s, "file", "")
	b.config("paths", files)
	s.note(Differs, "command", "the file is read by the agent, through rotation and restarts, each line once. It begins at the beginning, not with the last 10 lines: "+
		"start = \"end\" in config begins with what is appended from now on")
}

// command runs one as Flume did: split at blanks, or handed to a shell as it is.
func (k *conversion) command(s *source) {
	b := k.add(s, "exec", "")
	words := strings.Fields(s.take("command", ""))
	if shell := s.words("shell"); len(shell) > 0 {
		words = append(shell, s.take("command", ""))
	}
	b.config("command", words)
	if s.flag("restart", false) {
		ms, ok := s.number("restartThrottle", 1<<31)
		if !ok {
			ms = 10_000
		}
		b.config("backoff", fmt.Sprintf("%dms", max(ms, 10)))
		b.config("max_backoff", fmt.Sprintf("%dms", max(ms, 10)))
	} else {
		b.config("restart", "never")
	}
	if !s.flag("logStdErr", false) {
		b.config("stderr", "discard")
	}
	if len(words) == 0 {
		s.note(Missing, "command", "write the program and its arguments")
	}
	s.note(Differs, "command", "it is kept to what it needs: directories that it reads stand in read, those that it writes to in write, and network = true gives it the network")
}

// tailed are the files of a command that is nothing but tail, or nil.
func tailed(command string) []string {
	words := strings.Fields(command)
	if len(words) < 2 || words[0] != "tail" && !strings.HasSuffix(words[0], "/tail") || strings.ContainsAny(command, "|;&<>$`\"'\\(") {
		return nil
	}
	var files []string
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-n" || w == "-c" || w == "-s" || w == "--lines" || w == "--bytes":
			i++
		case strings.HasPrefix(w, "-") || strings.HasPrefix(w, "+"):
		default:
			files = append(files, w)
		}
	}
	return files
}

func (k *conversion) spooldir(s *source) {
	b := k.add(s, "spool", "")
	b.config("path", s.take("spoolDir", ""))
	if !s.has("spoolDir") {
		s.note(Missing, "spoolDir", "write the directory")
	}
	k.spoolFiles(s, b)
	k.spoolLines(s, b)
	k.fileHeaders(s)
}

// spoolFiles is which files are read, in which order, and what becomes of them.
func (k *conversion) spoolFiles(s *source, b *block) {
	for _, key := range []string{"includePattern", "ignorePattern"} {
		pattern, to := s.take(key, ""), map[string]string{"includePattern": "include", "ignorePattern": "exclude"}[key]
		if glob, ok := globOf(pattern); ok && pattern != "" && pattern != "^.*$" && pattern != "^$" {
			b.config(to, []string{glob})
		} else if !ok {
			s.note(Missing, key, "it is more than a glob (*, ?, [a-z]) can say; write globs into "+to)
		}
	}
	if s.flag("recursiveDirectorySearch", false) {
		b.config("subdirectories", true)
	}
	switch order := strings.ToLower(s.take("consumeOrder", "oldest")); order {
	case "oldest":
		b.config("order", "time")
	case "random":
		s.note(Converted, "consumeOrder", "files are read by their names")
	default:
		s.note(Missing, "consumeOrder", "there is order = \"name\" and \"time\", the oldest first")
	}
	if strings.EqualFold(s.take("deletePolicy", "never"), "immediate") {
		b.config("when_done", "delete")
	} else {
		s.note(Differs, "fileSuffix", "files that were read are moved to the folder done, and keep their names. Move away those with Flume's suffix (.COMPLETED) first: they would be read")
	}
	s.take("fileSuffix", "")
	if ms, ok := s.number("pollDelay", 1<<31); ok {
		b.config("scan_interval", fmt.Sprintf("%dms", max(ms, 10)))
	}
}

// spoolLines is how files become events.
func (k *conversion) spoolLines(s *source, b *block) {
	if d := s.take("deserializer", "LINE"); !strings.EqualFold(d, "LINE") {
		s.note(Missing, "deserializer", "only lines are read; files of another form need a plugin of your own (penstock plugin new)")
	}
	if size, ok := s.bytes("deserializer.maxLineLength", 1<<10, 4<<20); ok {
		b.config("max_line", size)
	}
	for _, key := range []string{"inputCharset", "deserializer.outputCharset"} {
		if cs := s.take(key, "UTF-8"); !strings.EqualFold(cs, "UTF-8") {
			s.note(Differs, key, "bodies are the bytes of the file, whatever their encoding")
		}
	}
}

func (k *conversion) taildir(s *source) {
	s.again = true
	groups := s.words("filegroups")
	paths := map[string]string{}
	headers := map[string]map[string]string{}
	for _, g := range groups {
		paths[g] = k.filegroup(s, g)
		headers[g] = map[string]string{}
		for _, h := range s.under("headers." + g + ".") {
			headers[g][h] = s.take("headers."+g+"."+h, "")
		}
	}
	if !slices.ContainsFunc(groups, func(g string) bool { return len(headers[g]) > 0 }) {
		b := k.add(s, "file", "")
		var all []string
		for _, g := range groups {
			all = append(all, paths[g])
		}
		b.config("paths", all)
	} else {
		for _, g := range groups { // each has attributes of its own
			b := k.add(s, "file", g)
			b.config("paths", []string{paths[g]})
			if len(headers[g]) > 0 {
				s.first[b] = []string{k.processor(s, "set", g).with("add", headers[g])}
			}
		}
	}
	s.taken["positionFile"] = true
	if s.flag("skipToEnd", false) {
		for _, b := range s.blocks {
			b.config("start", "end")
		}
	} else {
		s.note(Differs, "positionFile", "it is not read, since where files were read to is kept with the events: they are read from their beginning. "+
			"start = \"end\" in config begins with what is appended from now on")
	}
	k.fileHeaders(s)
}

// filegroup is the glob of a group, whose last part is a regular expression.
func (k *conversion) filegroup(s *source, group string) string {
	key := "filegroups." + group
	path := s.take(key, "")
	dir, name := path[:strings.LastIndexByte(path, '/')+1], path[strings.LastIndexByte(path, '/')+1:]
	glob, ok := globOf(name)
	if !ok || path == "" {
		s.note(Missing, key, "it is more than a glob (*, ?, [a-z]) can say; all files of the directory are read until you write globs into paths, and exclude")
		glob = "*"
	}
	return dir + glob
}

// globOf makes a glob of a regular expression that matches a whole name, where there is one for it.
func globOf(re string) (glob string, ok bool) {
	re = strings.TrimSuffix(strings.TrimPrefix(re, "^"), "$")
	var s strings.Builder
	for i := 0; i < len(re); i++ {
		switch c := re[i]; {
		case c == '.' && i+1 < len(re) && (re[i+1] == '*' || re[i+1] == '+'):
			if re[i+1] == '+' {
				s.WriteByte('?')
			}
			s.WriteByte('*')
			i++
		case c == '\\' && i+1 < len(re) && strings.IndexByte(".-_ ", re[i+1]) >= 0:
			i++
			s.WriteByte(re[i])
		case c == '.' && i+1 < len(re) && isWord(re[i+1]) && i > 0:
			s.WriteByte('.') // a dot that was meant as one; a file that has another character there is unlikely
		case strings.IndexByte(`.*+?[](){}|\^$`, c) >= 0:
			return "", false
		default:
			s.WriteByte(c)
		}
	}
	return s.String(), true
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// fileHeaders gives the attributes that tell of the file Flume's names.
func (k *conversion) fileHeaders(s *source) {
	rename := map[string]string{}
	if key := s.take("basenameHeaderKey", "basename"); s.flag("basenameHeader", false) {
		p := k.processor(s, "regex", "basename")
		p.block.config("attribute", "file.path")
		p.block.config("pattern", "(?P<"+groupName(key)+">[^/]+)$")
		s.through = append(s.through, p.address())
		if groupName(key) != key {
			rename[groupName(key)] = key
		}
	}
	if key := s.take("fileHeaderKey", "file"); s.flag("fileHeader", false) {
		rename["file.path"] = key
	}
	if key := s.take("byteOffsetHeaderKey", "byteoffset"); s.flag("byteOffsetHeader", false) {
		rename["file.position"] = key
	}
	if len(rename) > 0 {
		s.through = append(s.through, k.processor(s, "set", "headers").with("rename", rename))
	}
}
