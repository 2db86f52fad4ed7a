// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
)

// Codes lists every code there is, sorted.
func Codes() []string {
	names := make([]string, 0, len(codes))
	for c := range maps.Keys(codes) {
		names = append(names, string(c))
	}
	slices.Sort(names)
	return names
}

// Explain returns the long text of a code, which begins with its title. Case does not matter.
func Explain(name string) (text string, ok bool) {
	c := code(strings.ToUpper(strings.TrimSpace(name)))
	entry, ok := codes[c]
	if !ok {
		return "", false
	}
	return string(c) + ": " + entry.title + "\n\n" + strings.TrimSpace(entry.text) + "\n", true
}

// codes are all mistakes there are. A code is never used for another one, nor renamed; a text may be bettered.
// E1 language, E2 channels and disk, E3 permissions, E4 plugins, E5 secrets; W is a warning of the same hundreds.
var codes = map[code]struct{ title, text string }{
	"E1001": {"Cannot read the configuration", `
A file or directory of the configuration could not be read. The message has the reason of the
operating system: it is not there, its permissions forbid it, or it is not a regular file.

Check the path that was given (the default is the working directory), and that the user the
agent runs as may read it:

    ls -l pipeline.hcl
    sudo -u penstock cat pipeline.hcl`},
	"E1002": {"No configuration here", `
The directory has no file whose name ends in .hcl or .hcl.json, so there is nothing to load.
Files that begin with a dot, and *.test.hcl, are left out.

Name the directory or file that holds the pipeline:

    penstock run /etc/penstock`},
	"E1003": {"Over a limit", `
The configuration is larger than what is read: a file over 1 MiB, more than 1000 files, brackets
nested more than 100 deep, more than 10 000 operators in a file, or a number with an exponent of
more than three digits. The limits keep a mistaken or hostile file from exhausting the agent.

Split the file: all *.hcl in one directory are one configuration.`},
	"E1101": {"Invalid syntax", `
The file is not HCL. The caret is where the parser stopped, which may be a little after the
mistake. What happens most often:

    batch { events = 5  wait = "1s" }    # one argument at most in a block on one line

    batch {                              # so write it over several
      events = 5
      wait   = "1s"
    }

    paths = ["/var/log/a.log"            # a bracket, brace or quote that is not closed

While a file cannot be parsed, nothing else is checked.`},
	"E1102": {"Set twice", `
An argument was set a second time in the same block. Only one can hold, and which one must not
depend on the order of lines. Remove the other.`},
	"E1103": {"Not for this version", `
The configuration asks for another version of penstock than the one that reads it, through
required_version or language in its penstock block:

    penstock {
      required_version = ">= 0.1, < 2"
      language         = 1
    }

Run the version that is asked for (` + "`penstock version`" + ` says which one you have), or widen the range
if you know that the configuration works.`},
	"E1201": {"Unsupported block", `
There is no block of this type here. Either its name is mistyped, it belongs into another block,
or it is an argument and wants an equals sign:

    from = channel.main      # an argument
    batch { events = 5000 }  # a block`},
	"E1202": {"Wrong labels", `
A block has more or fewer labels than its type takes:

    agent "web-01" { … }              name
    plugin "parse" { … }              name
    source "file" "shop" { … }        plugin, name
    channel "wal" "main" { … }        kind, name
    secret "disk" { … }               name
    tls "front" { … }                 name
    sink "stdout" "screen" { … }      plugin, name

penstock, http, log, config, batch, retry, grant, limits and encryption take none.`},
	"E1203": {"Unsupported argument", `
There is no argument of this name here. In a config block the names are those of the plugin:

    penstock schema file

shows them. Elsewhere they are the host's; the reference lists them. What belongs to the host
stands directly in the block, what belongs to the plugin in config { }:

    sink "file" "archive" {
      from = channel.main                    # the host's
      config { path = "/srv/archive.log" }   # the plugin's
    }`},
	"E1204": {"Missing argument", `
Something that has no default was not set. The caret is at the block that lacks it. Every source
names the channel that it fills, and every sink the one that it drains:

    source "file" "shop" {
      into = channel.main
    }`},
	"E1205": {"Wrong JSON shape", `
In a .hcl.json file a block is an object, and a block with labels an object within an object for
each label:

    { "sink": { "stdout": { "screen": { "from": "channel.main" } } } }

Here there is something else, such as a string or a number.`},
	"E1206": {"Block given twice", `
This block stands once at most, and here is a second one. Put what is in both into one. (There is
one agent block in the whole configuration, however many files it has.)`},
	"E1207": {"Invalid name", `
A name begins with a letter or an underscore, goes on with letters, digits, _ and -, and has 64
characters at most. It is written bare in references (channel.main), and becomes the name of a
directory and a label of metrics. The name of an agent may also begin with a digit and hold dots.`},
	"E1208": {"Name used twice", `
Two blocks have the same name. What tells a source, sink or channel from others is its kind of
block and its name; the plugin does not count:

    source "file"     "shop" { … }
    source "generate" "shop" { … }    # source.shop again

Upper and lower case are the same here, because names become directories. Rename one of them. To
keep what a source has read or a sink has delivered, rename the newer one.`},
	"E1301": {"Wrong type", `
A value is of a type that the argument does not take, and that cannot be made into it. Lists are
written in brackets, also when they have one element:

    paths = ["/var/log/app.log"]

Numbers and strings are taken for each other where the text is a number.`},
	"E1302": {"Not one of the choices", `
The argument takes certain words only, and this is none of them. The message lists them.`},
	"E1303": {"Out of range", `
The value is smaller or larger than what the argument takes. The message has the bound. A channel
holds 64 KiB at least: less would not take one transaction.`},
	"E1304": {"Does not match", `
The text is not of the form that the argument takes; the message has the form. A pattern is a
regular expression (RE2) for the whole of the text.`},
	"E1305": {"Not a duration", `
A duration is a string of numbers with units: "200ms", "1.5s", "1m30s", "24h", "7d". The units are
ns, us, ms, s, m, h, and d for days of 24 hours when it stands alone. It is never negative. A
number without a unit is refused, because nobody can tell seconds from milliseconds by looking.`},
	"E1306": {"Not a size", `
A size is a string of a number and a unit: "512B", "64KiB", "4MiB", "1.5GiB", "2TiB". KiB, MiB, GiB
and TiB count in 1024s; kB, MB, GB and TB in 1000s. It comes to whole bytes. A number without a
unit is refused.`},
	"E1307": {"Do not go together", `
Two arguments contradict each other. In limits, per_peer is a part of connections, and held has room
for one body at least. In a sink:

connections above 1 deliver several batches at the same time, which end in any order. That is asked
for with order = "none"; in the order of the channel there is one delivery at a time.

lanes above 1 deliver several batches at the same time, and keep events of one key in order. Which
attribute is the key is said by order_by; connections and order = "none" have no part in it. Lanes lag
one by one, and on_lag = "detach" would take some keys away from the sink: on_lag = "skip" may be said.

    sink "mine" "orders" {
      from     = channel.main
      order_by = event.attributes.customer
      lanes    = 4
    }`},
	"E1401": {"Cannot be evaluated", `
An expression has no value: it calls a function that does not exist, names a variable that does
not exist, or an operation does not fit its operands. The functions are concat, join, length,
lower, split, trimspace and upper. There are no variables yet.

A word without quotes is a variable: write "wal", not wal. A path needs quotes as well.`},
	"E1501": {"Unknown reference", `
A reference names something that no block declares. Check the spelling, and that the file which
declares it lies in the same directory: all *.hcl of one directory are one configuration.

    channel "wal" "main" { }

    source "file" "shop" {
      into = channel.main
    }`},
	"E1502": {"Not a reference", `
Here stands the name of a channel, a secret or a tls block as a reference: the word channel, secret
or tls, a dot, and its name, without quotes.

    into = channel.main      # right
    into = "channel.main"    # a string
    into = main              # lacks channel.
    key  = secret.disk       # right
    tls  = tls.front         # right

In .hcl.json, where all is quoted, it is the string "channel.main".`},
	"E1503": {"Not a key", `
order_by says by which key the events of a sink stay in order. In this version that is one
attribute of the event; expressions over events come later:

    order_by = event.attributes.customer
    order_by = event.attributes["file.path"]`},
	"E2001": {"Nobody drains the channel", `
No sink takes events out of this channel. It would fill, and then its sources would wait for ever.
Add a sink, or remove the channel and what feeds it:

    sink "stdout" "screen" {
      from = channel.main
    }

To throw events away on purpose, use the sink discard.`},
	"E2002": {"Unknown kind of channel", `
The first label of a channel is its kind:

    channel "wal" "main" { … }       # on disk; survives a crash
    channel "memory" "main" { … }    # fast, and forgets when the agent stops`},
	"E2003": {"Not a level of durability", `
durability says what it means that a channel has acknowledged events:

    durability = "fsync"             # they are on disk (the default)
    durability = "interval:100ms"    # they will be, at most 100 ms later
    durability = "os"                # the operating system has them

An interval is from 1ms to 1m. Below fsync a crash of the machine, not of the agent, may lose the
newest events.`},
	"E2004": {"Cursor entries forgotten too soon", `
A channel keeps where its sources have read to: an entry for each file, partition or upstream.
Those that are not set again for forget_after are forgotten, so that what is gone for good takes
no room:

    forget_after = "720h"    # the default
    forget_after = "0s"      # never

A plugin sets again, once a day, the entries that it still needs. So less than 48h would make files be
read again that rest.`},
	"E2005": {"Dead letters without a channel", `
A processor says on_error = "dead_letter", and the channel that its events are on their way to names
no channel that would keep them:

    channel "wal" "main" {
      dead_letter = channel.rejected
    }
    channel "wal" "rejected" {
      capacity = "1GiB"
    }

Or let the processor stop, which loses nothing, drop or pass what it cannot do.`},
	"E2006": {"Dead letters in a circle", `
A channel that keeps the dead letters of others has no dead letters itself, no source fills it, and
none keeps its own. A sink may read it, to tell somebody; when it rejects an event it is held.

    channel "wal" "main" {
      dead_letter = channel.rejected
    }
    channel "wal" "rejected" {}      # needs no sink: what is in it stays until someone decides`},
	"E3001": {"Missing grant", `
A plugin that is not builtin may touch nothing but what its plugin block grants. It declares what
it needs, often as an expression over its config; here the pipeline does not grant all of it. The
message prints the lines to add:

    plugin "tail" {
      source = "./tail.wasm"
      grant {
        dir "logs" {
          path   = "/var/log/app"
          access = "read"
        }
      }
    }

A dir grant is the directory with all that is in it. Before you add it, ask whether this plugin
should see that directory.`},
	"E3002": {"Not a path", `
A directory is to be granted whose path is empty or contains a zero byte. Set the argument that the
path comes from.`},
	"E3003": {"Listens beyond this machine", `
The agent's HTTP server shows its metrics and state, and steers it. There is no way yet to ask who
it is that connects, so it listens on the loopback interface alone:

    http { listen = "127.0.0.1:7420" }

To scrape metrics from another machine, put a proxy that authenticates before it.`},
	"E3004": {"Not an address", `
What a handle leads to is an address, or for HTTP requests a URL:

    tcp://db.internal:5432      db.internal:5432 alone is the same
    tls://logs.internal:6514    encrypted
    udp://[::1]:514             an IPv6 address stands in brackets
    unix:///run/x.sock          also unixgram:///run/x.sock, for datagrams
    https://api.internal/in     of HTTP requests: where they may go, and below which path

In a grant to connect, the host may be a pattern:

    *.shop.example:5432         any one name in the place of the star
    10.0.0.0/8:5432             any IP address of the range; IPv6 as [2001:db8::/32]:5432
    https://*.shop.example/in   of HTTP requests

To listen, a host is one of this machine's addresses; without one, tcp://:514, it is all of them. A
password does not belong into an address: it would be shown.`},
	"E3005": {"Not an environment variable", `
A plugin asks for an environment variable of the agent whose name is empty, or has an equals sign or
a zero byte in it. Set the argument that the name comes from.`},
	"E3006": {"No certificate to listen with", `
Something is to listen with TLS, and who listens shows a certificate. A tls block says which, and the
source or sink names it:

    tls "front" {
      cert = "/etc/penstock/tls/cert.pem"
      key  = "/etc/penstock/tls/key.pem"
    }

    source "syslog" "net" {
      into = channel.main
      tls  = tls.front
      config { listen = "tls://:6514" }
    }

Who connects needs none: without a tls block it trusts whom the system trusts.`},
	"E3007": {"Two listen on one address", `
Two sources or sinks are to listen on the same address. Only one can have it: give the other another
port or host. What comes in at one address can go to several sinks, through the channel that its
source fills.`},
	"E4001": {"Unknown plugin", `
The first label of a source or sink names a plugin: the name of a plugin block, else of a builtin.
Here it is neither.

    penstock schema                   # lists the builtin ones

    plugin "parse" {                  # declares one of your own
      source = "./parse.wasm"
    }`},
	"E4002": {"Plugin cannot be loaded", `
The plugin's file is not there, cannot be read, is not a WebAssembly module, has no manifest, or
does not have the sha256 that the pipeline asks for. The message says which. A path is relative to
the file that names it.

    penstock plugin inspect ./parse.wasm    # shows what is in it
    penstock plugin pack                    # writes plugin.hcl into the module as its manifest
    sha256sum ./parse.wasm`},
	"E4003": {"Plugin does something else", `
The plugin exists, but is of another kind: a sink cannot be a source. A name may stand for one of
each, as file does.

    penstock schema                         # builtin plugins with their kinds
    penstock plugin inspect ./parse.wasm    # what a module holds`},
	"E4004": {"Invalid plugin source", `
A plugin comes from the binary itself, or from a file:

    source = "builtin:std"
    source = "./parse.wasm"                 # relative to the file that says so
    source = "/usr/lib/penstock/parse.wasm"

or is a program, which runs as a child process of the agent and outside of the sandbox:

    source  = "./warehouse"
    runtime = "subprocess"

A relative path begins with ./ or ../`},
	"E4005": {"Damaged manifest", `
The manifest in the plugin's module says something that cannot be: an argument of an unknown type,
a pattern that is no regular expression, a need that does not come to paths. This is for the
plugin's author to mend: ` + "`penstock plugin pack`" + ` refuses such a plugin.hcl.`},
	"E4006": {"Several plugins fit", `
The module holds several plugins of that kind, and the label is the name of none. The label chooses:
call the plugin block after the plugin that is meant.

    plugin "tail" {
      source = "./tools.wasm"      # holds the sources tail and listen
    }
    source "tail" "app" { … }`},
	"E4007": {"Other version of the plugin", `
The module is of a version that the plugin block does not admit. Get the one that is asked for, or
change the constraint:

    version = "1.2.0"          # this one
    version = "~> 1.2"         # 1.2 and later, before 2
    version = ">= 1.2, < 1.5"`},
	"E4008": {"Need that cannot be met", `
The plugin needs something of the host of a kind that this version of penstock does not know. Use a
newer penstock, or an older version of the plugin.`},
	"E4009": {"One instance only", `
The sink asks for several instances of its plugin that write at the same time, and the plugin's
manifest does not say that it is made for that: two of them might write into the same file, or
spoil what the other has noted about what it has written.

Leave the argument out; or, if it is your plugin and its instances do not disturb each other, say so
in its plugin.hcl:

    sink "mine" {
      concurrent = true
    }`},
	"E4010": {"No child process", `
A builtin plugin that uses sockets or HTTP is handed them by the agent, each as it was granted.
That is a matter of the sandbox; a child process would use the network on its own. Leave out
runtime, and the plugin runs as WebAssembly.`},
	"E4101": {"Invalid argument declaration", `
In a plugin.hcl, an argument block has a part that does not hold together. The type is written in
HCL type syntax:

    string  number  integer  bool  duration  size
    list(string)  map(number)  object({ name = string, wait = optional(duration, "1s") })

The default is a value of that type. enum and pattern are for strings, min and max for numbers,
durations and sizes, all written as a user would write the argument.`},
	"E4102": {"Invalid need", `
In a plugin.hcl, a need block says what the plugin asks of the host, and by which handle:

    need "dir" "logs" {
      value  = config.paths      # a path, a glob, or a list of them
      access = "read"
    }
    need "stdout" "out" {}
    need "dial" "server" { value = config.server }         # an address; also listen and serve
    need "http" "api" { value = config.url }               # a URL
    need "env" "zone" { value = "TZ" }                     # names of environment variables
    need "secret" "password" { value = config.password }   # an argument that is sensitive

The value may speak of the plugin's own arguments alone. One that comes to null asks for nothing. A
path stands for the directory that it is in, a glob for the directory before its first wildcard, and a
path that ends in a slash for that directory itself.`},
	"E4103": {"Invalid trial", `
In a plugin.test.hcl, which says how a plugin is tried, a block does not fit the plugin. What is at the
other end of a handle is named after it:

    source "tcp" "takes lines" {
      config {
        listen = "tcp://0.0.0.0:5170"   # in a trial it is a port of the loopback interface
      }
      client "listen" {                 # need "listen" "listen" in plugin.hcl
        send = ["one\ntwo\n"]
      }
      output = ["one", "two"]
    }

client is for needs of kind listen, request for serve, server for dial and http; the config must name an
address for the handle. Files of a trial have relative paths, and stay in its directory.`},
	"E5001": {"Not where a secret comes from", `
A secret names what holds it, so that no pipeline file does:

    secret "disk" {
      from = "env:PENSTOCK_DISK_KEY"            # an environment variable
    }
    secret "disk" {
      from = "file:/etc/penstock/disk.key"      # a file
    }

The providers exec: and systemd: will come in a later version; until then a credential of systemd is
the file /run/credentials/penstock.service/NAME. What was written here is not shown where it may be
the secret itself.`},
	"E5002": {"Secret cannot be read", `
The environment variable is not set, or the file cannot be read; the message has the reason. A
secret is read when the agent starts, by the user and in the environment that it runs with, and
not by penstock validate.

    sudo -u penstock cat /etc/penstock/disk.key | wc -c
    systemctl show penstock -p Environment`},
	"E5003": {"Not a key", `
The key of a channel has 32 bytes: 64 hex digits, 44 characters of base64, or in a file the bytes as
they are. A newline at its end does not matter. To make one:

    openssl rand -hex 32 > /etc/penstock/disk.key
    chmod 600 /etc/penstock/disk.key

Keep a copy where the disk is not: without the key nobody reads what it sealed.`},
	"E5004": {"Key that everybody can read", `
The file with the key may be opened by every user of the machine, so the key protects nothing from
them.

    chown penstock: /etc/penstock/disk.key
    chmod 600 /etc/penstock/disk.key

If somebody may have seen it, make a new key: name the new one as key, and this one under old.

    encryption {
      key = secret.new
      old = [secret.disk]
    }`},
	"E5005": {"No place for a secret", `
A secret can be given to an argument of a plugin that says that it is sensitive, and that is a string.
Such an argument is never shown. Any other may turn up in a message, in the answer to whoever asks the
agent, or in a log:

    config {
      user     = "shop"
      password = secret.pg      # sensitive: penstock schema says which are
    }

A plugin of your own says so in its plugin.hcl: sensitive = true.`},
	"W1001": {"Nothing to run", `
The configuration has neither a source nor a sink. The agent would start, and do nothing. Perhaps
the files that declare them lie in another directory: all *.hcl of one directory are read, and
none of those below it.`},
	"W2001": {"Nobody feeds the channel", `
No source puts events into this channel. That is right while an old channel is being drained, and
a mistake otherwise.`},
	"W2002": {"Capacity larger than the disk", `
The channels may come to hold more than there is room for where the agent keeps its data. When the
disk is full, the agent stops taking events, and so may everything else on that disk. Give the
channel less capacity, or the data directory a larger disk.`},
	"W2003": {"Acknowledged before it is on disk", `
This channel acknowledges events before they are flushed to the disk. When the agent is killed,
nothing is lost. When the machine loses power or its kernel crashes, what was not flushed yet is
lost, although its source was told that it is safe:

    interval:100ms    what came in the last 100 ms
    os                what the system had not written: at most the last segment of the log, some 8 MiB

The cursors of sources go with the events: a source that can read again (a file) sends them again. One
that was only told so once (a network client) does not. Sinks may be given again what they had
already, since it comes under new numbers. With the default, durability = "fsync", none of this can
happen. Many transactions share a flush there, so that the difference in speed is often small.`},
	"W2004": {"Argument of durable channels", `
The argument is about the disk, and this kind of channel keeps nothing there. It has no effect:
remove it, or make the channel one of kind "wal".`},
	"W2005": {"Events may be dropped", `
A policy was chosen that gives events up, which were acknowledged to their sources, rather than
let sources wait. The message says when. What is dropped is counted by reason in
penstock_channel_dropped_events_total and for each sink, logged with its range of offsets, shown by
penstock status, and on record in the channel before its space is free.

    on_full = "block"    # of a channel: loses nothing; sources wait
    on_lag  = "hold"     # of a sink: a channel is full when it is full, whoever lags`},
	"W2006": {"Dead letters in memory", `
The channel is on disk, and the one that keeps its dead letters is in memory. What is given to the
dead letters is gone from the first, and lost from the second when the agent ends.

    channel "wal" "rejected" {
      capacity = "1GiB"
    }`},
	"W3001": {"Grant that nobody asks for", `
A plugin block grants something under a handle that none of the plugin's needs has. The grant has
no effect. Most often the handle is mistyped.

    penstock plugin inspect ./tail.wasm    # lists the handles under needs`},
	"W3002": {"Grant without effect", `
Builtin plugins are granted the files and directories that their config names. A grant block adds
nothing, and takes nothing away: remove it.`},
	"W3003": {"TLS without effect", `
A source or sink names a tls block, and none of its addresses is encrypted: none begins with tls:// or
https://. What it sends can be read on the way. Change the address, or remove the argument tls.`},
	"W3004": {"Certificate not checked", `
verify = false makes connections to whoever answers, whatever certificate it has. They are
encrypted, and nobody knows for whom: who is in between can read and change all of it.

Name the certificate of the one who signs as ca, and leave verify out:

    tls "lab" {
      ca = "/etc/penstock/tls/lab-ca.pem"
    }`},
	"W4001": {"Plugin not used", `
No source or sink names this plugin. It is not loaded. Remove the block, or use its name as the
first label of a source or sink.`},
	"W4002": {"Deprecated argument", `
The plugin still takes this argument and will not for ever. The message says what to use instead.`},
	"W4003": {"Processor not used", `
No source names this processor in its through. Its plugin is not run. Remove the block, or name it:

    source "file" "shop" {
      into    = channel.main
      through = [processor.parse]
    }`},
	"W4004": {"Trusted plugin", `
trusted = true leaves out what lets the agent end a call of the plugin: the count of its instructions.
The plugin is faster by that, some percent as a rule. Its memory, files, sockets and all other limits
hold as ever. But a loop in it that does not end holds its component, and keeps the whole agent from
collecting garbage, so that it has to be killed (nothing that was acknowledged is lost by that).

Trust only what you have tested with the events that it will see.`},
	"W4005": {"More connections than handles", `
limits.listen.connections lets more in than limits.handles lets the plugin hold. Nothing is lost:
connections beyond that are accepted and wait, unread, until another one ends. Make both the same:

    limits {
      handles = 20000
      listen {
        connections = 20000
      }
    }

The process needs as many open files (ulimit -n, LimitNOFILE of systemd).`},
}
