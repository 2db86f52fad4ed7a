// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"github.com/penstock-io/penstock/spec/abi"
	"github.com/penstock-io/penstock/spec/event"
)

// block declares one kind of block.
type block struct {
	name   string
	labels []string
	doc    string
	args   []argument
	blocks []block
	once   bool // at most one in its parent
	free   bool // what is in it is the plugin's
}

// arg is how the tables below write an argument.
type arg struct {
	name, typ string
	required  bool
	def       string // as a user would write it, without quotes; "" = none
	shown     string // what the reference says instead of def
	enum      []string
	pattern   string
	min, max  float64 // 0 = none, but 0 … max when there is a max
	doc       string
}

// pipelineLanguage is what a pipeline file may hold.
var pipelineLanguage = block{blocks: slices.Concat(valueBlocks, []block{
	{
		name: "penstock", once: true,
		doc: "What the configuration asks of the agent that runs it.",
		args: arguments(
			arg{name: "required_version", typ: "string", doc: `The versions of penstock that may run it: ">= 0.1, < 2".`},
			arg{name: "language", typ: "integer", doc: "The language's version; there is only 1."},
		),
	},
	{
		name: "agent", labels: []string{"name"}, once: true,
		doc: "The process. The whole block may be absent: then its name is `" + defaultAgentName + "`.",
		args: arguments(
			arg{name: "id", typ: "string", shown: "the name", pattern: namePattern, doc: "What tells this agent from others of the same name."},
			arg{name: "data_dir", typ: "string", shown: "`" + rootDataDir + "` as root, else `$XDG_STATE_HOME/penstock/NAME`",
				doc: "Where channels, cursors and the control socket are. One agent at a time."},
			arg{name: "labels", typ: "map(string)", doc: "What is known of where it runs, such as `region = \"eu\"`. Expressions name them `agent.labels.NAME`, next to `agent.name` and `agent.id`; the metric `penstock_agent_info` and `penstock status` show them."},
			arg{name: "origin", typ: "bool", def: "false", doc: "Each event is given attributes, when it is put for the first time, that tell it from all others wherever it goes: see [Origin](delivery.md#13-origin)."},
			arg{name: "drain_timeout", typ: "duration", def: defaultDrainTimeout, doc: "How long a stop waits for what is in flight. What was not delivered stays in the channels."},
			arg{name: "probation", typ: "duration", def: defaultProbation, doc: "How long what a reload has started is watched. What breaks within it gives way to what ran before."},
		),
		blocks: []block{
			{name: "http", once: true, doc: "Metrics, health and status over HTTP.", args: arguments(
				arg{name: "listen", typ: "string", def: defaultListen, doc: `The address; "" switches it off. One that other machines reach needs ` + "`tls`, and `token` or a `ca` in the `tls` block."},
				arg{name: "token", typ: "secret", doc: "Who asks must show it, 16 characters at least: `Authorization: Bearer TOKEN`. Without it, `/livez` and `/readyz` answer yes or no."},
				arg{name: "tls", typ: "tls", doc: "The certificate. With a `ca`, clients must show one that it has signed."})},
			{name: "log", once: true, doc: "The agent's own log, on standard error.", args: arguments(
				arg{name: "level", typ: "string", def: defaultLogLevel, enum: []string{"debug", "info", "warn", "error"}, doc: "The least that is logged."},
				arg{name: "format", typ: "string", def: defaultLogFormat, enum: []string{"auto", "text", "json"}, doc: "`auto` is text on a terminal, and JSON otherwise."})},
		},
	},
	{
		name: "plugin", labels: []string{"name"},
		doc: "A plugin that is not builtin, or a builtin one with limits of its own. Sources and sinks name it by its label.",
		args: arguments(
			arg{name: "source", typ: "string", required: true, doc: "`builtin:NAME`, or the path of a `.wasm` file, or of a program for `runtime = \"subprocess\"`, relative to the file that says so."},
			arg{name: "runtime", typ: "string", def: "wasm", enum: []string{"wasm", "subprocess"}, doc: "`wasm` is the sandbox. `subprocess` runs the plugin as a child process of the agent: a program of one's own, whose manifest `NAME.manifest.json` lies beside it, or a builtin plugin. The builtin plugins `kafka`, `postgres` and `exec` need more than WebAssembly has, and run so with and without it. What it is granted is then no bound but a promise, where `penstock validate` says `trusted`."},
			arg{name: "version", typ: "string", doc: `The versions that will do: "~> 1.2".`},
			arg{name: "sha256", typ: "string", pattern: "[0-9a-fA-F]{64}", doc: "What the file must be, to the byte."},
			arg{name: "trusted", typ: "bool", def: "false", doc: "Its processor time is not bounded: a call that does not end cannot be ended, and holds up the whole agent. It is faster by what the counting costs. All other bounds hold."},
		),
		blocks: []block{
			grantBlock,
			limitsBlock,
		},
	},
	{
		name: "secret", labels: []string{"name"},
		doc: "Something that must not stand in a pipeline file. It is read when the agent starts; `validate` reads none.",
		args: arguments(
			arg{name: "from", typ: "string", required: true, doc: "`env:NAME`, an environment variable; `file:PATH`, a file that not everybody may read; `exec:/PROGRAM ARGUMENTS`, what a program prints within ten seconds, without a shell between; or `systemd:NAME`, a credential that the unit loads. A key is 64 hex digits, 44 characters of base64, or 32 bytes in a file; anything else is text, without the newline at its end."},
			arg{name: "refresh", typ: "duration", def: "0s", doc: "How often it is read again, `1s` or more; `0s` is never. When it is another, the components that are given it start again with it, as in a reload, and go back to the one before when they break with it."}),
	},
	tlsBlock,
	{
		name: "source", labels: []string{"plugin", "name"},
		doc: "Brings events in: one instance of a plugin, filling one channel.",
		args: arguments(
			arg{name: "into", typ: "channel", required: true, doc: "The channel that it fills."},
			arg{name: "through", typ: "list(processor)", doc: "The processors that its events go through before they are put, in this order: `[processor.NAME]`. Each use is an instance of its own."},
			tlsArgument, forEachArgument, enabledArgument),
		blocks: []block{configBlock},
	},
	{
		name: "processor", labels: []string{"plugin", "name"},
		doc: "Changes events on their way: fewer, more, others. It is a pure function of one batch.",
		args: arguments(
			arg{name: "on_error", typ: "string", def: defaultOnError, enum: []string{"stop", "drop", "dead_letter", "pass"}, doc: "What becomes of an event that it rejects, or breaks on: `stop` holds the component, says which event it is, and loses nothing; `drop` gives it up, counted; `dead_letter` keeps it in the `dead_letter` channel of the channel that it was on its way to, or comes from; `pass` hands it on as it was."},
			arg{name: "when", typ: "expression", shown: "–", doc: "Which events it is for, as an expression over `event`: see [Expressions over events](expressions.md). Those that it is not for go on as they are, in their places; so do those of which it cannot be said."},
			forEachArgument, enabledArgument),
		blocks: []block{configBlock},
	},
	{
		name: "channel", labels: []string{"kind", "name"},
		doc: "The buffer between sources and sinks. `wal` survives a crash; `memory` is fast and forgets.",
		args: arguments(
			arg{name: "capacity", typ: "size", def: defaultCapacity, min: 64 << 10, doc: "The most that it holds of what some sink has not committed."},
			arg{name: "max_events", typ: "integer", def: defaultMaxEvents, max: math.MaxInt64 / 2, doc: "The same in events; 0 is no bound."},
			arg{name: "max_age", typ: "duration", def: defaultMaxAge, doc: "The same in time: for how long the oldest of it may have been there. `0s` is no bound."},
			arg{name: "on_full", typ: "string", def: defaultOnFull, enum: []string{"block", "refuse", "drop_oldest", "drop_newest"}, doc: "`block` makes sources wait; `refuse` answers them that it is full; `drop_oldest` gives up the oldest events, until there is room, for every sink that has not committed them; `drop_newest` acknowledges events and does not keep them. What is dropped is counted, logged with its range, and on record before its space is free."},
			arg{name: "retain", typ: "duration", def: defaultRetain, doc: "For how long events stay, by whole segments, that all sinks have committed, so that a replay can go back to them. They do not count against the capacity, and go first when the disk runs short. `0s`: they may go at once. Of `wal`."},
			arg{name: "on_corrupt", typ: "string", def: defaultOnCorrupt, enum: []string{"stop", "quarantine"}, doc: "What becomes of a `wal` that the disk damaged: `stop` holds the sink that gets there, and refuses to start on what cannot be read; `quarantine` sets the damaged bytes aside, counts and logs what is lost, and delivers the rest."},
			arg{name: "durability", typ: "string", def: defaultDurability, doc: "What an acknowledgement promises. `fsync`: it is on disk; `interval:100ms`: it is flushed at most so much later; `os`: the system has it. Below `fsync` a crash of the machine may lose the newest events; a killed agent never does. Of `wal`."},
			arg{name: "forget_after", typ: "duration", def: defaultForgetAfter, doc: "Entries of a source's cursor that were not set again for so long are forgotten, counted and logged; those of a source that sets none at all stay. `0s` is never; else at least 48h, since a plugin sets once a day what it needs."},
			arg{name: "scrub", typ: "duration", def: defaultScrub, doc: "How often what lies in the channel is read again, slowly, to find what the disk has damaged: see `on_corrupt`. `0s` is never. Of `wal`."},
			arg{name: "min_free", typ: "size", shown: shownMinFree, max: 1 << 50, doc: "When less of the disk is free, sources wait as if the channel were full, and sinks go on. 0: only when a write has failed. Of `wal`."},
			arg{name: "dead_letter", typ: "channel", doc: "The channel that keeps events that a sink of this one rejects, or breaks on, with the reason; and those of processors on the way here whose `on_error` says so. It needs no sink, and has no `dead_letter` itself. Without it, such a sink is held, and says which event it is."},
			arg{name: "compression", typ: "string", def: defaultCompression, enum: []string{"none", "s2", "zstd"}, doc: "How events are compressed on the disk: `s2` is fast, `zstd` small. What does not become smaller is stored as it is. It may be changed at any time. Of `wal`."},
			forEachArgument, enabledArgument,
		),
		blocks: []block{
			{name: "encryption", once: true, doc: "Events, cursors and names are encrypted on the disk (AES-256-GCM), from the next event on; what is there already is read as it is. Of `wal`.", args: arguments(
				arg{name: "key", typ: "secret", doc: "The key that is written with. Without it nothing is encrypted any more."},
				arg{name: "old", typ: "list(secret)", doc: "Further keys, of what was written before. One can go when no event that it sealed is left."})},
		},
	},
	routeBlock,
	{
		name: "sink", labels: []string{"plugin", "name"},
		doc: "Takes events out: one instance of a plugin, draining one channel. Each sink of a channel gets every event, or those that its `where` and its case of a `route` choose.",
		args: arguments(
			arg{name: "from", typ: "channel", shown: "–", doc: "The channel that it drains, `channel.NAME`; or of a channel those events that are of one case of a `route`: `route.NAME.CASE`. It must be set, but for a member of a `sink_group`."},
			arg{name: "into", typ: "channel", shown: "–", doc: "Of a sink `channel`, the relay: the channel that it puts into. Others have none. See [Relays](#relays)."},
			arg{name: "where", typ: "expression", shown: "–", doc: "Which events it gets, as an expression over `event`: see [Expressions over events](expressions.md). The others count as delivered to it; so do those of which it cannot be said. Both are counted."},
			arg{name: "through", typ: "list(processor)", doc: "The processors that what it gets goes through before it is delivered, in this order: `[processor.NAME]`. Each use is an instance of its own. Events keep their offsets, so none may make several of one."},
			arg{name: "start", typ: "string", def: defaultStart, enum: []string{"oldest", "now"}, doc: "Where it begins when it is new: with the oldest event that is still there, or with the next."},
			arg{name: "on_lag", typ: "string", def: defaultOnLag, enum: []string{"hold", "skip", "detach"}, doc: "What is done when the channel is full because of this sink alone: `hold` leaves it to the channel's `on_full`; `skip` has the sink go on with the oldest events that leave room, and never get those before; `detach` ends it, so that it holds nothing, until the agent is started again, when it begins anew. The last sink of a channel is never detached. No other sink loses anything by it."},
			arg{name: "delivery", typ: "string", shown: "–", enum: []string{"exactly_once", "at_least_once"}, doc: "What every path that ends in it has to hold: `exactly_once`, nothing is lost and nothing comes twice; `at_least_once`, nothing is lost. Where one does not, the configuration is refused, and it is said what would have to change. Not set: nothing is asked, and `penstock plan` says what holds ([delivery.md](delivery.md#7-what-a-path-holds))."},
			arg{name: "order", typ: "string", def: defaultOrder, enum: []string{"channel", "none"}, doc: "`channel` delivers one batch after the other, as the channel has them; `none` lets several connections deliver at the same time, and end in any order."},
			arg{name: "connections", typ: "integer", def: defaultConnections, min: 1, max: maxConnections, doc: "How many instances of the plugin deliver at the same time, each with its own connection to the destination. More than one needs `order = \"none\"` and a plugin that says that it is `concurrent`."},
			arg{name: "order_by", typ: "expression", shown: "–", doc: "`event.attributes.NAME`: events of the same key, the value of that attribute, stay in order, and those of different keys are delivered in `lanes` at the same time. An event without the attribute has the empty key."},
			arg{name: "lanes", typ: "integer", def: defaultLanes, min: 1, max: maxLanes, doc: "Over how many lanes the keys of `order_by` are dealt, each with an instance of the plugin. More than one needs a plugin that says that it is `concurrent`. When the number or the key changes, the old lanes are drained before the new ones begin."},
			arg{name: "timeout", typ: "duration", def: defaultTimeout, max: 24 * hour, doc: "How long one batch may take to be written. Then the instance of the plugin is ended, and only after that the batch is handed to a new one. 0: no bound."},
			tlsArgument, forEachArgument, enabledArgument,
		),
		blocks: []block{
			{name: "batch", once: true, doc: "What it is given at a time: whichever bound is reached first.", args: arguments(
				arg{name: "events", typ: "integer", def: defaultBatchEvents, min: 1, max: 1 << 20, doc: "At most so many events."},
				arg{name: "bytes", typ: "size", def: defaultBatchBytes, min: 1 << 10, max: event.MaxBatch, doc: "At most so much; a larger event comes alone."},
				arg{name: "wait", typ: "duration", def: defaultBatchWait, max: hour, doc: "How long to gather after the first event is there. A sink `hop` gathers for 5ms where this is not set."})},
			{name: "retry", once: true, doc: "The pause between attempts, which are never given up.", args: arguments(
				arg{name: "min", typ: "duration", def: defaultRetryMin, min: 1e6, max: hour, doc: "The first pause; each further one is twice as long, with jitter."},
				arg{name: "max", typ: "duration", def: defaultRetryMax, min: 1e6, max: 24 * hour, doc: "The longest pause."})},
			configBlock,
		},
	},
	groupBlock,
	movedBlock,
})}

