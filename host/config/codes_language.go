// SPDX-License-Identifier: Apache-2.0

package config

// languageCodes are mistakes in what is written.
var languageCodes = map[code]entry{
	"E1001": {"Cannot read the configuration", `
A file or directory of the configuration could not be read. The message has the reason of the
operating system: it is not there, its permissions forbid it, or it is not a regular file.

Check the path that was given (the default is the working directory), and that the user the
agent runs as may read it:

    ls -l pipeline.hcl
    sudo -u penstock cat pipeline.hcl`},
	"E1002": {"No configuration here", `
The directory has no file whose name ends in .hcl or .hcl.json, so there is nothing to load.
Files that begin with a dot, *.test.hcl, and the plugin.hcl of a plugin are left out.

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
    variable "region" { … }           name
    function "table" { … }            name
    sink "stdout" "screen" { … }      plugin, name

penstock, locals, moved, validation, http, log, config, batch, retry, grant, limits and encryption take
none.`},
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
	"E1209": {"Cannot be repeated", `
for_each makes one instance of a block for each key of a map, or each string of a list:

    source "file" "shop" {
      for_each = { eu = "/srv/eu", us = "/srv/us" }
      into     = channel.main
      config { paths = ["${each.value}/*.log"] }
    }

The instances are source.shop["eu"] and source.shop["us"]. Keys become parts of names: they have
letters, digits, _, - and dots, do not differ by case alone, and come from nothing that is secret. A
list of objects has no keys; make a map of it: { for x in var.shops : x.name => x }.`},
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
An expression has no value: it calls a function that does not exist, names something that does
not exist, or an operation does not fit its operands. What may stand in expressions:

    var.region           a variable
    local.table          a local value
    secret.pg            a secret, in an argument of a plugin that is sensitive
    each.key             the key of this instance, in a block with for_each
    upper("a")           a function; the reference lists them

A word without quotes is a name: write "wal", not wal. A path needs quotes as well. The default of a
variable, and a function, speak of nothing outside of themselves.`},
	"E1402": {"Variable without a value", `
A variable that has no default must be given a value:

    penstock run --var region=eu
    penstock run --var-file production.vars     # lines such as region = "eu"
    PENSTOCK_VAR_region=eu penstock run

The command line goes before the environment, and both before the default. Where there is
a value that is right for most, give the variable a default:

    variable "region" {
      type    = string
      default = "eu"
    }`},
	"E1403": {"Variable refused", `
The value of a variable does not meet a condition that its block sets, in a validation block. The
message is the block's own. Give the variable another value, or change the condition:

    variable "lanes" {
      type    = integer
      default = 4
      validation {
        condition     = var.lanes >= 1 && var.lanes <= 64
        error_message = "It must be from 1 to 64, and is ${var.lanes}."
      }
    }

A condition speaks of its own variable; it may speak of others too.`},
	"E1404": {"Made of itself", `
A local value, or a function, is made of itself, by way of others perhaps, so that it would never come
to an end. The message shows the way round. Break it at one place:

    locals {
      a = local.b      # local.a → local.b → local.a
      b = local.a
    }`},
	"E1405": {"Unknown variable", `
A value was given, on the command line or in a file of variables, for a variable that no block declares.
Check its name, or declare it:

    variable "region" {
      type = string
    }

An environment variable PENSTOCK_VAR_x without a variable x means nothing, and is no mistake.`},
	"E1411": {"Not available for events", `
An argument such as when is asked of each event, millions of times a second, and not everything that
HCL has is there for it: no for, no splat, no objects made of parts of an event, no secrets. What the
event has no part in is evaluated when the configuration is loaded, and may be anything:

    locals {
      loud = [for l in ["error", "fatal"] : upper(l)]
    }

    processor "regex" "stack" {
      when = contains(local.loud, upper(event.attributes.level))
    }

What is harder is the work of a processor, which may put its answer into an attribute.`},
	"E1412": {"No such thing in an event", `
An expression over events names what there is not, or what can never have a value. An event has

    event.attributes.NAME     the value of an attribute, a string; null where there is none
    event.body                the body
    event.json.FIELD          a field of the body, which is JSON; null where there is none
    event.time                nanoseconds since 1970
    event.size                the length of the body in bytes

The functions for events, and all else, are in spec/expressions.md.`},
	"E1413": {"Wrong type for events", `
In an expression over events something is of a type that cannot be what is meant. An attribute is a
string, and is never equal to a number; as an operand of <, >, + and so on it is converted:

    when = event.attributes.status == 500              # never true, and so refused
    when = event.attributes.status == "500"            # right
    when = tonumber(event.attributes.status) == 500    # right
    when = event.attributes.status >= 500              # right

What is asked of each event comes to a bool: write event.attributes.debug == "true", and not
event.attributes.debug alone.`},
	"E1414": {"Does not ask events", `
Which events a case of a route is for, or a sink gets, is asked of each of them. An expression that
does not name event has one answer for all:

    when = var.debug                                           # refused
    when = var.debug && event.attributes.level == "debug"      # right

A sink that is to get nothing for a while has enabled = false.`},
	"E1501": {"Unknown reference", `
A reference names something that no block declares, or an expression speaks of a variable or local
value that there is not. Check the spelling, and that the file which declares it lies in the same
directory: all *.hcl of one directory are one configuration.

    channel "wal" "main" { }

    source "file" "shop" {
      into = channel.main
    }`},
	"E1502": {"Not a reference", `
Here stands the name of a channel, a secret or a tls block as a reference: the word channel, secret
or tls, a dot, and its name, without quotes. A sink may also read a case of a route.

    into = channel.main      # right
    into = "channel.main"    # a string
    into = main              # lacks channel.
    into = channel.shop["eu"]  # right, where the channel has a for_each
    key  = secret.disk       # right
    tls  = tls.front         # right
    from = route.by_level.loud # right, in a sink

In .hcl.json, where all is quoted, it is the string "channel.main".`},
	"E1503": {"Not a key", `
order_by says by which key the events of a sink stay in order. In this version that is one
attribute of the event; expressions over events come later:

    order_by = event.attributes.customer
    order_by = event.attributes["file.path"]`},
	"E1504": {"Switched off", `
A reference names a block that has enabled = false, and stands in one that is switched on. A channel
that is switched off takes no events, and gives none: switch off its sources and sinks as well, or none
of them. A processor that is switched off is passed by, and is no mistake.

    channel "wal" "debug" {
      enabled = var.debug
    }

    sink "file" "debug" {
      enabled = var.debug
      from    = channel.debug
    }`},
	"E1505": {"Cannot have moved", `
A moved block says that something has another name than it had, and is the same, so that it keeps its
cursor, its position or its events:

    moved {
      from = source.shop
      to   = source.web
    }

It cannot have moved if the old name is still in use, if it became two things or two became it, if the
names lead in a circle, or if it is of another kind. Several moves in a row, a to b and b to c, are
right. A block of which neither name is left does nothing.`},
}
