// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/spec/abi"
)

// Load reads the configuration at path, a directory or a file; "" is the working directory. The Config is nil if there is an error
// among the diagnostics, which are in the order of the files; the Sources are never nil.
func Load(path string, o Options) (*Config, *Sources, hcl.Diagnostics) {
	l := &loader{
		opts:      o,
		blocks:    make(map[string][]*values),
		plugins:   make(map[string]*pluginBlock),
		channels:  make(map[string]*values),
		secrets:   make(map[string]bool),
		tls:       make(map[string]*TLS),
		listeners: make(map[address.Address]string),
		manifests: make(map[PluginRef]manifestResult),
		schemas:   make(map[schemaKey][]argument),
		fed:       make(map[string]bool),
		drained:   make(map[string]bool),
		dead:      make(map[string]string),
		grouped:   make(map[string]*Group),
		each:      make(map[string][]string),

		unexpanded: make(map[string]bool),
		idle:       make(map[string]string),
		routes:     make(map[string]*Route),
		chosen:     make(map[string]bool),

		processors: make(map[string]*processorBlock),
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		l.unreadable(o.Dir, err)
	}
	l.opts.Dir = dir
	files := l.read(filepath.Clean(path), l.opts.Overlay) // "" is "."
	l.files = files
	l.beside = filepath.Clean(path)
	if !isDir(path) {
		l.beside = filepath.Dir(path)
	}
	if l.failed() {
		files.dataDir = l.dataDirOfHalf(files)
		return nil, files, l.sorted() // half of a file would only make mistakes of what is right
	}
	l.collect(files)
	c := l.build()
	if l.knowsDataDir() {
		files.dataDir = c.Agent.DataDir
	}
	l.deeper(c.Agent.DataDir)
	c.Revision = files.revision(l.scope.vars)
	l.topology(c)
	l.circles(c)
	l.promises(c)
	if l.failed() {
		return nil, files, l.sorted()
	}
	return c, files, l.sorted()
}

// Parse says what is wrong with a text as HCL; what it means is not looked at.
func Parse(src []byte, name string) (*Sources, hcl.Diagnostics) {
	var f faults
	file := f.parse(src, name)
	return &Sources{files: map[string]*hcl.File{name: file}}, f.diags
}

// Format lays out the source of a file as everyone does. Of what does not parse it makes something else that does not.
func Format(src []byte) []byte { return hclwrite.Format(src) }

// loader turns files into a Config, in the order of its methods below.
type loader struct {
	faults
	opts   Options
	blocks map[string][]*values // by type, in the order of the files

	plugins    map[string]*pluginBlock
	channels   map[string]*values
	secrets    map[string]bool
	tls        map[string]*TLS
	listeners  map[address.Address]string // which component listens where
	processors map[string]*processorBlock
	variables  map[string]*variable
	manifests  map[PluginRef]manifestResult
	schemas    map[schemaKey][]argument
	fed        map[string]bool     // channels that a source fills
	drained    map[string]bool     // channels that a sink drains
	routes     map[string]*Route   // also those in which something is wrong
	chosen     map[string]bool     // cases that a sink reads, as they are written: "route.by_level.loud"
	grouped    map[string]*Group   // by the name of a member
	dead       map[string]string   // channels that keep dead letters, and of which one
	each       map[string][]string // the keys of blocks with for_each, by kind and name
	unexpanded map[string]bool     // those of which the keys are not known, which was reported
	unsure     bool                // some reference to a processor leads nowhere
	idle       map[string]string   // channels and cases that something drains which is switched off, and what
	adrift     bool                // some reference leads nowhere, or some block could not be read
	first      hcl.Range           // of the configuration
	beside     string              // the directory that the files lie in
	files      *Sources
	asked      []asked // of plugins, when all is read
}

type manifestResult struct {
	manifest abi.Manifest
	err      error
}

// collect sorts the blocks of all files by type, and reads them: first what gives names to values, then all else, which may speak of these.
func (l *loader) collect(files *Sources) {
	l.first = fileRange(files.Names()[0])
	found := make(map[string][]*hcl.Block)
	for _, name := range files.Names() {
		content := l.content(pipelineLanguage, "A pipeline file", files.files[name].Body)
		l.adrift = l.adrift || l.failed() // a block that could not be read may be the one that is missed
		for _, b := range content.Blocks {
			found[b.Type] = append(found[b.Type], b)
		}
	}
	for _, b := range found["secret"] {
		l.secrets[b.Labels[0]] = true
	}
	l.readBlocks(valueBlocks, found) // in no scope: they stand for themselves
	l.scope = &scope{functions: maps.Clone(functions), vars: make(map[string]cty.Value), locals: make(map[string]*local)}
	l.scope.functions["file"] = l.fileFunction(files)
	l.declareFunctions()
	l.declareVariables(files)
	l.declareLocals()
	l.validate()
	rest := pipelineLanguage.blocks[len(valueBlocks):]
	of := slices.IndexFunc(rest, func(b block) bool { return b.name == "agent" }) + 1
	l.readBlocks(rest[:of], found)
	l.introduce()
	l.readBlocks(rest[of:], found)
}