const hour = 3600e9 // nanoseconds, as min and max have them

var (
	configBlock = block{name: "config", once: true, free: true, doc: "The plugin's own arguments: see `penstock schema`."}
)

// laterBlocks are known to the language and not to this version, so that nobody looks for a typing error.
var laterBlocks = []string{"test"}

// pluginLanguage is what a plugin.hcl may hold.
var pluginLanguage = block{
	args: arguments(
		arg{name: "name", typ: "string", required: true, pattern: namePattern, doc: "Of the module."},
		arg{name: "version", typ: "string", required: true, pattern: versionPattern, doc: "Of the module: `1.2.3`."},
		arg{name: "runtime", typ: "string", enum: []string{abi.RuntimeWasm, abi.RuntimeSubprocess}, doc: "What `penstock plugin build` makes of the source: a module for `wasm`, or a program for `subprocess`, which Go can be either of. Not set: what is usual in the language."},
	),
	blocks: []block{
		declaration("source",
			arg{name: "replay", typ: "string", def: "none", enum: []string{"cursor", "ack", "none"}, doc: "What it claims: `cursor` resumes exactly from its cursor; `ack`: the sender may send again after a lost answer; `none`: what was in flight at a crash is lost."},
			arg{name: "cursor_version", typ: "integer", def: "1", min: 1, max: math.MaxUint32, doc: "The form of cursor that it writes."},
			arg{name: "reads", typ: "list(integer)", min: 1, max: math.MaxUint32, doc: "The forms of cursor that it resumes from."},
			arg{name: "partitioned", typ: "bool", def: "false", doc: "The keys of its cursor can be dealt over several instances."}),
		declaration("sink",
			arg{name: "effects", typ: "string", def: "none", enum: []string{"transactional", "idempotent", "none"}, doc: "What it claims: `transactional` reports when it opens what it holds; `idempotent` keys what it writes by offset or origin."},
			arg{name: "concurrent", typ: "bool", def: "false", doc: "What it claims: several instances with the same config may write at the same time."}),
		declaration("processor",
			arg{name: "multiplies", typ: "bool", def: "false", doc: "What it says of itself: it may make several events of one. Only sources send their events through such a processor."}),
	},
}

