// SPDX-License-Identifier: Apache-2.0

package config

// warningCodes are what may well be a mistake.
var warningCodes = map[code]entry{
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
	"W3005": {"Directory is not there", `
The component is granted a directory that is not on this machine. Most often its path is mistyped, or
nobody has made it yet. Penstock makes no directories outside of its own: until it is there, and the
user that the agent runs as may use it, the component is held, or finds nothing.

    mkdir -p /srv/archive && chown penstock /srv/archive`},
	"W4001": {"Plugin not used", `
No source or sink names this plugin. It is not loaded. Remove the block, or use its name as the
first label of a source or sink.`},
	"W4002": {"Deprecated argument", `
The plugin still takes this argument and will not for ever. The message says what to use instead.`},
	"W4003": {"Processor not used", `
No source and no sink names this processor in its through. Its plugin is not run. Remove the block,
or name it:

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
