// SPDX-License-Identifier: Apache-2.0

package flume

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// processor is a processor block that stands for something of a source.
type processor struct{ block *block }

func (p processor) address() string { return p.block.address() }

// with sets one argument, and returns the address.
func (p processor) with(name string, v any) string {
	p.block.config(name, v)
	return p.address()
}

// processor begins a block that comes before those of interceptors.
func (k *conversion) processor(s *source, plugin, suffix string) processor {
	b := &block{kind: "processor", labels: []string{plugin, k.fresh("processor", s.Name+"_"+suffix)}}
	s.interceptors = append(s.interceptors, unit{&component{Part: &Part{}}, []*block{b}})
	return processor{b}
}

// interceptorKinds make the processors of an interceptor: none where nothing is needed, or there is no equivalent.
var interceptorKinds = map[string]func(*interceptor){
	"static": (*interceptor).static, "regex_filter": (*interceptor).filter, "regex_extractor": (*interceptor).extractor,
	"search_replace": (*interceptor).replace, "remove_header": (*interceptor).remove, "timestamp": (*interceptor).timestamp,
	"host": (*interceptor).host, "uuid": (*interceptor).uuid,
}

// interceptor is one of Flume's.
type interceptor struct {
	*component
	*conversion
	name   string // of its block; a second one has more behind it
	blocks []*block
}

// interceptors converts those of a source, in their order.
func (k *conversion) interceptors(s *source) {
	for _, name := range strings.Fields(k.values["sources."+s.Name+".interceptors"]) {
		c := k.component("interceptors", name, "sources."+s.Name+".interceptors."+name+".")
		i := &interceptor{component: c, conversion: k, name: k.fresh("processor", s.Name+"_"+name)}
		if convert, ok := interceptorKinds[c.Type]; ok {
			convert(i)
			c.rest()
		} else {
			missing(c, "A plugin of your own can take its place, a processor: penstock plugin new --kind processor.")
		}
		for _, b := range i.blocks {
			c.Became = append(c.Became, b.address())
			s.through = append(s.through, b.address())
		}
		s.interceptors = append(s.interceptors, unit{c, i.blocks})
		c.Name = s.Name + " " + name
	}
}

func (i *interceptor) add(plugin string) *block {
	name := i.name
	if len(i.blocks) > 0 {
		name = i.fresh("processor", name+"_names")
	}
	b := &block{kind: "processor", labels: []string{plugin, name}}
	i.blocks = append(i.blocks, b)
	return b
}

func (i *interceptor) static() {
	b := i.add("set")
	b.config("add", map[string]string{i.take("key", "key"): i.take("value", "value")})
	b.config("overwrite", !i.flag("preserveExisting", true))
}

// expression takes a regular expression of Java, as far as RE2 has it too.
func (i *interceptor) expression(key, usual string) (re string, ok bool) {
	re = i.take(key, usual)
	if _, err := regexp.Compile(re); err != nil {
		i.note(Missing, key, fmt.Sprintf("RE2 has no such expression (%s); look ahead and behind, and references back, are to be said otherwise", err))
		return "", false
	}
	return re, true
}

func (i *interceptor) filter() {
	re, ok := i.expression("regex", ".*")
	exclude := i.flag("excludeEvents", false)
	if !ok {
		return
	}
	b := i.add("filter")
	b.config("matches", re)
	if exclude {
		b.config("action", "drop")
	}
}

// extractor names the groups of the expression. A name that no group may have is given afterwards.
func (i *interceptor) extractor() {
	re, ok := i.expression("regex", "")
	serializers := i.words("serializers")
	names, rename := make([]string, len(serializers)), map[string]string{}
	for n, s := range serializers {
		at := "serializers." + s + "."
		name := i.take(at+"name", s)
		names[n] = groupName(name)
		if names[n] != name {
			rename[names[n]] = name
		}
		if t := i.take(at+"type", "default"); t != "default" && !strings.HasSuffix(t, ".RegexExtractorInterceptorPassThroughSerializer") {
			i.note(Missing, at+"type", "the attribute has what the group has found, as it is")
			i.noteEach(Converted, at, "of that type")
		}
	}
	if !ok {
		return
	}
	named, err := nameGroups(re, names)
	if err != nil {
		i.note(Missing, "regex", err.Error())
		return
	}
	i.add("regex").config("pattern", named)
	if len(rename) > 0 {
		i.add("set").config("rename", rename)
	}
}