func declaration(kind string, args ...arg) block {
	args = append([]arg{{name: "doc", typ: "string", doc: "One paragraph for people."}}, args...)
	return block{
		name: kind, labels: []string{"name"}, doc: "One plugin of the module.",
		args: arguments(args...),
		blocks: []block{
			{name: "argument", labels: []string{"name"}, doc: "An argument of its `config` block.", args: arguments(
				arg{name: "type", typ: "type", required: true, doc: "A type: see below."},
				arg{name: "required", typ: "bool", def: "false", doc: "It must be set."},
				arg{name: "default", typ: "any", doc: "What it is when it is not set."},
				arg{name: "enum", typ: "list(string)", doc: "The only values there are."},
				arg{name: "pattern", typ: "string", doc: "A regular expression (RE2) that the whole string matches."},
				arg{name: "min", typ: "any", doc: "The least, in the type of the argument."},
				arg{name: "max", typ: "any", doc: "The most."},
				arg{name: "sensitive", typ: "bool", def: "false", doc: "Never shown."},
				arg{name: "deprecated", typ: "string", doc: "What to use instead."},
				arg{name: "doc", typ: "string", doc: "One sentence for people."})},
			{name: "need", labels: []string{"kind", "handle"}, doc: "Something that it asks of the host, by a handle: see [Needs](#needs).", args: arguments(
				arg{name: "value", typ: "expression", doc: "What is asked for, over `config`. Null is nothing."},
				arg{name: "access", typ: "string", def: defaultAccess, enum: []string{"read", "write"}, doc: "For a `dir`: `write` is read and write."})},
			{name: "limits", once: true, doc: "What it is known to need.", args: arguments(
				arg{name: "memory", typ: "size", shown: formatSize(abi.DefaultMemory), min: 1 << 20, max: 4 << 30, doc: "Memory of each instance."})},
		},
	}
}