func (l *loader) readBlocks(specs []block, found map[string][]*hcl.Block) {
	for _, spec := range specs {
		for _, b := range found[spec.name] {
			l.blocks[spec.name] = append(l.blocks[spec.name], l.instances(spec, b)...)
		}
		l.distinct(spec, l.blocks[spec.name])
	}
}

const (
	namePattern    = `[A-Za-z0-9_][A-Za-z0-9_.-]*`
	versionPattern = `[0-9]+(\.[0-9]+){0,2}(-[0-9A-Za-z.-]+)?`
)

// identifier is what can stand after a dot in a reference.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// distinct checks the names of blocks: well-formed, and each used once. The last label is the name.
func (l *loader) distinct(spec block, blocks []*values) {
	seen := make(map[string]*values)
	for i, v := range blocks {
		if len(v.labels) > 0 {
			l.checkName(spec, v)
		}
		if len(spec.labels) == 0 && !spec.once {
			continue
		}
		if spec.once {
			if i > 0 {
				l.add("E1206", v.at, "There is one %s block at most, and it is at %s.", spec.name, place(blocks[0].at))
			}
			continue
		}
		base, _ := splitName(v.name())
		name := strings.ToLower(base) // a name is a directory, and some file systems do not tell Main from main
		first, taken := seen[name]
		if taken && first.at == v.at {
			continue // another instance of one block
		}
		if taken {
			whatever := ", whatever the " + spec.labels[0]
			if len(spec.labels) == 1 {
				whatever = ""
			}
			l.add("E1208", v.label[len(v.label)-1], "%s.%s is already at %s. A name is used once%s.",
				spec.name, first.name(), place(first.at), whatever)
			v.broken, l.adrift = true, true
			continue
		}
		seen[name] = v
	}
}

// name is the last label.
func (v *values) name() string {
	if len(v.labels) == 0 {
		return ""
	}
	return v.labels[len(v.labels)-1]
}

func (l *loader) checkName(spec block, v *values) {
	at := v.label[len(v.label)-1]
	name, key := splitName(v.name())
	switch {
	case key != "" && len(name)+len(key)+1 > maxName:
		l.add("E1207", at, "The name has %d characters, and its key %q has %d; together they may have %d.", len(name), key, len(key), maxName-1)
	case len(name) > maxName:
		l.add("E1207", at, "The name has %d characters; %d are the most.", len(name), maxName)
	case spec.name == "agent" && agentName.MatchString(name):
		return // no reference names it, and hosts are called 10-0-0-1
	case !identifier.MatchString(name):
		l.add("E1207", at, "%s cannot be a name: letters, digits, _ and - make one, and it begins with a letter, because references write it bare: %s.NAME.",
			quote(name), spec.name)
	default:
		return
	}
	v.broken, l.adrift = true, true
}

var agentName = regexp.MustCompile(`^` + namePattern + `$`)

// one returns the only block of a type, or what its defaults make.
func (l *loader) one(name string) *values {
	if blocks := l.blocks[name]; len(blocks) > 0 {
		return blocks[0]
	}
	for _, spec := range pipelineLanguage.blocks {
		if spec.name == name {
			return defaultsOf(spec, hcl.Range{})
		}
	}
	panic("BUG: no block " + name)
}

// build makes the parts, in the order in which they depend on each other.
func (l *loader) build() *Config {
	l.penstock()
	c := &Config{}
	l.declareSecrets(c)
	l.declareTLS()
	c.Agent = l.agent()
	l.declarePlugins()
	l.declareChannels(c)
	l.linkDeadLetters(c)
	l.declareProcessors(c)
	l.declareRoutes(c)
	for _, v := range l.blocks["source"] {
		l.declare(v, func() (ok bool, add func()) {
			s, ok := l.source(v)
			return ok, func() { c.Sources = append(c.Sources, s) }
		})
	}
	l.declareGroups(c)
	for _, v := range l.blocks["sink"] {
		l.declare(v, func() (ok bool, add func()) {
			s, ok := l.sink(v)
			return ok, func() { c.Sinks = append(c.Sinks, s) }
		})
	}
	l.unusedProcessors()
	l.closePlugins()
	l.declareMoves(c)
	for _, kind := range instantiable {
		for _, v := range l.blocks[kind] {
			if v.off() {
				c.Off = append(c.Off, kind+"."+v.name())
			}
		}
	}
	return c
}

// declare reads a component in its scope, and adds it unless it is wrong or switched off.
func (l *loader) declare(v *values, read func() (ok bool, add func())) {
	defer l.enter(v)()
	if v.off() {
		l.aside(v.name(), func() { read() })
		return
	}
	if ok, add := read(); ok {
		add()
	}
}

// path makes a path of data absolute.
func (l *loader) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(l.opts.Dir, p)
}