// groupName is what a group may be called that is to make the attribute.
func groupName(attribute string) string {
	return strings.ReplaceAll(validName(attribute), "-", "_")
}

// nameGroups gives the groups of an expression names, the first of them the first name.
func nameGroups(re string, names []string) (string, error) {
	var s strings.Builder
	n, inClass := 0, false
	for i := 0; i < len(re); i++ {
		c := re[i]
		s.WriteByte(c)
		switch {
		case c == '\\' && i+1 < len(re):
			i++
			s.WriteByte(re[i])
		case inClass:
			inClass = c != ']'
		case c == '[':
			inClass = true
		case c == '(' && !strings.HasPrefix(re[i+1:], "?"):
			if n < len(names) {
				s.WriteString("?P<" + names[n] + ">")
			}
			n++
		}
	}
	compiled, err := regexp.Compile(s.String())
	if err != nil || n < len(names) || !slices.Equal(compiled.SubexpNames()[1:1+len(names)], names) {
		return "", fmt.Errorf("its groups could not be named; write (?P<NAME>…) for each into a processor \"regex\"")
	}
	return s.String(), nil
}

func (i *interceptor) replace() {
	re, ok := i.expression("searchPattern", "")
	text := i.take("replaceString", "")
	i.take("charset", "")
	if !ok {
		return
	}
	b := i.add("mask")
	b.config("pattern", re)
	b.config("replacement", replacement(text))
}

// replacement turns Java's $1 and \$ into Go's ${1} and $$.
func replacement(java string) string {
	var s strings.Builder
	for i := 0; i < len(java); i++ {
		switch c := java[i]; {
		case c == '\\' && i+1 < len(java):
			i++
			s.WriteString(strings.ReplaceAll(java[i:i+1], "$", "$$"))
		case c == '$' && i+1 < len(java) && java[i+1] >= '0' && java[i+1] <= '9':
			end := i + 1
			for end < len(java) && java[end] >= '0' && java[end] <= '9' {
				end++
			}
			s.WriteString("${" + java[i+1:end] + "}")
			i = end - 1
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}

func (i *interceptor) remove() {
	var names []string
	if name := i.take("withName", ""); name != "" {
		names = append(names, name)
	}
	separator := i.take("fromListSeparator", `\s*,\s*`)
	if list := i.take("fromList", ""); list != "" {
		if re, err := regexp.Compile(separator); err == nil {
			names = append(names, re.Split(list, -1)...)
		} else {
			i.note(Missing, "fromList", "write the names into the argument remove of a processor \"set\"")
		}
	}
	if i.has("matching") {
		i.note(Missing, "matching", "attributes are removed by name; write those that are meant into remove")
	}
	if len(names) > 0 {
		i.add("set").config("remove", names)
	}
}

func (i *interceptor) timestamp() {
	header := i.take("headerName", i.take("header", "timestamp"))
	i.take("preserveExisting", "")
	i.note(Converted, "", fmt.Sprintf("not needed: every event has its time, which sinks write with format = \"json\"; there is no attribute %q", header))
}

func (i *interceptor) host() {
	header := i.take("hostHeader", "host")
	for _, key := range []string{"useIP", "preserveExisting"} {
		i.take(key, "")
	}
	i.note(Missing, "", fmt.Sprintf("the name of the machine is not looked up: write processor \"set\" %q with config { add = { %s = \"NAME\" } }, and put it into through", i.name, header))
}

func (i *interceptor) uuid() {
	i.noteEach(Differs, "", "of the identifier")
	i.note(Differs, "", "events are known by channel, incarnation and offset, which transactional and idempotent sinks use by themselves; there is no attribute with an identifier")
}