// arguments makes a table's arguments ready. What is wrong with one is a bug of this file.
func arguments(table ...arg) []argument {
	out := make([]argument, len(table))
	for i, a := range table {
		compiled, err := a.compile()
		if err != nil {
			panic(fmt.Sprintf("BUG: argument %s: %v", a.name, err))
		}
		out[i] = compiled
	}
	return out
}

var hostTypes = map[string]form{"channel": formReference, "secret": formReference, "tls": formReference, "list(secret)": formRaw, "list(processor)": formRaw, "list(sink)": formRaw, "type": formRaw, "expression": formRaw, "any": formRaw, "map or set": formRaw}

func (a arg) compile() (argument, error) {
	decl := abi.Argument{Name: a.name, Type: a.typ, Required: a.required, Enum: a.enum, Pattern: a.pattern, Doc: a.doc}
	if a.min != 0 || a.max != 0 {
		decl.Min = &a.min
	}
	if a.max != 0 {
		decl.Max = &a.max
	}
	if f, ok := hostTypes[a.typ]; ok {
		return argument{Argument: decl, typ: typ{form: f}}, nil
	}
	if a.def != "" {
		decl.Default, _ = json.Marshal(a.def) // a string always encodes
	}
	out, err := compileArgument(decl)
	out.shown = a.shown
	return out, err
}

