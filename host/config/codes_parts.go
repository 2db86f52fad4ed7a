// SPDX-License-Identifier: Apache-2.0

package config

// partCodes are mistakes about channels, permissions, plugins and secrets.
var partCodes = map[code]entry{
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
A processor says on_error = "dead_letter", and the channel that its events are on their way to, or come
from, names no channel that would keep them:

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
	"E2007": {"Events that are of no case", `
A route deals the events of a channel to sinks, and for some events none of its cases may hold. It
says what becomes of them: a default, which a sink reads, or that they are given up, and counted.

    route "by_level" {
      from = channel.main
      case "loud" { when = event.attributes.level == "error" }
      default "rest" {}          # or: unmatched = "discard"
    }

    sink "file" "archive" {
      from = route.by_level.rest
      config { path = "/srv/archive/shop.log" }
    }`},
	"E2008": {"A case that nobody reads", `
No sink reads this case of a route. The channel forgets an event when all its sinks are done with
it, and so the events of this case would vanish. Have a sink read it:

    sink "http" "alerts" {
      from = route.by_level.loud
      config { url = "https://alerts.internal/ingest" }
    }

Or remove the case. To throw its events away on purpose, use the sink discard.`},
	"E2009": {"Members of a group", `
A sink_group names the sinks that compete for its events. It has at least one, and a sink is a member
of one group, once:

    sink_group "orders" {
      from    = channel.main
      members = [sink.first, sink.second]
    }`},
	"E2010": {"Said of the group", `
The members of a sink_group share one reader of the channel. What is said of that reader stands in the
sink_group block and in none of its sinks: from, where, start, and how long a member pauses that
failed. A member has no lanes, no on_lag and no retry block.`},
	"E2011": {"The member does not know what it holds", `
With delivery = "exactly_once", what was sent to a member of a sink_group and not confirmed waits for
that member, and is sent to it again. So each member must be "transactional" or "idempotent": see
"penstock schema sink NAME". With delivery = "at_least_once" any sink can be a member, and what is
not confirmed goes to another one.`},
	"E2012": {"Not of this sink", `
A sink "channel" is a relay: it puts what it takes into another channel of the agent, and says with
into which one. No other sink has into. A relay is no member of a sink_group. It has no timeout, as it
waits for as long as the other channel is full, no delivery, as no path ends in it, and one connection.

    sink "channel" "slow_lane" {
      from = channel.main
      into = channel.slow
    }`},
	"E2013": {"Channels in a circle", `
Relays (sink "channel") must not bring events back to a channel that they have been in, neither
directly nor through others nor as dead letters: they would go round for ever, and fill each channel
on the way. Draw it with "penstock graph", and have one of the relays put into another channel.`},
	"E2014": {"Several events of one, on the way to a sink", `
An event in a channel has an offset. By it its destination knows whether it has it, its dead letter says
which it is, and a replay finds it. So a processor that a sink names in its through makes at most one
event of one, and one that says of itself that it may make several (multiplies = true in its
plugin.hcl) stands in a source, where events have no offsets yet:

    source "file" "in" {
      into    = channel.main
      through = [processor.split]
    }`},
	"E2101": {"The test does not fit", `
In a *.test.hcl, which says what a pipeline is tried with, something does not fit: it names a source,
sink, channel, route or group that the pipeline has not, expects nothing, or asks for what excludes
each other.

    test "errors are kept" {
      input "service" {                # a source of the pipeline
        bodies = ["ERROR disk full", "INFO listening"]
      }
      expect "sink.archive" {          # or a channel, source, route or group, by its address
        bodies = ["ERROR disk full"]
      }
    }`},
	"E2201": {"The path does not hold what is asked", `
A sink says which delivery it needs, and a path that ends in it holds less. The message points at what
makes it so, and says what would have to change:

    sink "postgres" "orders" {
      from     = channel.main
      delivery = "exactly_once"     # nothing lost, nothing twice; or "at_least_once": nothing lost
    }

For at_least_once nothing on the way may give events up: the source can ask for them again, or is
answered when they are on disk; the channel is of kind wal, at durability "fsync", and neither it
nor the sink drops what is too much. For exactly_once, besides, the source resumes from its cursor,
and the destination knows what it holds. spec/delivery.md has the whole table. "penstock validate"
says of each path what holds when no sink asks for more.`},
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
The agent's HTTP server shows its metrics and state. Where other machines reach it, they must say who
they are, over a connection that nobody else reads:

    agent "web-01" {
      http {
        listen = "0.0.0.0:7420"
        tls    = tls.front          # with a ca, clients must show a certificate
        token  = secret.scrape      # or a token: Authorization: Bearer …
      }
    }

On this machine alone it needs neither:

    http { listen = "127.0.0.1:7420" }`},
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
newer penstock, or an older version of the plugin.

Programs (exec) and the network as a whole (network) can be given to plugins alone that run as child
processes: runtime = "subprocess".`},
	"E4009": {"One instance only", `
The sink asks for several instances of its plugin that write at the same time, and the plugin's
manifest does not say that it is made for that: two of them might write into the same file, or
spoil what the other has noted about what it has written.

Leave the argument out; or, if it is your plugin and its instances do not disturb each other, say so
in its plugin.hcl:

    sink "mine" {
      concurrent = true
    }`},
	"E4010": {"Refused by the plugin", `
Each argument is as the plugin's manifest wants it, and the plugin itself finds that they do not do: two
of them exclude each other, say, or a pattern is none. The message is the plugin's own. It has looked
at the config and at nothing else: what it may find when it runs, it says then.

A module of your own is asked by validate and in an editor if it is small, or an agent with that data
directory has compiled it, and by a reload in any case. It has no grant for that, a second of processor
time, and its limits.memory; one that breaks over a config refuses it. Not asked are a plugin that is
trusted or a child process, and any where the config holds a secret: they look when they are opened.`},
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
    secret "disk" {
      from = "exec:/usr/bin/vault kv get -field=key secret/penstock"  # what a program prints
    }
    secret "disk" {
      from = "systemd:disk"                     # LoadCredential=disk:/path in the unit
    }

The program of exec: is written with its whole path; no shell is between. What was written here is not
shown where it may be the secret itself.`},
	"E5002": {"Secret cannot be read", `
The environment variable is not set, the file cannot be read, or the program has failed; the message
has the reason. What the program said is not shown, since the secret may be in it: run it by hand. A
secret is read when the agent starts, by the user and in the environment that it runs with, and
not by penstock validate.

    sudo -u penstock cat /etc/penstock/disk.key | wc -c
    systemctl show penstock -p Environment`},
	"E5003": {"Not a key", `
The key of a channel has 32 bytes: 64 hex digits, 44 characters of base64, or in a file the bytes as
they are. A newline at its end does not matter. To make one:

    openssl rand -hex 32 > /etc/penstock/disk.key
    chmod 600 /etc/penstock/disk.key

Keep a copy where the disk is not: without the key nobody reads what it sealed.

A token for the agent's HTTP server is text of 16 characters at least.`},
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
}