// declError says which part of an argument's declaration is wrong.
type declError struct {
	part string // "type", "default", "enum", "pattern"
	err  error
}

// Error gives part and cause.
func (e *declError) Error() string { return e.part + ": " + e.err.Error() }

// compileArgument makes an argument's declaration ready to check values with. Its error is a *declError.
func compileArgument(decl abi.Argument) (argument, error) {
	a := argument{Argument: decl}
	var err error
	if a.typ, err = parseTypeText(decl.Type); err != nil {
		return a, &declError{"type", err}
	}
	leaf := a.typ.leaf().form
	if len(decl.Enum) > 0 && leaf != formString {
		return a, &declError{"enum", fmt.Errorf("only strings have an enum; this is %s", a.typ.noun())}
	}
	if decl.Pattern != "" {
		if leaf != formString {
			return a, &declError{"pattern", fmt.Errorf("only strings have a pattern; this is %s", a.typ.noun())}
		}
		if _, err := regexp.Compile(decl.Pattern); err != nil {
			return a, &declError{"pattern", err}
		}
		a.pattern = regexp.MustCompile(`^(?:` + decl.Pattern + `)$`)
	}
	if len(decl.Default) == 0 {
		return a, nil
	}
	if a.def, err = a.parseDefault(); err != nil {
		return a, &declError{"default", err}
	}
	return a, nil
}

func (a argument) parseDefault() (any, error) {
	def, err := ctyOfJSON(a.Default)
	if err != nil {
		return nil, err
	}
	c := checker{rules: a}
	v := c.value(def, a.typ, nil)
	if len(c.wrong) > 0 {
		return nil, fmt.Errorf("%s%s", pathText(c.wrong[0].path), c.wrong[0].text)
	}
	return v, nil
}

// schema is what the HCL library is asked for. Nothing is required of it: missing things are reported by us, in our words.
func (b block) schema() *hcl.BodySchema {
	s := &hcl.BodySchema{}
	for _, a := range b.args {
		s.Attributes = append(s.Attributes, hcl.AttributeSchema{Name: a.Name})
	}
	for _, inner := range b.blocks {
		s.Blocks = append(s.Blocks, hcl.BlockHeaderSchema{Type: inner.name, LabelNames: inner.labels})
	}
	return s
}
